"""`python -m gateway.audit`: verify and export the audit trail, and remove a user from it.

`verify` checks the chain and prints its last hash: store it elsewhere, and pass it as `--head` the next time. `export`
prints events as JSON lines. `remove-user` revokes the keys of a user, ends the user's sessions, deletes the stored
credentials and webhooks, and forgets whose the user's pseudonym is.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from gateway.adapters.access.issued_keys import RedisKeys
from gateway.adapters.access.sessions import RedisSessions
from gateway.adapters.access.stored_accounts import RedisAccounts
from gateway.adapters.access.vaults import RedisVaults
from gateway.adapters.audit.head import AuditHead
from gateway.adapters.audit.pseudonyms import Pseudonyms
from gateway.adapters.audit.trail import AuditLog, batches
from gateway.adapters.builds.events import RevocationEvents
from gateway.adapters.notices.preferences import RedisPreferences
from gateway.adapters.notices.webhooks import RedisWebhooks
from gateway.audit.chain import ChainBroken, Checked, follow
from gateway.audit.events import Action, AuditEvent, renamed
from gateway.domain.access.vault import user_owner
from swell.encryption import KEY_BYTES, EncryptionKeys
from swell.errors import NotFound
from swell.jobs import streams
from swell.jobs.settings import NatsSettings
from swell.serve import run
from swell.store.connections import redis
from swell.store.connections.settings import RedisSettings
from swell.store.encrypted import EncryptedRecords


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the command; each field is read from SWELL_<FIELD>."""

    redis: RedisSettings
    nats: NatsSettings
    ca_file: Path | None = None
    log_level: str = "WARNING"


