"""Build secrets in requests: who may use them, and what depends on them."""

import re
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.access.vault_secrets import SecretReference, VaultSecrets
from gateway.domain.access.identity import Caller, Identity
from gateway.domain.access.vault import Entry, VaultState
from gateway.domain.repositories import Repositories
from gateway.submit.secrets import with_secrets
from gateway.submit.submit import ContainerRequests
from gateway.submit.validation import validate
from swell.errors import BadRequest, NotFound, NotSupported, ScopeRequired, SwellError, TooLarge
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import OPERATOR
from tests.unit.gateway.doubles import CALLER, NOON, MemoryQueue

from .test_validation import FILE, request

HOLDER = Caller(Identity(user="ada", secrets=frozenset({"npm", "pip"})), "203.0.113.7", OPERATOR, OPERATOR)


def wanted(**secrets: str) -> dict[str, Any]:
    return {"containerFile": FILE, "buildSecrets": secrets}


async def test_the_builder_gets_the_names_of_secrets(container_requests: ContainerRequests, queue: MemoryQueue) -> None:
    """Only names: the gateway does not have the content. Another name is another build."""
    plain = await container_requests.submit(request(containerFile=FILE), HOLDER)
    first = await container_requests.submit(request(**wanted(token="npm")), HOLDER)
    other = await container_requests.submit(request(**wanted(token="pip")), HOLDER)

    assert len({plain.build_id, first.build_id, other.build_id}) == 3
    assert queue.jobs[1].options.build_secrets == {"token": "npm"}


@pytest.mark.parametrize("caller", [CALLER, replace(HOLDER, identity=Identity(user="ada", secrets=frozenset({"pip"})))])
@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_secret_needs_a_key_that_names_it(
    container_requests: ContainerRequests, queue: MemoryQueue, caller: Caller, dry_run: bool
) -> None:
    """Also for clients that may use every other credential of the operator, and for a build that exists already."""
    await container_requests.submit(request(**wanted(token="npm")), HOLDER)

    with pytest.raises(ScopeRequired, match="secret npm"):
        await container_requests.submit(request(**wanted(token="npm"), dryRun=dry_run), caller)

    assert len(queue.jobs) == 1


class OneVault:
    """The vault of ada, with a credential for builds, and one that only pulls use; and its references."""

    def __init__(self) -> None:
        stored = {"stored": NOON, "stored_by": "ada", "user_name": "robot"}
        self.entries = {
            "quay.io/acme": Entry(is_build_secret=True, **stored),  # type: ignore[arg-type]
            "ghcr.io": Entry(**stored),  # type: ignore[arg-type]
        }
        self.references: dict[str, SecretReference] = {}

    async def state(self, owner: str) -> VaultState:
        return VaultState(entries=self.entries if owner in {"user:ada", "organisation:lab"} else {})

    async def credentials(self, owner: str, path: str) -> Credentials:
        return Credentials("robot", f"password of {owner}")

    async def put(self, reference: SecretReference) -> None:
        self.references[reference.name] = reference

    async def get(self, name: str) -> SecretReference | None:
        return self.references.get(name)


async def test_a_build_gets_a_stored_credential_by_a_name() -> None:
    """Two owners of one path have different builds; the name is valid for every engine, and opens nothing by itself."""
    vault = OneVault()
    stored = VaultSecrets(vault, vault)
    wanted_request = validate(request(**wanted(a="vault:quay.io/acme", b="npm")), Repositories(build="r.example/build"))
    names = []
    for identity in (HOLDER.identity, Identity(user="bob", organisation="lab", secrets=frozenset({"npm"}))):
        options = (await with_secrets(wanted_request, identity, stored)).options
        assert options
        names.append(options.build_secrets["a"])
        assert options.build_secrets["b"] == "npm"

    assert len(set(names)) == 2
    assert all(re.fullmatch(r"vault\.[0-9a-f]{32}", name) for name in names)
    assert [await stored.find(name) for name in names] == ["password of user:ada", "password of organisation:lab"]
    with pytest.raises(ScopeRequired):
        await with_secrets(
            validate(request(**wanted(a=names[0])), Repositories(build="r.example/build")), HOLDER.identity, stored
        )


