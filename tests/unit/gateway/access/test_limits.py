"""Limits: whose permits are counted, and the errors of clients without permits."""

import asyncio
from datetime import timedelta

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.access.limits import LimitExceeded, Limits
from gateway.domain.grant import Grant
from gateway.domain.quota import Client, Kind, Quota, Quotas, parse_quota
from gateway.handlers.registry import RegistryHandler
from gateway.http.caller import ClientAddress
from gateway.pull.pulls import Pulls
from swell.errors import Unavailable
from swell.oci.digest import digest_of
from tests.unit.gateway.access.buckets import Clock, MemoryBuckets
from tests.unit.gateway.doubles import NOON, KnownEnds, MemoryGrants, MemoryImages

QUOTAS = Quotas(
    build=Quota(3, 60),
    pull=Quota(100, 60),
    anonymous_build=Quota(1, 60),
    anonymous_pull=Quota(2, 60),
    token=Quota(40, 3600),
    anonymous_token=Quota(2, 3600),
)
HERE, THERE = "203.0.113.9", "203.0.113.10"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buckets(clock: Clock) -> MemoryBuckets:
    return MemoryBuckets(clock)


@pytest.fixture
def limits(buckets: MemoryBuckets, clock: Clock) -> Limits:
    return Limits(buckets, QUOTAS, fail_open=True, clock=clock)


async def pulls(limits: Limits, user: str = "", address: str = HERE) -> int:
    """How many manifests a client gets before it is refused."""
    for count in range(1000):
        try:
            await limits.take_pull(user, address)
        except LimitExceeded:
            return count
    raise AssertionError("there is no end to them")


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("250/1h", Quota(250, 3600)),
        ("2000/1m", Quota(2000, 60)),
        ("25/1d", Quota(25, 86400)),
        ("100/h", Quota(100, 3600)),
        ("10/30s", Quota(10, 30)),
        ("off", None),
    ],
)
def test_a_limit_is_a_number_and_a_period(text: str, quota: Quota | None) -> None:
    """The forms that docs/settings.md names are accepted."""
    assert parse_quota(text) == quota


@pytest.mark.parametrize("text", ["", "250", "0/1h", "250/0h", "250/1w", "-1/1h", "1.5/h", "250/1h/2", "on", "250/h\n"])
def test_any_other_limit_is_refused(text: str) -> None:
    """A misread limit would be no limit, without any sign of it."""
    with pytest.raises(ValueError, match="is not a limit"):
        parse_quota(text)


@pytest.mark.parametrize("text", ["250/1h", "25/1d", "7/90s", "36/2h", "1/1m"])
def test_a_quota_is_shown_as_it_was_written(text: str) -> None:
    """Clients read the limit in the error message."""
    assert str(parse_quota(text)) == text


async def test_a_user_has_one_limit_wherever_they_are(limits: Limits) -> None:
    """A user cannot multiply a limit by using several addresses."""
    assert await pulls(limits, "ada", HERE) == 100
    assert await pulls(limits, "ada", THERE) == 0
    assert await pulls(limits, "grace", HERE) == 100


async def test_without_a_user_it_is_the_address_that_counts(limits: Limits) -> None:
    """And a user who is named like an address is not that address."""
    assert await pulls(limits, "", HERE) == 2
    assert await pulls(limits, "", THERE) == 2
    assert await pulls(limits, HERE, "") == 100


async def test_builds_and_pulls_are_counted_apart(limits: Limits) -> None:
    """Pulls must go on for a client that has used up its builds."""
    await limits.take_build("", HERE)

    assert await pulls(limits) == 2


async def test_permits_come_back_evenly(limits: Limits, clock: Clock) -> None:
    """A client without permits gets the next one before the period ends."""
    for _ in range(3):
        await limits.take_build("ada", HERE)
    with pytest.raises(LimitExceeded) as refused:
        await limits.take_build("ada", HERE)
    clock.now += 20
    await limits.take_build("ada", HERE)

    assert (refused.value.retry_after, refused.value.limit, refused.value.reset) == (20, 3, 60)


async def test_a_refusal_names_the_kind_of_limit_and_who_is_over(limits: Limits) -> None:
    """The client can see which limit to avoid, and until when."""
    await limits.take_build("", HERE)
    with pytest.raises(LimitExceeded, match=f"build limit of 1/1m for address {HERE} is used up, try again in 60 s"):
        await limits.take_build("", HERE)
    await pulls(limits, "ada")
    with pytest.raises(LimitExceeded, match="pull limit of 100/1m for user ada is used up, try again in 1 s"):
        await limits.take_pull("ada", HERE)


