"""Who gets a notice of an end, and how webhooks are signed and held back."""

import asyncio
import base64
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

import msgspec
import pytest
from msgspec import structs

from gateway.access.webhooks import OwnWebhook
from gateway.domain.access.identity import Identity
from gateway.domain.notices import End, Follower, Kind, Preference, Webhook, parse_webhooks, url_of
from gateway.notices.hooks import Hooks
from gateway.notices.messages import EmailNotice, WebhookNotice
from gateway.notices.queue import Notices
from gateway.notices.webhooks import OF_OWNER, OF_USERS, Webhooks, cloud_event, signed
from gateway.parts.notices import SLOTS
from swell.errors import Unavailable, UpstreamFailed
from swell.jobs.messages import BuildDone, ScanDone
from tests.unit.gateway.doubles import NOON

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
ALL = Webhook(name="all", url="https://hooks.example.org/all", secret=SECRET)
LAB = Webhook(name="lab", url="https://hooks.example.org/lab", secret=SECRET, events=(Kind.BUILD,), organisation="lab")
END = End(kind=Kind.BUILD, id="bd-1_1", image="quay.io/acme/tool:1", succeeded=True, finished=NOON)
BUILD = BuildDone(id="bd-1_1", target_image="quay.io/acme/tool:1", platform="", succeeded=True, finished=NOON)


class Memory:
    """Followers, and a queue."""

    def __init__(self) -> None:
        self.followers: dict[str, list[Follower]] = {}
        self.queued: list[WebhookNotice | EmailNotice] = []
        self.preferences: dict[str, Preference] = {}
        self.is_down = False

    async def of(self, users: Iterable[str]) -> dict[str, Preference]:
        return {user: self.preferences[user] for user in users if user in self.preferences}

    async def add(self, record_id: str, follower: Follower) -> None:
        if self.is_down:
            raise Unavailable
        self.followers.setdefault(record_id, []).append(follower)

    async def get(self, record_id: str) -> list[Follower]:
        return self.followers.get(record_id, [])

    async def put(self, notice: WebhookNotice | EmailNotice) -> None:
        self.queued.append(notice)

    @property
    def ids(self) -> list[str]:
        return [notice.id for notice in self.queued]


def notices(memory: Memory, preference: Preference | None = None, **options: Any) -> Notices:
    return Notices(memory, memory, Hooks({"all": ALL, "lab": LAB}, None), preference, memory, **options)


async def test_only_requested_builds_have_notices() -> None:
    """The build of one of several platforms ends, too, but nothing was requested under its id."""
    memory = Memory()
    await notices(memory, Preference.ALWAYS_ON).build_done(BUILD, 1)
    assert memory.queued == []

    await notices(memory).follow(Identity(), None, "bd-1_1")
    await notices(memory).build_done(BUILD, 1)
    assert memory.ids == ["all:bd-1_1"]


async def test_a_webhook_gets_the_kinds_and_the_organisation_that_it_names() -> None:
    """An operator may send the notices of one laboratory to its own address."""
    memory = Memory()
    for record_id in ("bd-1_1", "mr-1", "sc-1"):
        await notices(memory).follow(Identity(user="ada", organisation="lab"), record_id)
    await notices(memory).build_done(BUILD, 1)
    await notices(memory).build_done(msgspec.structs.replace(BUILD, id="mr-1"), 1)
    await notices(memory).scan_done(ScanDone(id="sc-1", image="x", platform="", succeeded=True, finished=NOON), 1)

    assert memory.ids == ["all:bd-1_1", "lab:bd-1_1", "all:mr-1", "all:sc-1"]
    assert [notice.end.kind for notice in memory.queued] == [Kind.BUILD, Kind.BUILD, Kind.MIRROR, Kind.SCAN]


@pytest.mark.parametrize(
    ("own", "default", "succeeded", "is_sent"),
    [
        ("ALWAYS_ON", Preference.ALWAYS_OFF, True, True),
        ("ON_ERROR", Preference.ALWAYS_ON, True, False),
        ("ON_ERROR", Preference.ALWAYS_ON, False, True),
        ("ALWAYS_OFF", Preference.ALWAYS_ON, False, False),
        ("", Preference.ALWAYS_ON, True, True),
        ("NEW_VALUE", Preference.ON_ERROR, True, False),
        ("ALWAYS_ON", None, True, False),
    ],
)
async def test_e_mail_follows_the_preference_of_the_user(
    own: str, default: Preference | None, succeeded: bool, is_sent: bool
) -> None:
    """That of the server counts for users whose preference is unknown; without a mail server, none is sent."""
    memory = Memory()
    sending = notices(memory, default)
    await sending.follow(Identity(user="ada", email="ada@example.org", notification=own), "bd-1_1")
    await sending.build_done(msgspec.structs.replace(BUILD, succeeded=succeeded), 1)

    assert [notice.user for notice in memory.queued if isinstance(notice, EmailNotice)] == ["ada"] * is_sent


