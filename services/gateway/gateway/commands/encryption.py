"""`python -m gateway.encryption`: keys for the secrets that Swell stores, and their rotation.

`new-key ID` prints an entry of SWELL_ENCRYPTION_KEYS. `reencrypt` encrypts every stored secret with the first of these
keys; when it succeeds, the other keys are not needed any more.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from swell.encryption import new_key, parse_keys
from swell.errors import SwellError
from swell.log import log
from swell.serve import run
from swell.settings import SettingsInvalid
from swell.store.connections import redis
from swell.store.connections.settings import RedisSettings
from swell.store.encrypted import EncryptedRecords


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the command; each field is read from SWELL_<FIELD>."""

    redis: RedisSettings
    ca_file: Path | None = None
    encryption_keys: str
    log_level: str = "INFO"


class SecretsLeft(SwellError):
    """Some stored secrets are not encrypted with the current key."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; the exit code is 0, 1 when it fails, and 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m gateway.encryption", description="Keys of stored secrets.")
    actions = parser.add_subparsers(dest="action", required=True)
    new = actions.add_parser("new-key", help="print an entry of SWELL_ENCRYPTION_KEYS")
    new.add_argument("id", help="the id of the key, for example the month: 2026-12")
    actions.add_parser("reencrypt", help="encrypt every stored secret with the first of SWELL_ENCRYPTION_KEYS")
    parsed = parser.parse_args(arguments)
    if parsed.action == "reencrypt":
        run("encryption", Settings, reencrypt)
        return
    try:
        sys.stdout.write(new_key(parsed.id) + "\n")
    except SettingsInvalid as error:
        sys.exit(str(error))


async def reencrypt(settings: Settings) -> None:
    """Encrypt every stored secret with the current key.

    Raises:
        SettingsInvalid: a key is missing or malformed.
        SecretsLeft: some records cannot be decrypted, or were written while the command ran.
        Unavailable: Redis does not answer.
    """
    if (keys := parse_keys(settings.encryption_keys)) is None:
        raise SettingsInvalid("SWELL_ENCRYPTION_KEYS must be set")
    async with redis.connect(settings.redis, settings.ca_file) as state:
        counts = await EncryptedRecords(state, keys).reencrypt()
    log.info(
        "secrets encrypted again", key=keys.current, again=counts.again, current=counts.current, changed=counts.changed
    )
    if counts.unreadable or counts.changed:
        raise SecretsLeft(
            f"{counts.unreadable} stored secrets cannot be decrypted with these keys, and {counts.changed} changed "
            "meanwhile: keep the former keys, and run this again"
        )
