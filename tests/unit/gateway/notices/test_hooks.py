"""Webhooks of users and organisations: who stores them, and which ends they get."""

from collections.abc import Mapping
from typing import Any

import pytest
from yarl import URL

from gateway.access.keys import Actor
from gateway.access.webhooks import MOST, OwnWebhook, WebhookStore
from gateway.audit.events import Action
from gateway.domain.notices import ALL_KINDS, End, Follower, Kind, Webhook, secret_of
from gateway.notices.hooks import Hooks
from swell.errors import BadRequest, NotFound, NotSupported
from tests.unit.gateway.doubles import NOON
from tests.unit.gateway.test_audit import Recorded

ADA, URL_OF_ADA = Actor("ada"), "https://hooks.example.org/ada"


class Memory:
    """Webhooks in memory, by owner and name."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, OwnWebhook]] = {}
        self.secrets: dict[tuple[str, str], str] = {}

    async def put(self, owner: str, name: str, webhook: OwnWebhook, secret: str, limit: int) -> bool:
        own = self.stored.setdefault(owner, {})
        if name not in own and len(own) >= limit:
            return False
        own[name], self.secrets[owner, name] = webhook, secret
        return True

    async def of(self, owner: str) -> Mapping[str, OwnWebhook]:
        return self.stored.get(owner, {})

    async def delete(self, owner: str, name: str) -> bool:
        return self.stored.get(owner, {}).pop(name, None) is not None

    async def find(self, owner: str, name: str) -> Webhook | None:
        own = self.stored.get(owner, {}).get(name)
        secret = self.secrets.get((owner, name), "")
        return Webhook(name=name, url=own.url, secret=secret, events=own.events) if own else None


def store(memory: Memory | None, audit: Any = None) -> WebhookStore:
    return WebhookStore(memory, lambda url: url.host == "inside", *([audit] if audit else []))


async def test_each_stored_webhook_has_a_new_secret() -> None:
    """It is shown once; who stores the webhook again gets another one."""
    memory, audit = Memory(), Recorded()
    webhook, first = await store(memory, audit).put(ADA, "user:ada", "bot", URL_OF_ADA, ())
    _, second = await store(memory, audit).put(ADA, "user:ada", "bot", URL_OF_ADA, ("scan", "build"))
    await store(memory, audit).delete(ADA, "user:ada", "bot")

    assert webhook.events == ALL_KINDS
    assert len({secret_of(first), secret_of(second)}) == 2
    assert audit.actions == [Action.WEBHOOK_STORED, Action.WEBHOOK_STORED, Action.WEBHOOK_REMOVED]
    with pytest.raises(NotFound):
        await store(memory).delete(ADA, "user:ada", "bot")


@pytest.mark.parametrize(
    ("name", "url", "events"),
    [
        ("bot", "http://hooks.example.org", ()),
        ("bot", "https://user:password@hooks.example.org", ()),
        ("bot", "file:///etc/passwd", ()),
        ("bot", "nonsense", ()),
        ("bot", "https://hooks.example.org/" + "x" * 2000, ()),
        ("bot", URL_OF_ADA, ("push",)),
        ("", URL_OF_ADA, ()),
        ("a b", URL_OF_ADA, ()),
        ("x" * 65, URL_OF_ADA, ()),
    ],
)
async def test_other_webhooks_are_refused(name: str, url: str, events: tuple[str, ...]) -> None:
    """A notice in plain text goes only to hosts that the operator has named."""
    memory = Memory()
    with pytest.raises(BadRequest):
        await store(memory).put(ADA, "user:ada", name, url, events)
    assert not memory.secrets


async def test_hosts_of_the_operator_need_no_https() -> None:
    """Receivers inside of the network often have no certificate."""
    webhook, _ = await store(Memory()).put(ADA, "user:ada", "bot", "http://inside:8080/swell", ())
    assert URL(webhook.url).port == 8080


async def test_an_owner_has_at_most_ten_webhooks() -> None:
    """Each end of a build is sent to all of them. One that exists can be replaced."""
    memory = Memory()
    for number in range(MOST):
        await store(memory).put(ADA, "user:ada", f"bot-{number}", URL_OF_ADA, ())
    await store(memory).put(ADA, "user:ada", "bot-0", URL_OF_ADA, ())
    with pytest.raises(BadRequest, match="10"):
        await store(memory).put(ADA, "user:ada", "another", URL_OF_ADA, ())


async def test_without_encryption_keys_there_are_no_webhooks_of_users() -> None:
    """Their secrets would be stored in the clear."""
    with pytest.raises(NotSupported, match="SWELL_ENCRYPTION_KEYS"):
        await store(None).put(ADA, "user:ada", "bot", URL_OF_ADA, ())


async def test_an_end_goes_to_the_webhooks_of_its_followers() -> None:
    """Those of each user, and of each organisation; of others, and of other kinds, none."""
    memory = Memory()
    for owner, events in (
        ("user:ada", ()),
        ("user:bob", ()),
        ("organisation:lab", ("build",)),
        ("organisation:other", ()),
        ("organisation:", ()),
        ("user:", ()),
    ):
        await store(memory).put(ADA, owner, "bot", URL_OF_ADA, events)
    hooks = Hooks({}, memory)
    end = End(kind=Kind.SCAN, id="sc-1", image="x", succeeded=True, finished=NOON)
    followers = [Follower(user="ada", organisation="lab"), Follower(), Follower(user="eve", organisation="lab")]

    assert [each async for each in hooks.of(end, followers)] == [("user:ada", "bot")]
    build = End(kind=Kind.BUILD, id="bd-1", image="x", succeeded=True, finished=NOON)
    assert [each async for each in hooks.of(build, followers)] == [("organisation:lab", "bot"), ("user:ada", "bot")]
    found = await hooks.find("user:ada", "bot")
    assert found
    assert found.secret == memory.secrets["user:ada", "bot"]
    assert await hooks.find("user:ada", "other") is None
    assert await hooks.find("", "bot") is None