@pytest.mark.parametrize(("stored", "sent"), [("ON_ERROR", [False, True]), ("ALWAYS_OFF", [False, False])])
async def test_a_user_without_a_platform_has_a_preference_here(stored: str, sent: list[bool]) -> None:
    """It counts when a build ends, also if it was stored later, and not for users with one at their Platform."""
    for succeeded, is_sent in zip((True, False), sent, strict=True):
        memory = Memory()
        sending = notices(memory, Preference.ALWAYS_ON)
        await sending.follow(Identity(user="ada", email="ada@x.example"), "bd-1_1")
        await sending.follow(Identity(user="bob", email="bob@x.example"), "bd-1_1")
        await sending.follow(Identity(user="p:eve", email="eve@x.example", notification="ALWAYS_ON"), "bd-1_1")
        memory.preferences |= {"ada": Preference(stored), "p:eve": Preference.ALWAYS_OFF}

        await sending.build_done(msgspec.structs.replace(BUILD, succeeded=succeeded), 1)

        users = {each.user for each in memory.queued if isinstance(each, EmailNotice)}
        assert users == {"bob", "p:eve"} | ({"ada"} if is_sent else set())


async def test_no_e_mail_without_an_address_or_a_start() -> None:
    """Anonymous requests have an address only if the operator gets all e-mail; a cancelled request needs none."""
    memory = Memory()
    await notices(memory).follow(Identity(), "bd-1_1")
    await notices(memory, Preference.ALWAYS_ON).build_done(BUILD, 1)
    assert memory.ids == ["all:bd-1_1"]

    memory.queued.clear()
    sending = notices(memory, Preference.ALWAYS_ON, sends_all=True)
    await sending.build_done(msgspec.structs.replace(BUILD, begun=False), 1)
    assert memory.ids == ["all:bd-1_1"]
    await sending.build_done(BUILD, 1)
    assert isinstance(memory.queued[-1], EmailNotice)


async def test_a_request_does_not_fail_because_of_its_notices() -> None:
    """The store is unavailable: the build runs without them."""
    memory = Memory()
    memory.is_down = True
    await notices(memory).follow(Identity(user="ada"), "bd-1_1")


async def test_an_end_that_is_handled_again_has_equal_ids() -> None:
    """The queue stores a notice once for each id, so a crash between two of them sends none twice."""
    memory = Memory()
    await notices(memory).follow(Identity(user="ada", email="ada@example.org"), "bd-1_1")
    for _ in range(2):
        await notices(memory, Preference.ALWAYS_ON).build_done(BUILD, 1)
    half = len(memory.ids) // 2
    assert half == 2
    assert memory.ids[:half] == memory.ids[half:]
    assert "ada" not in memory.ids[1]


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example in the documentation of Svix's libraries: receivers verify with the library of their language."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_a_notice_is_a_cloud_event() -> None:
    """With all required attributes of version 1.0, and a link to the page."""
    event = msgspec.json.decode(msgspec.json.encode(cloud_event(END, "https://swell.example.org")))

    assert event == {
        "specversion": "1.0",
        "type": "swell.build.done",
        "source": "https://swell.example.org",
        "id": "bd-1_1",
        "time": NOON.isoformat().replace("+00:00", "Z"),
        "subject": "quay.io/acme/tool:1",
        "datacontenttype": "application/json",
        "data": {
            "id": "bd-1_1",
            "image": "quay.io/acme/tool:1",
            "platform": "",
            "succeeded": True,
            "begun": True,
            "url": "https://swell.example.org/view/builds/bd-1_1",
        },
    }


class Receiver:
    """An address that answers with *status*, or not at all; *hold* delays its answers."""

    def __init__(self, status: int | None = 204) -> None:
        self.status = status
        self.got: list[str] = []
        self.hold: asyncio.Event | None = None

    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> int:
        self.got.append(url)
        if self.hold:
            await self.hold.wait()
        if self.status is None:
            raise UpstreamFailed("no route")
        return self.status


