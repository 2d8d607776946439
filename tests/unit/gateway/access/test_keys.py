"""Issued API keys: who may make, see, limit and revoke them, and with which limits."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest

from gateway.access.keys import MAX_KEYS, Actor, KeyIssuer
from gateway.domain.access.api_key import id_of, is_key, new_key
from gateway.domain.access.identity import PUBLIC_SCOPES, USER_SCOPES, Identity, Scope
from swell.api.keys import KeyChange, KeyRequest, ScopeName
from swell.errors import BadRequest, NotFound, ScopeRequired, SwellError
from swell.oci.reference import parse_reference
from swell.registry.credentials.principal import OPERATOR, PUBLIC
from tests.unit.gateway.doubles import NOON, MemoryKeys

OPERATORS_ACCOUNT = Actor("ops")
ADMINISTRATOR = Actor("root", Identity(user="root", scopes=USER_SCOPES | {Scope.ADMINISTER}))
ADA = Actor("ada", Identity(user="ada", email="a@x.example", organisation="engines", scopes=USER_SCOPES))
BOB = Actor("bob", Identity(user="bob", scopes=USER_SCOPES))
LATER = NOON + timedelta(days=1)


class Events:
    def __init__(self) -> None:
        self.published: list[tuple[str, bool]] = []

    async def key_changed(self, key_id: str, *, revoked: bool) -> None:
        self.published.append((key_id, revoked))


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def stored() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
def issuer(stored: MemoryKeys, events: Events) -> KeyIssuer:
    return KeyIssuer(stored, events, lambda: NOON)


def limited(**limits: Any) -> Actor:
    return Actor("ada", Identity(user="ada", **{"scopes": USER_SCOPES} | limits))


def test_a_key_is_recognised_by_its_prefix_and_checksum() -> None:
    """Secret scanners find it in files; one wrong character costs no call to the store."""
    key = new_key()

    assert is_key(key)
    assert key.startswith("swl_")
    assert len({new_key() for _ in range(100)}) == 100
    for place in range(4, len(key)):
        assert not is_key(key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :])
    assert not any(map(is_key, (key[:-1], key + "a", key.upper(), "", f" {key}", f"{key}\n")))


async def test_the_key_itself_is_not_stored(issuer: KeyIssuer, stored: MemoryKeys) -> None:
    """Its hash is the id, which may appear in lists and logs."""
    record, key = await issuer.issue(ADA, KeyRequest(name="laptop"))

    assert record.id == id_of(key)
    assert list(stored.stored) == [record.id]
    assert key not in repr(stored.stored)
    assert key.removeprefix("swl_")[:32] not in repr(stored.stored)


async def test_a_user_issues_a_key_with_the_users_identity(issuer: KeyIssuer) -> None:
    """By default it does what anonymous clients may do, in the user's name, and manages no other keys."""
    record, _ = await issuer.issue(ADA, KeyRequest())
    identity = record.identity()

    assert (identity.user, identity.email, identity.organisation) == ("ada", "a@x.example", "engines")
    assert identity.scopes == PUBLIC_SCOPES
    assert (identity.pulls_as, identity.pushes_as, identity.secrets) == (PUBLIC, PUBLIC, frozenset())
    assert identity.key_id == record.id


@pytest.mark.parametrize("actor", [OPERATORS_ACCOUNT, ADMINISTRATOR])
async def test_an_operator_issues_a_key_for_any_user(issuer: KeyIssuer, actor: Actor) -> None:
    """Only an operator gives the uses of the operator's credentials and secrets."""
    request = KeyRequest(
        user="ci",
        organisation="lab",
        scopes=("build", "operator-pull"),
        repositories=("quay.io/acme", "docker.io/library"),
        secrets=("npm",),
    )
    record, _ = await issuer.issue(actor, request)
    identity = record.identity()

    assert (identity.user, identity.organisation, record.created_by) == ("ci", "lab", actor.name)
    assert identity.pulls_as == "operator:docker.io/library,quay.io/acme"
    assert identity.pushes_as == PUBLIC
    assert identity.secrets == {"npm"}
    assert (await issuer.issue(actor, KeyRequest(user="ci", scopes=("operator-push",))))[0].identity().pushes_as == (
        OPERATOR
    )


