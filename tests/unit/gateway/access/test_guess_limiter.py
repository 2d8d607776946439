"""The guess limiter: an address can try only some unknown secrets, and other addresses are not affected."""

import json
from datetime import timedelta

import pytest

from gateway.access.guess_limiter import GuessLimiter
from gateway.domain.grant import Grant
from gateway.domain.quota import Quota
from gateway.handlers.registry import RegistryHandler
from gateway.http.caller import ClientAddress
from gateway.pull.pulls import Pulls
from swell.errors import SessionExpired, TooManyRequests
from tests.unit.gateway.access.buckets import Clock
from tests.unit.gateway.doubles import NOON, KnownEnds, MemoryGrants, MemoryImages, UnlimitedPulls

HERE, THERE = "198.51.100.7", "203.0.113.9"
GOOD = "g" * 26
QUOTA = Quota(permits=3, seconds=60)


class Grants(MemoryGrants):
    """`asked` are the tokens that were looked up; those in `known` are remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.known: set[str] = set()

    def is_cached(self, token: str) -> bool:
        return token in self.known

    async def get(self, token: str) -> Grant | None:
        self.asked.append(token)
        return await super().get(token)


class Door:
    """`/v2`, asked from some address."""

    def __init__(self, clock: Clock, quota: Quota | None = QUOTA) -> None:
        self.grants = Grants()
        self.grants.stored[GOOD] = Grant(
            token=GOOD, image="ubuntu", platform="linux/amd64", created=NOON, expires=NOON + timedelta(hours=36)
        )
        pulls = Pulls(self.grants, KnownEnds(), MemoryImages(), UnlimitedPulls(), "", GuessLimiter(quota, clock))
        self._handler = RegistryHandler(pulls, lambda grant, document: None, ClientAddress())

    async def ask(self, token: str, address: str = HERE, kind: str = "tags/list") -> tuple[int, str | None]:
        """The status, and when to come back."""
        sent: list[dict[str, object]] = []

        async def send(message: object) -> None:
            sent.append(message)  # type: ignore[arg-type]

        path = f"/v2/wt/{token}/library/ubuntu/{kind}"
        scope = {"type": "http", "method": "GET", "raw_path": path.encode(), "query_string": b"", "headers": []}
        await self._handler(scope | {"client": (address, 4711)}, None, send)  # type: ignore[arg-type]
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}  # type: ignore[attr-defined]
        if sent[0]["status"] == 429:
            assert json.loads(sent[1]["body"])["errors"][0]["code"] == "TOOMANYREQUESTS"  # type: ignore[arg-type]
        return sent[0]["status"], headers.get("retry-after")  # type: ignore[return-value]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(clock: Clock) -> Door:
    return Door(clock)


def token(number: int) -> str:
    return f"{number:026}"


@pytest.mark.parametrize("kind", ["tags/list", "manifests/latest", f"blobs/sha256:{64 * '0'}"])
async def test_who_guesses_is_made_to_wait(door: Door, clock: Clock, kind: str) -> None:
    """Without a question to the store, and until then only: a third of a minute later there is one more guess."""
    assert [await door.ask(token(number), kind=kind) for number in range(3)] == [(404, None)] * 3
    assert await door.ask(token(3), kind=kind) == (429, "20")
    assert door.grants.asked == [token(number) for number in range(3)]

    clock.now += 20
    assert [(await door.ask(token(number), kind=kind))[0] for number in (4, 5)] == [404, 429]


async def test_other_clients_are_not_affected(door: Door) -> None:
    """Other addresses go on, and so does what is known of here."""
    for number in range(4):
        await door.ask(token(number))
    door.grants.known.add(GOOD)

    assert await door.ask(GOOD) == (200, None)
    door.grants.known.clear()
    assert await door.ask(GOOD, address=THERE) == (200, None)
    assert await door.ask(GOOD) == (429, "20")


async def test_asking_again_for_a_dead_token_is_no_guess(door: Door) -> None:
    """Many machines behind one address may hold a token that has expired."""
    assert {await door.ask(token(1)) for _ in range(50)} == {(404, None)}
    assert await door.ask(GOOD) == (200, None)


async def test_what_is_no_token_at_all_costs_nothing(door: Door) -> None:
    """It is not looked up, so it need not be counted."""
    assert {await door.ask(f"no_token_{number}") for number in range(50)} == {(404, None)}
    assert door.grants.asked == []
    assert await door.ask(GOOD) == (200, None)


async def test_without_a_limit_all_clients_may_guess(clock: Clock) -> None:
    """The operator may have one in front of us."""
    door = Door(clock, quota=None)

    assert {await door.ask(token(number)) for number in range(50)} == {(404, None)}


def test_only_the_last_addresses_are_counted(clock: Clock) -> None:
    """Memory is limited, even with requests from very many addresses."""
    guess_limiter = GuessLimiter(QUOTA, clock, size=2)
    for address in ("a", "b", "c"):
        for number in range(3):
            guess_limiter.count_miss(address, f"{address}{number}")

    guess_limiter.check("a")
    with pytest.raises(TooManyRequests):
        guess_limiter.check("c")


def test_tokens_that_a_platform_does_not_renew_are_guesses(clock: Clock) -> None:
    """With any refresh token beside it, an unknown token of a Platform ends as a session that cannot be renewed."""
    guess_limiter = GuessLimiter(QUOTA, clock)
    for number in range(3):
        with pytest.raises(SessionExpired), guess_limiter.attempt(HERE, f"token-{number}"):
            raise SessionExpired

    with pytest.raises(TooManyRequests), guess_limiter.attempt(HERE, "token-4"):
        pytest.fail("the Platform is asked")