class Selection(Struct, frozen=True, kw_only=True):
    """Which events are exported: all, or those between two times, of one user, of images whose names contain a text."""

    since: datetime | None = None
    until: datetime | None = None
    user: str | None = None
    image: str | None = None

    def has(self, event: AuditEvent) -> bool:
        return (
            (self.since is None or event.time >= self.since)
            and (self.until is None or event.time < self.until)
            and (self.user is None or self.user in {event.user, event.actor})
            and (self.image is None or self.image in event.image)
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; the exit code is 0, 1 when it fails, and 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m gateway.audit", description="The audit trail.")
    actions = parser.add_subparsers(dest="action", required=True)
    verifying = actions.add_parser("verify", help="check the chain of batches, and print its last hash")
    verifying.add_argument("--head", help="a hash that an earlier check has printed: it must be in the chain")
    exporting = actions.add_parser("export", help="print events as JSON lines")
    for name in ("since", "until"):
        exporting.add_argument(f"--{name}", type=_time, help="a time such as 2026-12-01T00:00:00Z")
    exporting.add_argument("--user")
    exporting.add_argument("--image", help="a part of the name of an image")
    removing = actions.add_parser("remove-user", help="delete what a user has stored, and forget the user's name")
    removing.add_argument("name")
    parsed = parser.parse_args(arguments)
    match parsed.action:
        case "verify":
            run("audit", Settings, partial(verify, head=parsed.head))
        case "export":
            selection = Selection(since=parsed.since, until=parsed.until, user=parsed.user, image=parsed.image)
            run("audit", Settings, partial(export, selection=selection))
        case _:
            run("audit", Settings, partial(remove_user, name=parsed.name))


async def verify(settings: Settings, head: str | None = None) -> None:
    """Check the whole chain, also that it has the batches with the hash *head* and the one in Redis.

    Raises:
        ChainBroken: a batch was changed, moved or removed.
        Unavailable: a backend does not answer.
    """
    last, events = None, 0
    async with (
        streams.connect(settings.nats, "audit", settings.ca_file) as nats,
        redis.connect(settings.redis, settings.ca_file) as state,
    ):
        missing = set(filter(None, (head, await AuditHead(state).get())))
        async for content in batches(nats):
            last = follow(last, content)
            events += len(last.batch.events)
            missing.discard(last.hash)
    if missing:
        raise ChainBroken(f"no batch of the audit trail has the hash {missing.pop()}: it was changed or removed")
    sys.stdout.write(f"{events} events, {_described(last)}\n")


def _described(last: Checked | None) -> str:
    return f"up to batch {last.batch.number} with the hash {last.hash}" if last else "no batch"


async def export(settings: Settings, selection: Selection) -> None:
    """Print the events of *selection*, each once, in the order in which they were sealed; the chain is checked, too.

    Raises:
        ChainBroken: a batch was changed or removed.
        Unavailable: a backend does not answer.
    """
    last, seen = None, set[str]()
    async with (
        streams.connect(settings.nats, "audit", settings.ca_file) as nats,
        redis.connect(settings.redis, settings.ca_file) as state,
    ):
        names = await Pseudonyms(state).names()
        async for content in batches(nats):
            last = follow(last, content)
            for sealed in last.batch.events:
                event = renamed(sealed, names)
                if event.id not in seen and selection.has(event):
                    sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
            seen = (seen if len(seen) < 100_000 else set()) | {event.id for event in last.batch.events}


async def remove_user(settings: Settings, name: str) -> None:
    """Delete the account, keys, sessions, credentials and webhooks of *name*, and the name from the audit trail.

    The user's events stay, under a pseudonym.

    Raises:
        NotFound: *name* has none of these.
        Unavailable: a backend does not answer.
    """
    async with (
        streams.connect(settings.nats, "audit", settings.ca_file) as nats,
        redis.connect(settings.redis, settings.ca_file) as state,
    ):
        events = RevocationEvents(nats)
        had_account = await RedisAccounts(state).remove(name)
        await RedisKeys(state).begin_ending(name)
        revoked = await _revoke_keys(RedisKeys(state), events, name)
        ended = await RedisSessions(state).end_all(name)
        deleted = await _delete_credentials(state, events, user_owner(name))
        webhooks = await _delete_webhooks(state, user_owner(name))
        await RedisPreferences(state).put(name, None)
        pseudonym = await Pseudonyms(state).remove(name)
        if pseudonym is None and not (had_account or revoked or ended or deleted or webhooks):
            raise NotFound(f"{name} has no account, keys, sessions, credentials, webhooks or events in the audit trail")
        audit = AuditLog(nats)
        audit.record(Action.USER_REMOVED, subject=pseudonym or "")
        await audit.store_waiting()
    sys.stdout.write(
        f"{int(had_account)} accounts deleted, {revoked} keys revoked, {ended} sessions ended, "
        f"{deleted} credentials and {webhooks} webhooks deleted; "
        f"events are those of {pseudonym or 'no one'}\n"
    )


async def _revoke_keys(stored: RedisKeys, events: RevocationEvents, user: str) -> int:
    revoked = 0
    while keys := (await stored.page(user, None, 100))[0]:
        for key in keys:
            await stored.remove(key)
            await events.key_changed(key.id, revoked=True)
            revoked += 1
    return revoked


async def _delete_credentials(state: Redis, events: RevocationEvents, owner: str) -> int:
    """Delete the vault of *owner*; its encryption keys are not needed."""
    vaults = RedisVaults(state, _records(state))
    paths = list((await vaults.state(owner)).entries)
    for path in paths:
        await vaults.delete(owner, path)
    if paths:
        await events.vault_changed(owner)
    return len(paths)


async def _delete_webhooks(state: Redis, owner: str) -> int:
    """Delete the webhooks of *owner*; their encryption keys are not needed."""
    stored = RedisWebhooks(state, _records(state))
    return sum([await stored.delete(owner, name) for name in await stored.of(owner)])


def _records(state: Redis) -> EncryptedRecords:
    """Records that can be deleted, and not read."""
    return EncryptedRecords(state, EncryptionKeys({"none": bytes(KEY_BYTES)}))


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
