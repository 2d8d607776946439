"""`python -m gateway.remove_organisation NAME [--dry-run]`: remove all data of an organisation."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct, structs
from nats.js.errors import NotFoundError

from gateway.access.revoke import Revocations
from gateway.access.vault import Vault
from gateway.adapters.access.grants import RedisGrants
from gateway.adapters.access.vaults import RedisVaults
from gateway.adapters.audit.trail import QUEUE, AuditLog
from gateway.adapters.builds.events import RevocationEvents
from gateway.adapters.operate.organisations import StoredOrganisations
from gateway.operate.organisations import OrganisationRemoval
from swell.api.operator import RemovalAnswer, RemovalRequest
from swell.encryption import parse_keys
from swell.jobs import streams
from swell.jobs.settings import NatsSettings
from swell.jobs.streams import Nats, translated
from swell.serve import run
from swell.store import s3_objects
from swell.store.connections import redis
from swell.store.connections.settings import RedisSettings, S3Settings
from swell.store.encrypted import EncryptedRecords


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the command; each field is read from SWELL_<FIELD>, with the values of the gateway."""

    redis: RedisSettings
    nats: NatsSettings
    s3: S3Settings
    encryption_keys: str = ""
    ca_file: Path | None = None
    log_level: str = "WARNING"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; the exit code is 0, 1 when it fails, and 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m gateway.remove_organisation", description="Remove all its data.")
    parser.add_argument("name")
    parser.add_argument("--dry-run", action="store_true", help="only count")
    parsed = parser.parse_args(arguments)
    run("remove-organisation", Settings, partial(remove, name=parsed.name, dry_run=parsed.dry_run))


async def remove(settings: Settings, name: str, *, dry_run: bool = False) -> None:
    """Remove the data of the organisation *name*, until nothing is left but builds that run or that others need.

    Raises:
        Unavailable: a backend does not answer; the command can be repeated.
    """
    s3, ca_file = settings.s3, settings.ca_file
    async with (
        redis.connect(settings.redis, ca_file) as state,
        streams.connect(settings.nats, "remove-organisation", ca_file) as nats,
        s3_objects.connect(s3, s3.logs_bucket, ca_file) as logs,
        s3_objects.connect(s3, s3.reports_bucket, ca_file) as reports,
    ):
        events, audit = RevocationEvents(nats), AuditLog(nats)
        encryption = parse_keys(settings.encryption_keys)
        vaults = RedisVaults(state, EncryptedRecords(state, encryption)) if encryption else None
        removal = OrganisationRemoval(
            StoredOrganisations(state, events, logs, reports),
            Revocations(RedisGrants(state), events),
            Vault(vaults, events),
            audit,
        )
        total, cursor = RemovalAnswer(), None
        while True:
            request = RemovalRequest(organisation=name, dry_run=dry_run, cursor=cursor)
            answer = await removal.remove(request, "operator")
            for field in answer.__struct_fields__[:-1]:
                setattr(total, field, getattr(total, field) + getattr(answer, field))
            if (cursor := answer.next) is None:
                break
        if await _has_audit(nats):
            await audit.store_waiting()
    fields = structs.asdict(total)
    fields.pop("next")
    sys.stdout.write(", ".join(f"{count} {field}" for field, count in fields.items()) + "\n")


async def _has_audit(nats: Nats) -> bool:
    """Whether this server has an audit trail."""
    with translated():
        try:
            await nats.stream.stream_info(QUEUE)
        except NotFoundError:
            return False
    return True
