"""Credentials of users: when they are looked up, and whose they are."""

import pytest

from swell.errors import Denied, Unavailable
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import (
    OPERATOR,
    PUBLIC,
    Principal,
    limited_to,
    rules_of,
    with_owners,
)
from swell.registry.credentials.user_credentials import FRESH_SECONDS, USABLE_SECONDS, UserCredentials

ALICE, BOB = with_owners("platform", ["alice"]), with_owners("platform", ["bob"])
IMAGE = parse_reference("quay.io/acme/tool:1")
LOGIN, OPERATORS = Credentials("alice", "pw"), Credentials("operator", "pw")


class Lookups:
    """Alice has a login for quay.io; `error` is raised if it is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[tuple[Principal, str]] = []
        self.error: Exception | None = None
        self.found = {ALICE: LOGIN}
        self.users = UserCredentials(self.find, lambda: self.now)

    async def find(self, principal: Principal, reference: Reference) -> Credentials | None:
        self.asked.append((principal, reference.name))
        if self.error:
            raise self.error
        return self.found.get(principal)


@pytest.fixture
def lookups() -> Lookups:
    return Lookups()


@pytest.mark.parametrize("principal", [PUBLIC, OPERATOR, limited_to(["quay.io"])])
async def test_principals_without_owners_cost_no_lookup(lookups: Lookups, principal: Principal) -> None:
    """Anonymous clients and API keys have no such credentials."""
    assert await lookups.users.load(IMAGE, principal) is None
    assert not lookups.asked


async def test_a_login_is_its_owners_only(lookups: Lookups) -> None:
    """The cache is keyed by the principal: Bob's lookup after Alice's finds nothing of hers."""
    assert await lookups.users.load(IMAGE, ALICE) == LOGIN
    assert await lookups.users.load(IMAGE, BOB) is None
    assert lookups.users.known(IMAGE, ALICE) == LOGIN
    assert lookups.users.known(IMAGE, BOB) is None
    assert lookups.users.known(parse_reference("quay.io/acme/other"), ALICE) is None


async def test_a_withdrawn_login_is_forgotten_within_half_a_minute(lookups: Lookups) -> None:
    """Negative results are looked up again as well."""
    await lookups.users.load(IMAGE, ALICE)
    lookups.found.clear()

    lookups.now = FRESH_SECONDS
    assert await lookups.users.load(IMAGE, ALICE) == LOGIN
    lookups.now = FRESH_SECONDS + 1
    assert await lookups.users.load(IMAGE, ALICE) is None
    lookups.found[ALICE] = LOGIN
    lookups.now += USABLE_SECONDS
    assert await lookups.users.load(IMAGE, ALICE) == LOGIN
    lookups.now += USABLE_SECONDS + 1
    assert lookups.users.known(IMAGE, ALICE) is None


@pytest.mark.parametrize("error", [Denied, Unavailable])
async def test_a_failed_lookup_leaves_nothing(lookups: Lookups, error: type[Exception]) -> None:
    """A refusal ends the use of what was found before; the request gets the error."""
    await lookups.users.load(IMAGE, ALICE)
    lookups.now, lookups.error = FRESH_SECONDS + 1, error("no")

    with pytest.raises(error):
        await lookups.users.load(IMAGE, ALICE)
    assert lookups.users.known(IMAGE, ALICE) is None


async def test_a_users_login_precedes_the_operators(lookups: Lookups) -> None:
    """Others get the operator's for a shared registry, as before."""
    keyring = Keyring({"quay.io": OPERATORS}, rules_of([], ["quay.io"]).may_read, lookups.users)
    for principal in (ALICE, BOB, PUBLIC):
        await keyring.load(IMAGE, principal)

    assert [keyring.find(IMAGE, each) for each in (ALICE, BOB, PUBLIC)] == [LOGIN, OPERATORS, OPERATORS]
    closed = Keyring({"quay.io": OPERATORS}, users=lookups.users)
    assert [closed.find(IMAGE, each) for each in (ALICE, BOB, PUBLIC)] == [LOGIN, None, None]
