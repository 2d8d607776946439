"""The parts of the gateway for notices, wired."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from yarl import URL

from gateway.access.webhooks import WebhookStore
from gateway.adapters.notices.followers import RedisFollowers
from gateway.adapters.notices.http import GuardedPoster
from gateway.adapters.notices.preferences import RedisPreferences
from gateway.adapters.notices.queue import NoticeQueue
from gateway.adapters.notices.smtp import SmtpMailer, SmtpServer
from gateway.adapters.notices.webhooks import RedisWebhooks
from gateway.audit.events import Audit
from gateway.connections import Connections
from gateway.domain.notices import Webhook, parse_webhooks
from gateway.notices.emails import Addresses, Emails, is_address
from gateway.notices.hooks import Hooks
from gateway.notices.messages import EmailNotice, WebhookNotice
from gateway.notices.queue import NO_NOTICES, Follow, Notices
from gateway.notices.webhooks import PAUSE, Webhooks
from gateway.pages.rendering import render
from gateway.settings import Settings
from swell.concurrency.drain import Drain
from swell.encryption import parse_keys
from swell.jobs.consume import LEASE, Redelivery, consume
from swell.jobs.messages import BuildDone, ScanDone
from swell.jobs.streams import add_streams
from swell.net.outbound import Policy, name_with_port, open_session
from swell.net.reach import trusting
from swell.settings import MAX_FILE, SettingsInvalid
from swell.store.builds import RedisBuilds
from swell.store.encrypted import EncryptedRecords

SLOTS = 16


class Pace(NamedTuple):
    """When a notice is sent again: after 2 s, 4 s, and so on, for about an hour.

    A webhook has *answer* seconds to answer; one that fails gets nothing for *pause* seconds. What a gateway has begun
    when it is killed is sent by another one after *lease*.
    """

    redelivery: Redelivery = Redelivery(most=15, longest_pause=timedelta(minutes=10))
    pause: float = PAUSE
    answer: float = 10.0
    lease: timedelta = LEASE


DEFAULT_PACE = Pace()
STREAM = StreamConfig(
    name="NOTICES",
    subjects=["notices.>"],
    retention=RetentionPolicy.WORK_QUEUE,
    discard=DiscardPolicy.OLD,  # receivers that are unavailable must not fill the disk
    max_msgs=50_000,
    max_age=3 * 24 * 3600.0,
    duplicate_window=600.0,
)


class NoticeParts(NamedTuple):
    """`follow` is for requests that start something, `store` for the webhooks of users."""

    follow: Follow
    store: WebhookStore


@asynccontextmanager
async def open_notices(
    settings: Settings, connections: Connections, drain: Drain, audit: Audit, pace: Pace = DEFAULT_PACE
) -> AsyncIterator[NoticeParts]:
    """Yield what requests and handlers use; while the block runs, notices are sent.

    Raises:
        SettingsInvalid: the file of webhooks, or a setting of e-mail, is not valid.
    """
    webhooks, stored = read_webhooks(settings), stored_webhooks(settings, connections)
    if not (webhooks or stored or settings.smtp_host):
        yield NoticeParts(NO_NOTICES, store_of(settings, None, audit))
        return
    await add_streams(connections.nats.stream, STREAM)
    followers, queue, hooks = RedisFollowers(connections.redis), NoticeQueue(connections.nats), Hooks(webhooks, stored)
    preference = settings.smtp_preference if settings.smtp_host else None
    stored_preferences = RedisPreferences(connections.redis)
    notices = Notices(followers, queue, hooks, preference, stored_preferences, sends_all=bool(settings.smtp_to))
    stream, server_url = connections.nats.stream, settings.server_url.rstrip("/")
    hosts = frozenset(name_with_port(URL(webhook.url)) for webhook in webhooks.values())
    async with (
        open_session(Policy(hosts), settings) as session,
        open_session(Policy(settings.webhook_hosts), settings) as users_session,
        asyncio.TaskGroup() as tasks,
    ):
        poster, users_poster = GuardedPoster(session, pace.answer), GuardedPoster(users_session, pace.answer)
        sender = Webhooks(hooks, poster, users_poster, server_url, pace.pause)
        common: Any = {"drain": drain, "lease": pace.lease}
        sent = common | {"redelivery": pace.redelivery}
        running = [
            consume(stream, "gateway-build-ends", BuildDone, notices.build_done, **common),
            consume(stream, "gateway-scan-ends", ScanDone, notices.scan_done, **common),
            consume(stream, "gateway-webhooks", WebhookNotice, sender.send, slots=SLOTS, **sent),
        ]
        if settings.smtp_host:
            builds = RedisBuilds(connections.redis, settings.record_ttl, settings.builds_waiting)
            mailer, addresses = SmtpMailer(mail_server(settings)), addresses_of(settings)
            emails = Emails(followers, builds, mailer, addresses, server_url, render)
            running.append(consume(stream, "gateway-emails", EmailNotice, emails.send, slots=2, **sent))
        started = [tasks.create_task(each) for each in running]
        try:
            yield NoticeParts(notices, store_of(settings, stored, audit))
        finally:
            for task in started:
                task.cancel()


def stored_webhooks(settings: Settings, connections: Connections) -> RedisWebhooks | None:
    """The webhooks of users; None without encryption keys."""
    keys = parse_keys(settings.encryption_keys)
    return RedisWebhooks(connections.redis, EncryptedRecords(connections.redis, keys)) if keys else None


def store_of(settings: Settings, stored: RedisWebhooks | None, audit: Audit) -> WebhookStore:
    return WebhookStore(stored, Policy(settings.webhook_hosts).allows, audit)


def read_webhooks(settings: Settings) -> dict[str, Webhook]:
    """The webhooks in the operator's file, which is read once.

    Raises:
        SettingsInvalid: it cannot be read, or is not valid.
    """
    if settings.webhooks_file is None:
        return {}
    try:
        content = settings.webhooks_file.read_bytes()
        if len(content) > MAX_FILE:
            raise ValueError(f"it has more than {MAX_FILE >> 10} KiB")
        return parse_webhooks(content)
    except (OSError, ValueError) as error:
        raise SettingsInvalid(f"SWELL_WEBHOOKS_FILE: {settings.webhooks_file} cannot be read: {error}") from error


def mail_server(settings: Settings) -> SmtpServer:
    """The server in the settings; raises `SettingsInvalid`."""
    return SmtpServer(
        host=settings.smtp_host,
        port=settings.smtp_port,
        tls=settings.smtp_tls,
        context=trusting(settings.ca_file),
        user=settings.smtp_user,
        password=settings.smtp_password,
    )


def addresses_of(settings: Settings) -> Addresses:
    """The addresses in the settings; raises `SettingsInvalid`."""
    if not is_address(settings.smtp_from) or not (settings.smtp_to == "" or is_address(settings.smtp_to)):
        raise SettingsInvalid("SWELL_SMTP_FROM, and SWELL_SMTP_TO if it is set, must be plain e-mail addresses")
    return Addresses(settings.smtp_from, settings.smtp_to)