async def test_a_build_that_was_not_queued_can_be_given_back(limits: Limits) -> None:
    """Two gateways may be asked for the same build in the same moment."""
    await limits.take_build("", HERE)
    await limits.return_build("", HERE)

    await limits.take_build("", HERE)


async def test_most_pulls_make_no_call_to_the_store(limits: Limits, buckets: MemoryBuckets) -> None:
    """Permits come in blocks of a twentieth."""
    assert await pulls(limits, "ada") == 100

    assert buckets.questions == 21


async def test_pulls_at_the_same_time_ask_once(limits: Limits, buckets: MemoryBuckets) -> None:
    """A burst of pulls makes one call to the store."""
    await asyncio.gather(*(limits.take_pull("ada", HERE) for _ in range(5)))

    assert buckets.questions == 1


async def test_a_client_over_its_limit_makes_no_call_until_there_is_a_permit(
    limits: Limits, buckets: MemoryBuckets, clock: Clock
) -> None:
    """A client that does not listen costs no more than one that does."""
    await pulls(limits)
    before = buckets.questions
    for _ in range(100):
        assert await pulls(limits) == 0
    assert buckets.questions == before

    clock.now += 30
    assert await pulls(limits) == 1


async def test_a_gateway_beside_lacks_only_what_this_one_holds(buckets: MemoryBuckets, clock: Clock) -> None:
    """Together they never give more than the quota, and one alone at least all but a twentieth."""
    here, there = (Limits(buckets, QUOTAS, fail_open=True, clock=clock) for _ in range(2))
    await there.take_pull("ada", HERE)

    assert await pulls(here, "ada") == 95
    assert await pulls(there, "ada") == 4


async def test_a_limit_that_is_off_counts_nothing(buckets: MemoryBuckets) -> None:
    """Without a limit there is no call to the store."""
    limits = Limits(buckets, Quotas(), fail_open=False)
    for _ in range(100):
        await limits.take_pull("", HERE)
        await limits.take_build("", HERE)
        await limits.return_build("", HERE)

    assert buckets.questions == 0


async def test_limits_that_cannot_be_counted_accept_all(limits: Limits, buckets: MemoryBuckets, clock: Clock) -> None:
    """The store is called once a second, not once a request; when it responds, limits apply again."""
    buckets.away = True
    with capture_logs() as lines:
        for _ in range(50):
            await limits.take_build("", HERE)
            await limits.take_pull("", THERE)
    assert buckets.questions == 1
    assert [line["event"] for line in lines] == ["limits cannot be counted"]

    buckets.away, clock.now = False, clock.now + 1
    await limits.take_build("", HERE)
    with pytest.raises(LimitExceeded):
        await limits.take_build("", HERE)


async def test_limits_that_cannot_be_counted_refuse_all_if_configured(buckets: MemoryBuckets, clock: Clock) -> None:
    """`SWELL_LIMITS_FAIL_OPEN=false` protects upstreams during an outage of the store."""
    limits = Limits(buckets, QUOTAS, fail_open=False, clock=clock)
    buckets.away = True
    for take in (limits.take_build, limits.take_pull):
        with pytest.raises(Unavailable):
            await take("ada", HERE)
    await limits.return_build("ada", HERE)

    buckets.away, clock.now = False, clock.now + 1
    assert await pulls(limits, "ada") == 100


async def test_a_client_is_forgotten_when_there_are_too_many(buckets: MemoryBuckets, clock: Clock) -> None:
    """Memory is bounded; what is counted stands in the store."""
    limits = Limits(buckets, QUOTAS, fail_open=True, clock=clock, size=2)
    for address in ("a", "b", "c", "a", "b", "c"):
        await limits.take_pull("", address)

    assert await pulls(limits, "", "a") == 0


class Door:
    """A registry handler with limits, asked as an ASGI server does."""

    def __init__(self, limits: Limits, grant: Grant) -> None:
        grants = MemoryGrants()
        grants.stored[grant.token] = grant
        pulls = Pulls(grants, KnownEnds(), MemoryImages(), limits, "https://wave.example.org")
        self._handler = RegistryHandler(pulls, lambda grant, document: None, ClientAddress())
        self._path = f"/v2/wt/{grant.token}/library/ubuntu"

    async def ask(self, path: str = "manifests/22.04", method: str = "GET", address: str = HERE) -> tuple[int, bytes]:
        """The status and the body; the headers are in `headers`."""
        sent: list[dict[str, object]] = []

        async def send(message: object) -> None:
            sent.append(message)  # type: ignore[arg-type]

        path = f"{self._path}/{path}"
        scope = {"type": "http", "method": method, "raw_path": path.encode(), "headers": [], "client": (address, 4711)}
        await self._handler(scope, None, send)  # type: ignore[arg-type]
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}  # type: ignore[attr-defined]
        return sent[0]["status"], sent[1]["body"]  # type: ignore[return-value]


