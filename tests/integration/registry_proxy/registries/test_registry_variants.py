"""The protocols of popular registries, each scripted after its real responses."""

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web
from msgspec import Struct

from registry_proxy.adapters.upstream import RegistryUpstream
from swell.net.outbound import Policy, Reach, open_session
from swell.oci.descriptor import Descriptor
from swell.oci.digest import digest_of
from swell.oci.media_types import OCI_CONFIG, OCI_MANIFEST
from swell.oci.reference import parse_reference
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import OPERATOR
from tests.integration.registry_proxy.support import Answer, Names, Script, make_image, said, serving

IMAGE = make_image()
CONFIG = Descriptor(media_type=OCI_CONFIG, digest=digest_of(IMAGE.config), size=len(IMAGE.config))

good = said(body=IMAGE.manifest, content_type=OCI_MANIFEST)


class Habit(Struct, frozen=True):
    """How a registry asks for a token and gives it.

    *challenge* is its `WWW-Authenticate`, with `{url}` for where it plays; *gives* is the token service's answer;
    *asks* is what that is asked for, *redirects* the status by which blobs are elsewhere.
    """

    registry: str
    repository: str
    credentials: Credentials | None
    challenge: str
    gives: dict[str, Any]
    asks: dict[str, str]
    redirects: int | None = None


ME = Credentials("me", "secret")
SERVICE_ACCOUNT = Credentials("_json_key", '{"type": "service_account"}')
PACKED_ACCOUNT = Credentials("_json_key_base64", "eyJ0eXBlIjogInNlcnZpY2VfYWNjb3VudCJ9")


def usual(
    registry: str,
    repository: str,
    credentials: Credentials | None,
    gives: dict[str, Any],
    redirects: int,
    service: str | None = None,
) -> Habit:
    """One that asks for its service, mostly called as itself, and for the scope that is needed."""
    asks = {"service": service or registry, "scope": f"repository:{repository}:pull"}
    challenge = ",".join(['Bearer realm="{url}/token"', *(f'{name}="{value}"' for name, value in asks.items())])
    return Habit(registry, repository, credentials, challenge, gives, asks, redirects)


DOCKER_HUB = {"token": "abc", "access_token": "abc", "expires_in": 300, "issued_at": "2026-01-01T00:00:00Z"}
HABITS = [
    usual("docker.io", "library/ubuntu", None, DOCKER_HUB, 307, "registry.docker.io"),
    usual("quay.io", "biocontainers/samtools", ME, {"token": "abc"}, 302),
    usual("ghcr.io", "team/tool", ME, {"token": "YWJj"}, 307),
    usual("team.azurecr.io", "tool", ME, {"access_token": "eyJ0eXAiOiJKV1Qi"}, 307),
    Habit(
        "gcr.io",
        "project/tool",
        SERVICE_ACCOUNT,
        'Bearer realm="{url}/token",service="gcr.io"',
        gives={"expires_in": 43200, "token": "ya29.abc-_~+/="},
        asks={"service": "gcr.io", "scope": "repository:project/tool:pull"},
        redirects=302,
    ),
    Habit(
        "europe-docker.pkg.dev",
        "project/repository/tool",
        PACKED_ACCOUNT,
        'Bearer realm="{url}/token",service=""',
        gives={"expires_in": 3600, "token": "abc"},
        asks={"scope": "repository:project/repository/tool:pull"},
        redirects=302,
    ),
    Habit(
        "gitea.example",
        "team/tool",
        ME,
        'Bearer realm="{url}/token",service="container_registry",scope="*"',
        gives={"token": "abc"},
        asks={"service": "container_registry", "scope": "repository:team/tool:pull"},
    ),
    Habit(
        "gitlab.example",
        "team/tool",
        ME,
        'Bearer realm="{url}/token?client=x",service="container_registry",error="invalid_token"',
        gives={"token": "abc"},
        asks={"client": "x", "service": "container_registry", "scope": "repository:team/tool:pull"},
    ),
]


