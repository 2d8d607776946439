"""Tokens are revoked by user, organisation, image or build, in bounded steps."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.access.revoke import Revocations
from gateway.domain.grant import Grant
from gateway.operate import tokens as module
from gateway.operate.tokens import TokenRevocations
from swell.api.operator import RevocationRequest
from swell.errors import BadRequest

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def grant(token: str, image: str = "quay.io/acme/tool:1", **fields: Any) -> Grant:
    end = NOON + timedelta(hours=1)
    return Grant(token=token, image=image, platform="linux/amd64", created=NOON, expires=end, **fields)


class Store:
    """Grants in pages of two."""

    def __init__(self, *grants: Grant) -> None:
        self.grants = list(grants)
        self.revoked: list[str] = []

    async def scan(self, cursor: str) -> tuple[Sequence[Grant], str | None]:
        start = int(cursor)
        return self.grants[start : start + 2], str(start + 2) if start + 2 < len(self.grants) else None

    async def revoke(self, token: str) -> bool:
        self.revoked.append(token)
        return token != "gone"


class Events:
    async def revoked(self, token: str) -> None:
        """One gateway."""


def operations(store: Store) -> TokenRevocations:
    return TokenRevocations(store, Revocations(store, Events()))


GRANTS = (
    grant("a", user="ada", organisation="lab"),
    grant("b", image="quay.io/acme/tool:2", user="bob", organisation="lab"),
    grant("c", image="quay.io/acmeother/tool:1", user="ada", build_id="bd-1_1"),
    grant("d", image="docker.io/library/ubuntu:24.04"),
    grant("e", image="not an image", user="ada"),
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"user": "ada"}, "ace"),
        ({"organisation": "lab"}, "ab"),
        ({"organisation": "lab", "user": "ada"}, "a"),
        ({"image": "quay.io/acme"}, "ab"),
        ({"image": "quay.io/acme/tool:1"}, "a"),
        ({"image": "quay.io"}, "abc"),
        ({"image": "docker.io/library/ubuntu:24.04"}, "d"),
        ({"build_id": "bd-1_1"}, "c"),
    ],
)
async def test_all_members_of_the_request_must_match(fields: dict[str, Any], expected: str) -> None:
    """A path ends at a slash: `quay.io/acme` is not `quay.io/acmeother`."""
    store = Store(*GRANTS)

    answer = await operations(store).revoke(RevocationRequest(**fields), "ops")

    assert ("".join(sorted(store.revoked)), answer.revoked, answer.next) == (expected, len(expected), None)
    assert answer.examined == len(GRANTS)


async def test_a_dry_run_counts_and_revokes_nothing() -> None:
    """The operator sees how many tokens it is before anything changes."""
    store = Store(*GRANTS)
    answer = await operations(store).revoke(RevocationRequest(user="ada", dry_run=True), "ops")
    assert (answer.revoked, store.revoked) == (3, [])


async def test_a_request_is_bounded_and_continues_at_its_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request runs for minutes: the client sends it again with the cursor."""
    monkeypatch.setattr(module, "MAX_REVOKED", 1)
    store, seen, cursor = Store(*GRANTS), 0, None
    for _ in range(10):
        answer = await operations(store).revoke(RevocationRequest(user="ada", cursor=cursor), "ops")
        seen, cursor = seen + answer.revoked, answer.next
        if cursor is None:
            break
    assert (seen, sorted(store.revoked)) == (3, ["a", "c", "e"])


async def test_expired_tokens_do_not_count() -> None:
    """A grant may expire between the list and the revocation."""
    store = Store(grant("gone", user="ada"))
    assert (await operations(store).revoke(RevocationRequest(user="ada"), "ops")).revoked == 0


@pytest.mark.parametrize(
    "fields", [{}, {"user": ""}, {"image": "quay.io/UPPER case:1"}, {"image": "ubuntu:24.04"}, {"image": ""}]
)
async def test_a_request_without_a_limit_is_refused(fields: dict[str, Any]) -> None:
    """An empty body must not revoke every token."""
    store = Store(*GRANTS)
    with pytest.raises(BadRequest):
        await operations(store).revoke(RevocationRequest(**fields), "ops")
    assert not store.revoked