def users() -> Receiver:
    """The connections for webhooks of users, which those of the operator do not use."""
    return Receiver(None)


def notice(name: str = "all") -> WebhookNotice:
    return WebhookNotice(id=f"{name}:bd-1_1", webhook=name, end=END)


@pytest.mark.parametrize("status", [None, 302, 410, 500])
async def test_a_failing_webhook_gets_nothing_for_a_while(status: int | None) -> None:
    """It would occupy the senders of all others. Redirects are failures: they could lead inside of the network."""
    receiver = Receiver(status)
    webhooks = Webhooks(
        Hooks({"all": ALL, "lab": LAB}, None), receiver, users(), "https://swell.example.org", pause=3600
    )
    for _ in range(3):
        with pytest.raises(Unavailable):
            await webhooks.send(notice(), 1)
    receiver.status = 200
    await webhooks.send(notice("lab"), 1)

    assert receiver.got == [ALL.url, LAB.url]


async def test_a_slow_webhook_gets_two_requests_at_once() -> None:
    """The other senders stay free."""
    receiver = Receiver()
    receiver.hold = asyncio.Event()
    webhooks = Webhooks(Hooks({"all": ALL}, None), receiver, users(), "https://swell.example.org")
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(webhooks.send(notice(), 1))
        while len(receiver.got) < 2:  # noqa: ASYNC110  the tasks start
            await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await webhooks.send(notice(), 1)
        receiver.hold.set()
    await webhooks.send(notice(), 1)
    await webhooks.send(notice("removed"), 1)

    assert len(receiver.got) == 3


class UsersHooks:
    """Ten webhooks of each user."""

    async def of(self, owner: str) -> Mapping[str, OwnWebhook]:
        return {}

    async def find(self, owner: str, name: str) -> Webhook | None:
        return structs.replace(ALL, name=name, url=f"https://hooks.example.org/{owner}/{name}")


async def test_slow_webhooks_of_users_leave_senders_to_others() -> None:
    """Ten webhooks of one user that answered after ten seconds delayed the notices of all others by a minute."""
    slow, operators = Receiver(), Receiver()
    slow.hold = asyncio.Event()
    webhooks = Webhooks(Hooks({"all": ALL}, UsersHooks()), operators, slow, "https://swell.example.org")
    ends = [
        WebhookNotice(id="", webhook=str(number), owner=f"user:{user}", end=END)
        for user in range(10)
        for number in range(10)
    ]
    async with asyncio.TaskGroup() as tasks:
        sending = [tasks.create_task(refused(webhooks.send(end, 1))) for end in ends]
        await asyncio.sleep(0.01)
        await webhooks.send(notice(), 1)
        assert Counter(url.split("/")[3] for url in slow.got) == {f"user:{user}": OF_OWNER for user in range(4)}
        slow.hold.set()
    assert sum(each.result() for each in sending) == len(ends) - OF_USERS

    await webhooks.send(ends[0], 1)
    assert operators.got == [ALL.url]
    assert OF_USERS < SLOTS


async def refused(sending: Awaitable[None]) -> bool:
    try:
        await sending
    except Unavailable:
        return True
    return False


@pytest.mark.parametrize(
    "url",
    [
        "ftp://hooks.example.org",
        "https://user:secret@hooks.example.org/",
        "https:///path",
        "https://hooks.example.org/\n",
        "https://hooks.example.org/" + "x" * 2000,
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    """Credentials in a URL would be part of log entries of others."""
    assert url_of(url) is None


@pytest.mark.parametrize(
    "content",
    [
        'name = "a"',
        '[[webhook]]\nname = "a b"\nurl = "https://x.example.org"\nsecret = "SECRET"',
        '[[webhook]]\nname = "a"\nurl = "nonsense"\nsecret = "SECRET"',
        '[[webhook]]\nname = "a"\nurl = "https://x.example.org"\nsecret = "hunter2"',
        '[[webhook]]\nname = "a"\nurl = "https://x.example.org"\nsecret = "SECRET"\nevents = ["push"]',
        2 * '[[webhook]]\nname = "a"\nurl = "https://x.example.org"\nsecret = "SECRET"\n',
    ],
)
def test_an_invalid_file_is_refused(content: str) -> None:
    """The message does not have the secret."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011  decode errors of msgspec are ValueErrors
        parse_webhooks(content.replace("SECRET", SECRET).encode())
    assert "hunter2" not in str(refused.value)
    assert SECRET not in str(refused.value)