REFUSED: list[tuple[Actor, dict[str, Any]]] = [
    (ADA, {"user": "bob"}),
    (ADA, {"email": "b@x.example"}),
    (ADA, {"organisation": "another"}),
    (ADA, {"scopes": ("administer",)}),
    (ADA, {"scopes": ("pull", "operator-pull")}),
    (ADA, {"secrets": ("npm",)}),
    (limited(scopes=PUBLIC_SCOPES), {}),
    (limited(scopes=frozenset({Scope.PULL, Scope.KEYS})), {"scopes": ("build",)}),
    (limited(scopes=frozenset({Scope.KEYS, Scope.OPERATOR_PULL})), {"scopes": ("operator-pull",)}),
    (limited(repositories=("quay.io/acme",)), {}),
    (limited(repositories=("quay.io/acme",)), {"repositories": ("quay.io/acme", "quay.io/acmeother")}),
    (limited(repositories=("quay.io/acme",)), {"repositories": ("quay.io",)}),
    (limited(expires=LATER), {"expires": LATER + timedelta(seconds=1)}),
]


@pytest.mark.parametrize(("actor", "fields"), REFUSED)
async def test_a_key_has_no_more_rights_than_its_request(
    issuer: KeyIssuer, stored: MemoryKeys, actor: Actor, fields: dict[str, Any]
) -> None:
    """A leaked, limited key must not become an unlimited one."""
    with pytest.raises(ScopeRequired):
        await issuer.issue(actor, KeyRequest(**fields))

    assert not stored.stored


async def test_a_limited_key_makes_keys_within_its_limits(issuer: KeyIssuer) -> None:
    """A path below a repository is within it; without an expiry, the new key ends with the one that made it."""
    actor = limited(repositories=("quay.io/acme",), expires=LATER)

    record, _ = await issuer.issue(actor, KeyRequest(repositories=("quay.io/acme/tools",), scopes=("pull",)))

    assert record.expires == LATER
    record.identity().check_images([parse_reference("quay.io/acme/tools/samtools:1.17")])
    with pytest.raises(ScopeRequired, match="limited to quay.io/acme/tools"):
        record.identity().check_images([parse_reference("quay.io/acme/other:1")])


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": ()},
        {"expires": NOON},
        {"expires": datetime(2026, 11, 23, 11)},  # noqa: DTZ001  clients may leave out the zone
        {"expires": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))},
        {"expires": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))},
        {"repositories": ("a:b:c/x",)},
        {"user": "two words"},
        {"user": ""},
        {"secrets": ("../etc",)},
        {"email": "x" * 255},
    ],
)
async def test_invalid_limits_are_refused(issuer: KeyIssuer, fields: dict[str, Any]) -> None:
    """The message names the member."""
    with pytest.raises(BadRequest):
        await issuer.issue(OPERATORS_ACCOUNT, KeyRequest(**{"user": "ci"} | fields))


async def test_a_user_has_at_most_a_hundred_keys(issuer: KeyIssuer, stored: MemoryKeys) -> None:
    """Lists stay short, and the store is not filled by one user."""
    for _ in range(MAX_KEYS):
        await issuer.issue(ADA, KeyRequest())
    with pytest.raises(BadRequest, match="100 keys"):
        await issuer.issue(ADA, KeyRequest())

    assert (await issuer.issue(BOB, KeyRequest()))[0].user == "bob"
    assert len(stored.stored) == MAX_KEYS + 1


async def test_users_see_their_own_keys_only(issuer: KeyIssuer) -> None:
    """A key of another user looks as if it did not exist."""
    adas, _ = await issuer.issue(ADA, KeyRequest())
    bobs, _ = await issuer.issue(BOB, KeyRequest())

    assert [key.id for key in (await issuer.list(ADA, None, None, None))[0]] == [adas.id]
    assert [key.id for key in (await issuer.list(OPERATORS_ACCOUNT, "bob", None, None))[0]] == [bobs.id]
    assert len((await issuer.list(ADMINISTRATOR, None, None, None))[0]) == 2
    with pytest.raises(ScopeRequired):
        await issuer.list(ADA, "bob", None, None)
    for use in (
        issuer.get(ADA, bobs.id),
        issuer.revoke(ADA, bobs.id),
        issuer.change(ADA, bobs.id, KeyChange(name="x")),
    ):
        with pytest.raises(NotFound):
            await use
    assert (await issuer.get(OPERATORS_ACCOUNT, bobs.id)).id == bobs.id