NAMES = {habit.registry for habit in HABITS} | {"registry-1.docker.io"}


class World(Struct):
    """The internet: one server is every registry and token service, another one where blobs are stored."""

    registries: Script
    storage: Script
    session: aiohttp.ClientSession


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """By https as out there, with certificates of an authority that the session trusts."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1", *NAMES).configure_cert(tls)
    async with serving(tls=tls) as registries, serving(tls=tls) as storage:
        names = Names({name: [("127.0.0.1", registries.url.port or 0)] for name in NAMES})
        policy, reach = Policy(frozenset({*NAMES, "127.0.0.1"})), Reach(ca_file=tmp_path / "ca.pem")
        async with open_session(policy, reach, resolver=names) as session:
            yield World(registries, storage, session)


def to_whom(shown: str, answer: Answer, challenge: str) -> Answer:
    """*answer* for who shows that, else the challenge."""

    async def judge(request: web.Request) -> web.StreamResponse:
        allowed = request.headers.get("Authorization") == shown
        found = (answer if allowed else said(401, b"{}", WWW_Authenticate=challenge))(request)
        return found if isinstance(found, web.StreamResponse) else await found

    return judge


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.registry)
async def test_a_registry_is_read_as_it_wants_to_be(world: World, habit: Habit) -> None:
    """Manifest and config; the token is fetched once, and no secret goes where it does not belong."""
    script, other = world.registries, world.storage
    bearer = f"Bearer {habit.gives.get('token') or habit.gives['access_token']}"
    challenge = habit.challenge.format(url=script.url)
    base, blob = f"/v2/{habit.repository}", f"/v2/{habit.repository}/blobs/{CONFIG.digest}"
    stored = said(body=IMAGE.config)
    elsewhere = said(habit.redirects, Location=f"{other.url}/cdn?X-Amz-Signature=%2Ba") if habit.redirects else stored
    other.on("/cdn", stored)
    script.on("/token", said(body=json.dumps(habit.gives).encode(), content_type="application/json"))
    script.on(f"{base}/manifests/1", to_whom(bearer, good, challenge))
    script.on(blob, to_whom(bearer, elsewhere, challenge))
    reference = parse_reference(f"{habit.registry}/{habit.repository}:1")
    keyring = Keyring({habit.registry: habit.credentials} if habit.credentials else {})
    upstream = RegistryUpstream(world.session, keyring).acting_for(OPERATOR)

    document = await upstream.fetch_manifest(reference)
    config = await upstream.fetch_config(reference, CONFIG)

    assert (document.content, config.content) == (IMAGE.manifest, IMAGE.config)
    [asked] = [url for _, url, _ in script.seen if url.path == "/token"]
    assert dict(asked.query) == habit.asks
    assert script.asked("/token") == [habit.credentials.basic if habit.credentials else None]
    assert script.asked(f"{base}/manifests/1") == [None, bearer]
    assert other.asked("/cdn") == ([None] if habit.redirects else [])


async def test_a_registry_without_a_door_is_read_at_once(world: World) -> None:
    """Plain distribution: one request, and nothing that could be a secret."""
    world.registries.on("/v2/team/tool/manifests/1", good)

    await RegistryUpstream(world.session, Keyring()).fetch_manifest(parse_reference("gitea.example/team/tool:1"))

    assert world.registries.asked("/v2/team/tool/manifests/1") == [None]


async def test_a_password_goes_with_every_request_once_it_was_asked_for(world: World) -> None:
    """HTTP Basic, as plain distribution, Harbor and ECR have it: one refusal in all."""
    script, path = world.registries, "/v2/team/tool/manifests/1"
    script.on(path, to_whom(ME.basic, good, 'Basic realm="a registry"'))
    upstream = RegistryUpstream(world.session, Keyring({"gitea.example": ME})).acting_for(OPERATOR)

    for _ in range(3):
        await upstream.fetch_manifest(parse_reference("gitea.example/team/tool:1"))

    assert script.asked(path) == [None, ME.basic, ME.basic, ME.basic]