@pytest.fixture
def grant() -> Grant:
    return Grant(
        token="abcdefghijklmnopqrstuvwxyz",
        image="docker.io/library/ubuntu:22.04",
        platform="linux/amd64",
        created=NOON,
        expires=NOON + timedelta(hours=36),
    )


async def test_a_pull_over_the_limit_is_refused_as_registries_do_it(limits: Limits, grant: Grant) -> None:
    """429 with the specification's code, and when to come back: container engines wait that long."""
    door = Door(limits, grant)
    assert [(await door.ask())[0] for _ in range(2)] == [200, 200]

    status, body = await door.ask()

    (error,) = msgspec.json.decode(body)["errors"]
    assert (status, error["code"]) == (429, "TOOMANYREQUESTS")
    assert error["message"] == f"the pull limit of 2/1m for address {HERE} is used up, try again in 30 s"
    expected = {"retry-after": "30", "ratelimit-limit": "2", "ratelimit-remaining": "0", "ratelimit-reset": "60"}
    assert expected.items() <= door.headers.items()


async def test_only_reading_a_manifest_is_a_pull(limits: Limits, grant: Grant) -> None:
    """Looking whether there is one is free, and so are blobs: a pull that has begun can be finished."""
    door = Door(limits, grant)
    digest = digest_of(b"a layer")
    for _ in range(5):
        assert (await door.ask(method="HEAD"))[0] == 200
        assert (await door.ask(f"blobs/{digest}"))[0] == 307
    assert [(await door.ask())[0] for _ in range(3)] == [200, 200, 429]

    assert (await door.ask(f"blobs/{digest}"))[0] == 307


async def test_a_token_that_a_user_got_counts_for_the_user(limits: Limits, grant: Grant) -> None:
    """A cluster's nodes pull from many addresses; and one address may be a whole campus."""
    door = Door(limits, msgspec.structs.replace(grant, user="ada"))
    statuses = [(await door.ask(address=f"203.0.113.{number}"))[0] for number in range(101)]

    assert statuses == [200] * 100 + [429]


async def test_a_client_is_only_counted_for_what_it_may_pull(buckets: MemoryBuckets, limits: Limits) -> None:
    """An unknown token uses up no permit."""
    door = Door(limits, Grant(token="a" * 26, image="docker.io/a/b:1", platform="", created=NOON, expires=NOON))

    assert (await door.ask())[0] == 404
    assert buckets.questions == 0


def test_a_quota_lasts_as_long_as_it_says() -> None:
    """Whole microseconds add up to no less than the period."""
    for text in ("250/1h", "7/1m", "999999/1s", "25/1d", "3/1s"):
        quota = parse_quota(text)
        assert quota
        assert 0 <= quota.step * quota.permits - quota.seconds * 1_000_000 < quota.permits
    assert Quotas(pull=Quota(1, 1)).of(Kind.PULL, Client("", HERE)) is None


async def tokens(limits: Limits, user: str = "", address: str = HERE) -> int:
    """How many tokens a client gets before it is refused."""
    for count in range(1000):
        try:
            await limits.take_token(user, address)
        except LimitExceeded as error:
            assert "live-token limit" in str(error) and error.retry_after
            return count
    raise AssertionError("there is no end to them")


async def test_a_client_has_so_many_live_tokens(limits: Limits, clock: Clock) -> None:
    """Each user and each address has its own; as many more come as have expired meanwhile."""
    assert (await tokens(limits), await tokens(limits, address=THERE), await tokens(limits, "ada")) == (2, 2, 40)

    clock.now += 1800
    assert await tokens(limits) == 1
    clock.now += 7200
    assert await tokens(limits) == 2


async def test_tokens_are_counted_with_few_calls(limits: Limits, buckets: MemoryBuckets) -> None:
    """A container request must not get slower: a call to the state store for each twentieth of the quota."""
    for _ in range(20):
        await limits.take_token("ada", HERE)

    assert buckets.questions == 10


async def test_a_refused_request_costs_no_token(limits: Limits) -> None:
    """Nothing was stored for it."""
    for _ in range(10):
        await limits.take_token("", HERE)
        limits.return_token("", HERE)

    assert await tokens(limits) == 2
