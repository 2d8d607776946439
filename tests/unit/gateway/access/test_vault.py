"""Vaults: which credential counts for an image, what a deletion refuses, and who manages which vault."""

from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from gateway.access.keys import Actor
from gateway.access.vault import VaultUse, owner_for
from gateway.adapters.access.vaults import RedisVaults
from gateway.domain.access.identity import ANONYMOUS, Identity, Scope
from gateway.domain.access.vault import MOST_WITHDRAWN, Entry, VaultState, vaults_of
from swell.errors import BadRequest, Denied, ScopeRequired, Unavailable
from swell.oci.reference import parse_reference
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import PUBLIC, Principal, limited_to, rules_of
from swell.store.encrypted import EncryptedRecords

ENTRY = Entry(user_name="robot", stored=datetime(2026, 12, 1, tzinfo=UTC), stored_by="ada")
ADA = Identity(user="ada", organisation="lab")
TOOL = parse_reference("quay.io/acme/tool:1")


class Vaults:
    """Vaults in memory; a credential's password is its owner and path."""

    def __init__(self, **states: VaultState) -> None:
        self.states = {owner.replace("_", ":"): state for owner, state in states.items()}
        self.is_down = False

    async def state(self, owner: str) -> VaultState:
        if self.is_down:
            raise Unavailable
        return self.states.get(owner, VaultState())

    get = state

    def fresh(self, owner: str) -> VaultState | None:
        return None if self.is_down else self.states.get(owner, VaultState())

    def is_fresh(self, owner: str, state: VaultState) -> bool:
        return self.fresh(owner) == state

    async def credentials(self, owner: str, path: str) -> Credentials | None:
        return Credentials("robot", f"{owner} {path}")

    async def put(self, *_: object) -> None: ...

    async def delete(self, *_: object) -> None: ...


def state(*paths: str) -> VaultState:
    changed = VaultState()
    for path in paths:
        changed = changed.with_entry(path, ENTRY)
    return changed


def use(vaults: Vaults) -> VaultUse:
    return VaultUse(vaults, vaults, rules_of(["registry.example.org/swell/build"], ()))


async def test_the_users_own_credential_precedes_the_organisations() -> None:
    """And of one owner, the longest path counts."""
    vaults = Vaults(user_ada=state("quay.io", "quay.io/acme"), organisation_lab=state("quay.io/acme/tool", "ghcr.io"))
    principal = (await use(vaults).equip(ADA)).pulls_as

    found = await use(vaults).find(principal, TOOL)
    other = await use(vaults).find(principal, parse_reference("ghcr.io/x/y"))

    assert found and found.password == "user:ada quay.io/acme"
    assert other and other.password == "organisation:lab ghcr.io"
    assert await use(vaults).find(principal, parse_reference("docker.io/library/ubuntu")) is None


async def test_no_vault_opens_a_repository_of_this_server() -> None:
    """A user with a login to its registry must not get around the check of base images."""
    vaults = Vaults(user_ada=state("registry.example.org"))
    principal = (await use(vaults).equip(ADA)).pulls_as

    assert await use(vaults).find(principal, parse_reference("registry.example.org/swell/build:1")) is None
    assert await use(vaults).find(principal, parse_reference("registry.example.org/acme/tool:1"))


async def test_requests_without_stored_credentials_keep_their_principal() -> None:
    """So that they share the caches of all others; the same while the store does not answer."""
    vaults = Vaults(user_ada=state("quay.io"))
    assert await use(vaults).equip(ANONYMOUS) == ANONYMOUS
    assert (await use(vaults).equip(Identity(user="bob"))).pulls_as == PUBLIC
    vaults.is_down = True

    assert await use(vaults).equip(ADA) == ADA


async def test_each_change_gives_another_principal() -> None:
    """No cache gives a result of former credentials to a new request."""
    vaults, principals = Vaults(), set()
    deleted = state("quay.io", "ghcr.io").without_entry("ghcr.io")
    for changed in (state("quay.io"), state("quay.io", "quay.io"), deleted):
        vaults.states["user:ada"] = changed
        principals.add((await use(vaults).equip(ADA)).pulls_as)

    assert len(principals) == 3


