"""Registries whose logins are peculiar, as buildah meets them: Google's key files, Azure's refresh tokens.

The registry is a real one that takes nothing but tokens; the service that gives them is scripted, and does what those
of Google and Azure are documented to do.
"""

import base64
import json
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from builder.adapters.registry import registry_push
from builder.engine import Recipe
from swell.net.outbound import Policy, open_session
from swell.oci.reference import parse_reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import Credentials, parse_auth_file
from swell.registry.credentials.principal import OPERATOR
from tests.integration.builder.harness import OpenEngine, Output, Registry, free_port
from tests.integration.registry_proxy.support import Script, accepting, running, serving

JSON_KEY = json.dumps({"type": "service_account", "private_key": "-----BEGIN\nx:y\n-----END\n"}, indent=2)
NO_USER = "00000000-0000-0000-0000-000000000000"
"""The user name that Azure uses with refresh tokens."""

REFRESH = "eyJhbGciOiJSUzI1NiJ9.a-refresh-token.x"
ISSUER, SERVICE = "the token service", "the registry"


class TokenService:
    """Issues tokens to clients with one of *logins* (HTTP Basic) or the refresh token (OAuth2)."""

    def __init__(self, script: Script, logins: set[str], folder: Path) -> None:
        self.realm = f"{script.url}/token"
        self.shown: list[str] = []
        self._logins = logins
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "root.pem")
        made = authority.issue_cert("token.example", key_type=trustme.KeyType.RSA)
        key = load_pem_private_key(made.private_key_pem.bytes(), None)
        assert isinstance(key, RSAPrivateKey)
        self._key = key
        lines = made.cert_chain_pems[0].bytes().decode().splitlines()
        self._certificate = "".join(line for line in lines if not line.startswith("-"))
        script.on("/token", self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            form = await request.post()
            self.shown.append(str(form["grant_type"]))
            if form["grant_type"] != "refresh_token" or form["refresh_token"] != REFRESH:
                return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
            return web.json_response({"access_token": self._token(str(form["scope"]).split(" "))})
        shown = request.headers.get("Authorization", "")
        self.shown.append(shown)
        if shown not in self._logins:
            return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
        return web.json_response({"token": self._token(request.query.getall("scope", []))})

    def _token(self, scopes: list[str]) -> str:
        """Source: "Token Authentication Implementation", https://distribution.github.io/distribution/spec/auth/jwt"""
        parts = [scope.split(":") for scope in scopes]
        access = [{"type": kind, "name": name, "actions": actions.split(",")} for kind, name, actions in parts]
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": "x",
            "aud": SERVICE,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        claims |= {"iat": now, "nbf": now - 60, "exp": now + 600}
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self._certificate]}
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        return f"{signed}.{_encoded(self._key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


class Closed:
    """A registry that takes tokens alone, over the data of the plain one."""

    def __init__(self, address: str, service: TokenService, hosts: frozenset[str]) -> None:
        self.address = address
        self.service = service
        self.hosts = hosts


@pytest.fixture
async def closed(registry: Registry, base: str, tmp_path: Path) -> AsyncIterator[Closed]:
    async with serving() as script:
        logins = {Credentials("_json_key", JSON_KEY).basic, Credentials(NO_USER, REFRESH).basic}
        service = TokenService(script, logins, tmp_path)
        address = f"127.0.0.1:{free_port()}"
        token = {
            "realm": service.realm,
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(tmp_path / "root.pem"),
        }
        config = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(registry.auth_file.parent / "data")}},
            "http": {"addr": address},
            "auth": {"token": token},
        }
        (tmp_path / "config.json").write_text(json.dumps(config))
        async with running("docker-registry", "serve", str(tmp_path / "config.json"), log=tmp_path / "log"):
            await accepting(f"http://{address}/v2/", 401)
            yield Closed(address, service, frozenset({address, script.authority}))


PECULIAR = pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ({"auth": Credentials("_json_key", JSON_KEY).encoded}, Credentials("_json_key", JSON_KEY).basic),
        ({"auth": Credentials(NO_USER, REFRESH).encoded}, Credentials(NO_USER, REFRESH).basic),
        ({"auth": Credentials(NO_USER, "").encoded, "identitytoken": REFRESH}, "refresh_token"),
    ],
    ids=["google", "azure's token as a password", "azure's token as docker login writes it"],
)


@PECULIAR
async def test_a_build_from_and_to_a_registry_with_a_token_service(
    open_engine: OpenEngine, closed: Closed, registry: Registry, entry: dict[str, str], shown: str, tmp_path: Path
) -> None:
    """Buildah makes the exchange itself: the auth file reaches it as the operator wrote it."""
    auth_file = tmp_path / "auth.json"
    auth_file.write_text(json.dumps({"auths": {closed.address: entry}}))
    recipe = Recipe(
        principal=OPERATOR,
        push_principal=OPERATOR,
        build_id="bd-logins_1",
        target_image=f"{closed.address}/made:1",
        containerfile=f"FROM {closed.address}/base:1\nRUN true\n",
    )
    engine_settings: dict[str, Any] = {
        "pull_auth_file": auth_file,
        "push_auth_file": auth_file,
        "allowed_hosts": closed.hosts,
    }
    async with open_engine(tmp_path / "w", **engine_settings) as engine:
        digest = await engine.build(recipe, Output())

    assert registry.fetch("made/manifests/1")[1] == digest
    assert set(closed.service.shown) == {shown}


@PECULIAR
async def test_what_we_read_and_push_ourselves_is_opened_by_the_same_entry(
    closed: Closed, entry: dict[str, str], shown: str
) -> None:
    """An operator writes one file for all who read it."""
    keyring = parse_auth_file(json.dumps({"auths": {closed.address: entry}}).encode())
    async with open_session(Policy(closed.hosts)) as session:
        push = registry_push(RegistryClient(session, keyring, actions="pull,push").acting_for(OPERATOR))
        base = await push.fetch(parse_reference(f"{closed.address}/base:1"))
        assert base is not None
        assert await push.document(parse_reference(f"{closed.address}/base:again"), base) == base.digest

    assert set(closed.service.shown) == {shown}