async def test_a_key_without_the_scope_manages_nothing(issuer: KeyIssuer) -> None:
    """Keys of CI jobs neither list nor revoke the other keys of their user."""
    adas, _ = await issuer.issue(ADA, KeyRequest())
    with_key = Actor("ada", adas.identity())

    for use in (
        issuer.list(with_key, None, None, None),
        issuer.get(with_key, adas.id),
        issuer.revoke(with_key, adas.id),
    ):
        with pytest.raises(ScopeRequired, match="scope keys"):
            await use


async def test_limits_can_be_changed_later(issuer: KeyIssuer, events: Events) -> None:
    """Members that are missing stay; every gateway is notified."""
    key, _ = await issuer.issue(ADA, KeyRequest(name="laptop", scopes=("pull", "build")))

    changed = await issuer.change(ADA, key.id, KeyChange(scopes=("pull",), expires=LATER))

    assert (changed.name, changed.scopes, changed.expires) == ("laptop", frozenset({Scope.PULL}), LATER)
    assert await issuer.get(ADA, key.id) == changed
    assert events.published == [(key.id, False)]
    with pytest.raises(ScopeRequired):
        await issuer.change(ADA, key.id, KeyChange(scopes=("administer",)))


async def test_a_user_cannot_change_the_key_that_an_operator_has_given_more(issuer: KeyIssuer) -> None:
    """Otherwise its repositories could be widened, and with them the use of the operator's credentials."""
    request = KeyRequest(user="ada", scopes=("build", "operator-pull"), repositories=("quay.io/acme",))
    key, _ = await issuer.issue(OPERATORS_ACCOUNT, request)

    with pytest.raises(ScopeRequired):
        await issuer.change(ADA, key.id, KeyChange(repositories=("quay.io",)))
    assert (await issuer.revoke(ADA, key.id)).id == key.id


@pytest.mark.parametrize("more", [{"secrets": ("npm",)}, {"organisation": "acme"}, {"email": "ada@acme.example"}])
async def test_a_user_does_not_extend_what_only_an_operator_gives(issuer: KeyIssuer, more: dict[str, Any]) -> None:
    """Secrets, and membership of an organisation, end with the key that the operator has limited."""
    key, _ = await issuer.issue(OPERATORS_ACCOUNT, KeyRequest(user="ada", scopes=("build",), expires=LATER, **more))

    with pytest.raises(ScopeRequired, match="only an operator"):
        await issuer.change(limited(), key.id, KeyChange(expires=LATER + timedelta(days=900)))

    assert (await issuer.get(OPERATORS_ACCOUNT, key.id)).expires == LATER


async def test_a_revoked_key_is_deleted_and_published(issuer: KeyIssuer, stored: MemoryKeys, events: Events) -> None:
    """The second time it is not found."""
    key, _ = await issuer.issue(ADA, KeyRequest())

    await issuer.revoke(ADA, key.id)

    assert not stored.stored
    assert events.published == [(key.id, True)]
    with pytest.raises(NotFound):
        await issuer.revoke(ADA, key.id)


@pytest.mark.parametrize(
    ("cursor", "limit"), [("x", None), (None, 0), (None, 101), ("-", 1), (f"{1:020d}:" + "g" * 32, 1)]
)
async def test_malformed_pages_are_refused(issuer: KeyIssuer, cursor: str | None, limit: int | None) -> None:
    """A cursor becomes part of a command of Redis."""
    with pytest.raises(SwellError):
        await issuer.list(ADA, None, cursor, limit)


def test_the_api_names_all_scopes() -> None:
    """A scope that is added to one of the two lists is missing in the other."""
    assert set(get_args(ScopeName)) == {scope.value for scope in Scope}
    assert NOON.tzinfo is UTC