async def test_a_deletion_refuses_what_was_requested_before() -> None:
    """For the images that the credential covered, in whole components; a new request is not refused."""
    vaults = Vaults(user_ada=state("quay.io/acme", "ghcr.io"))
    before = (await use(vaults).equip(ADA)).pulls_as
    vaults.states["user:ada"] = vaults.states["user:ada"].without_entry("quay.io/acme")
    after = (await use(vaults).equip(ADA)).pulls_as

    for check in (use(vaults).find, use(vaults).check):
        with pytest.raises(Denied, match="is deleted"):
            await check(before, TOOL)
        await check(before, parse_reference("quay.io/acme-2/tool"))
        await check(before, parse_reference("ghcr.io/x/y"))
        await check(after, TOOL)


async def test_a_replaced_password_does_not_stop_running_work() -> None:
    """Tokens from before use the new one."""
    vaults = Vaults(user_ada=state("quay.io"))
    before = (await use(vaults).equip(ADA)).pulls_as
    vaults.states["user:ada"] = vaults.states["user:ada"].with_entry("quay.io", ENTRY)

    assert await use(vaults).find(before, TOOL)


def test_the_memory_of_deletions_is_bounded() -> None:
    """Of more than 200 deletions, the oldest refuses everything from before it."""
    changed = VaultState()
    for number in range(MOST_WITHDRAWN + 10):
        changed = changed.with_entry(f"quay.io/{number}", ENTRY).without_entry(f"quay.io/{number}")

    assert len(changed.withdrawn) == MOST_WITHDRAWN
    assert changed.is_withdrawn(parse_reference("ghcr.io/x/y"), 1)
    assert not changed.is_withdrawn(parse_reference("ghcr.io/x/y"), changed.generation)


@pytest.mark.parametrize(
    ("principal", "owners"),
    [
        ("public", []),
        ("operator", []),
        ("vault:user:ada@3", [("user:ada", 3)]),
        ("operator:quay.io;vault:organisation:lab@1,user:a%2Cb@2", [("user:a,b", 2), ("organisation:lab", 1)]),
        ("vault:user:ada", []),
        ("vault:user:ada@x", []),
        ("other:user:ada@3", []),
    ],
)
def test_the_owners_in_a_principal(principal: str, owners: list[tuple[str, int]]) -> None:
    """A name may contain commas; a part without a generation opens nothing."""
    assert list(vaults_of(Principal(principal))) == owners


async def test_the_operators_credentials_stay_beside_a_vault() -> None:
    """A key with a scope for one repository has both."""
    identity = Identity(user="ada", pulls_as=limited_to(["quay.io/acme"]))

    equipped = await use(Vaults(user_ada=state("ghcr.io"))).equip(identity)

    assert equipped.pulls_as == "operator:quay.io/acme;vault:user:ada@1"
    assert equipped.pushes_as == "vault:user:ada@1"


def test_a_user_manages_the_own_vault() -> None:
    """With the scope `keys`; operators manage all of them, and have none of their own."""
    user = Actor("ada", Identity(user="ada", organisation="lab", scopes=frozenset({Scope.KEYS})))
    limited = Actor("ada", Identity(user="ada", scopes=frozenset({Scope.PULL})))
    operator = Actor("ops")

    assert owner_for(user, None, None) == owner_for(user, "ada", None) == "user:ada"
    assert owner_for(operator, None, "lab") == "organisation:lab"
    assert owner_for(operator, "ada", None) == "user:ada"
    for user_name, organisation in (("bob", None), (None, "lab")):
        with pytest.raises(ScopeRequired):
            owner_for(user, user_name, organisation)
    with pytest.raises(ScopeRequired):
        owner_for(limited, None, None)
    with pytest.raises(BadRequest):
        owner_for(operator, None, None)
    with pytest.raises(BadRequest):
        owner_for(operator, "ada", "lab")


async def test_no_two_owners_share_a_stored_secret() -> None:
    """A name may contain colons, as those of OpenID Connect do, and so may the host of a registry."""
    names = list[str]()

    class Records(EncryptedRecords):
        def __init__(self) -> None:
            pass

        async def get(self, name: str) -> None:
            names.append(name)

    vaults = RedisVaults(Redis(), Records())
    owners = (("user:a", "h:5000"), ("user:a:h", "5000"), ("user:a%3Ah", "5000"), ("user:user:a", "h:5000"))
    for owner, path in owners:
        await vaults.credentials(owner, path)

    assert len(set(names)) == len(owners), names
