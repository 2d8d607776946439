"""E-mail at the end of a build: its recipient, and text of clients in it."""

from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.domain.notices import End, Follower, Kind
from gateway.notices.emails import Addresses, Emails, RecipientRefused
from gateway.notices.messages import EmailNotice
from gateway.pages.rendering import render
from swell.errors import Unavailable
from swell.store.records import Build, BuildResult, Submission
from tests.unit.gateway.doubles import NOON

HOSTILE = '</pre><script>alert(1)</script>\r\nBcc: eve@example.org\r\n\r\n"'
END = End(kind=Kind.BUILD, id="bd-1_1", image="quay.io/acme/<b>tool</b>:1", succeeded=False, finished=NOON)
BUILD = Build(
    id="bd-1_1",
    submission=Submission(
        container_id="1", target_image=END.image, containerfile=HOSTILE, platform="", environment=HOSTILE, created=NOON
    ),
    result=BuildResult(
        succeeded=False, exit_status=1, started=NOON - timedelta(seconds=5), finished=NOON, message=HOSTILE
    ),
)


class World:
    """Followers, builds and a mail server in memory."""

    def __init__(self, **follower: Any) -> None:
        self.follower: Follower | None = Follower(**({"user": "ada", "email": "ada@example.org"} | follower))
        self.sent: list[EmailMessage] = []
        self.error: Exception | None = None

    async def find(self, record_id: str, user: str) -> Follower | None:
        return self.follower

    async def remove(self, record_id: str, user: str) -> None:
        self.follower = None

    async def get(self, build_id: str) -> Build | None:
        return BUILD

    async def send(self, message: EmailMessage) -> None:
        if self.error:
            raise self.error
        self.sent.append(message)


async def send(world: World, end: End = END, recipient: str = "") -> None:
    addresses = Addresses("swell@example.org", recipient)
    emails = Emails(world, world, world, addresses, "https://swell.example.org", render)
    await emails.send(EmailNotice(id=f"{end.id}:0", user="ada", end=end), 1)


def html_of(message: EmailMessage) -> str:
    part = message.get_body(("html",))
    assert part
    return str(part.get_content())


async def test_text_of_clients_is_escaped() -> None:
    """It is markup in neither part, and no header: the subject has only the id, which this server has made."""
    world = World(user='"><img src=x onerror=alert(1)>')
    await send(world)
    [message] = world.sent

    assert message["Subject"] == "Swell: build bd-1_1 failed"
    assert message["Bcc"] is None
    assert message["To"] == "ada@example.org"
    html = html_of(message)
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>" not in html
    assert html.count("&lt;script&gt;") == 3
    assert "quay<span>.</span>io/acme/&lt;b&gt;" in html, "mail programs would make a link of it"
    text = message.get_body(("plain",))
    assert text
    assert "</pre><script>" in text.get_content()
    assert b"\nBcc: eve@example.org" not in message.as_bytes().partition(b"\n\n")[0]


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.org\r\nRCPT TO:<eve@example.org>",
        "ada@example.org,eve@example.org",
        "Ada <ada@example.org>",
        "<ada@example.org>",
        "ada@example.org SIZE=0",
        "ada",
        "a" * 65 + "@example.org",
        "ada@exämple.org",
    ],
)
async def test_another_address_gets_nothing(address: str) -> None:
    """A Platform or an issuer may name anything; it must not become a command of the protocol."""
    world = World(email=address)
    await send(world)
    assert world.sent == []
    assert world.follower is None


async def test_a_follower_gets_one_message() -> None:
    """A notice that is repeated after a crash finds no follower; one that failed is sent again, with the same id."""
    world = World()
    world.error = Unavailable("down")
    with pytest.raises(Unavailable):
        await send(world)
    world.error = None
    await send(world)
    await send(world)

    assert [message["Message-ID"] for message in world.sent] == ["<bd-1_1.0@example.org>"]


async def test_a_refused_address_is_forgotten() -> None:
    """Repeating would not help, and harms the reputation of the sender."""
    world = World()
    world.error = RecipientRefused("550")
    await send(world)
    assert world.follower is None


async def test_the_operator_can_get_all_e_mail() -> None:
    """Instead of the users, also for requests without an address."""
    world = World(email="")
    await send(world, recipient="ops@example.org")
    assert [message["To"] for message in world.sent] == ["ops@example.org"]


async def test_a_scan_has_its_findings() -> None:
    """By severity, and with a link to the page of the scan."""
    world = World()
    await send(world, replace(END, kind=Kind.SCAN, id="sc-1", succeeded=True, counts={"CRITICAL": 2, "LOW": 7}))
    [message] = world.sent

    assert message["Subject"] == "Swell: scan sc-1 succeeded"
    assert "https://swell.example.org/view/scans/sc-1" in html_of(message)
    text = message.get_body(("plain",))
    assert text
    assert "2 critical, 7 low" in text.get_content()
