"""Operator accounts from an htpasswd file."""

from pathlib import Path

from gateway.access.accounts.accounts import Accounts, StoredAccounts, parse_accounts
from swell.settings import SettingsInvalid


def read_accounts(path: Path | None, stored: StoredAccounts | None = None) -> Accounts:
    """Read the accounts in the htpasswd file at *path*, once; they and those that are *stored* are all accounts.

    Raises:
        SettingsInvalid: the file cannot be read, or a line is malformed.
    """
    try:
        return Accounts(parse_accounts(path.read_bytes()) if path else {}, stored)
    except OSError as error:
        raise SettingsInvalid(f"the accounts in {path} cannot be read: {error}") from error
