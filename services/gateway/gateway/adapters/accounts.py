"""The operator's accounts, in a file."""

from pathlib import Path

from gateway.access.accounts import Accounts, parse_accounts
from swell.settings import SettingsInvalid


def read_accounts(path: Path | None) -> Accounts:
    """The accounts in the htpasswd file at *path*, as they are now; without a file there are none.

    Raises:
        SettingsInvalid: it cannot be read, or holds something else.
    """
    try:
        return Accounts(parse_accounts(path.read_bytes()) if path else {})
    except OSError as error:
        raise SettingsInvalid(f"the accounts in {path} cannot be read: {error}") from error