@pytest.mark.parametrize(
    ("identity", "path", "error"),
    [
        (HOLDER.identity, "ghcr.io", ScopeRequired),
        (HOLDER.identity, "quay.io", ScopeRequired),
        (Identity(user="eve"), "quay.io/acme", ScopeRequired),
        (CALLER.identity, "quay.io/acme", ScopeRequired),
        (HOLDER.identity, "", BadRequest),
        (HOLDER.identity, "a" * 300, BadRequest),
        (HOLDER.identity, "quay.io/a@b", BadRequest),
    ],
)
async def test_other_stored_credentials_are_refused(identity: Identity, path: str, error: type[SwellError]) -> None:
    """Those of others, those that are not for builds, and those below or above the path."""
    vault = OneVault()
    named = validate(request(**wanted(a=f"vault:{path}")), Repositories(build="r.example/build"))
    with pytest.raises(error):
        await with_secrets(named, identity, VaultSecrets(vault, vault))
    assert not vault.references


async def test_a_deleted_credential_is_not_found() -> None:
    """The build was queued before; also if it is not for builds any more."""
    vault = OneVault()
    stored = VaultSecrets(vault, vault)
    name = await stored.name_of(HOLDER.identity, "quay.io/acme")
    vault.entries["quay.io/acme"] = vault.entries["ghcr.io"]
    with pytest.raises(NotFound):
        await stored.find(name)
    del vault.entries["quay.io/acme"]
    for wrong in (name, "vault.0a"):
        with pytest.raises(NotFound):
            await stored.find(wrong)


async def test_without_encryption_keys_nothing_is_stored(container_requests: ContainerRequests) -> None:
    """The message says what the operator can do."""
    with pytest.raises(NotSupported, match="SWELL_ENCRYPTION_KEYS"):
        await container_requests.submit(request(**wanted(a="vault:quay.io")), HOLDER)


def test_steps_with_secrets_stay_out_of_the_servers_cache() -> None:
    """Clients without the secret read that cache; a cache of the client's own is the client's."""
    repositories = Repositories(build="r.example/build", cache="r.example/cache")
    own = {"buildRepository": "quay.io/me/images", "cacheRepository": "quay.io/me/cache"}

    assert validate(request(containerFile=FILE), repositories).cache_repository == "r.example/cache"
    assert validate(request(**wanted(a="npm")), repositories).cache_repository is None
    assert validate(request(**wanted(a="npm"), **own), repositories).cache_repository == "quay.io/me/cache"


def test_steps_with_proxies_of_the_client_stay_out_of_the_servers_cache() -> None:
    """Others with the same step would get what it has downloaded through the proxy of a stranger."""
    repositories = Repositories(build="r.example/build", cache="r.example/cache")

    for name in ("http_proxy", "HTTPS_PROXY", "All_Proxy", "no_proxy", "ftp_proxy"):
        wanted = request(containerFile=FILE, buildArgs={name: "http://proxy.example:3128"})
        assert validate(wanted, repositories).cache_repository is None


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (wanted(**{"a,src=/etc/passwd": "npm"}), BadRequest, "neither an id"),
        (wanted(a="../npm"), BadRequest, "neither an id"),
        (wanted(**{f"s{number}": "npm" for number in range(11)}), TooLarge, "more than 10"),
        ({"containerImage": "a", "buildSecrets": {"a": "npm"}}, BadRequest, "need a containerFile"),
    ],
)
async def test_invalid_secrets_are_refused(
    container_requests: ContainerRequests, fields: dict[str, Any], error: type[SwellError], message: str
) -> None:
    """Names and ids become arguments of the engine."""
    with pytest.raises(error, match=message):
        await container_requests.submit(request(**fields), HOLDER)
