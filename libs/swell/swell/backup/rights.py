"""Which records of Redis are rights, which a restore must not give back by itself.

Between a backup and its restore, rights were revoked; the backup does not have that. Reasons:
`docs/decisions/0036-rights-are-checked-again.md`.
"""

from collections.abc import Iterable, Iterator

from swell.backup.state import StateRecord
from swell.store import keys
from swell.store.connections.redis import text

TOKENS, KEYS = "tokens", "keys"
"""What `--keep-tokens` and `--keep-keys` restore."""

_PREFIXES = {
    TOKENS: (
        keys.grant(""),
        keys.leases(""),
        keys.LEASED_RUNS,
        keys.image(""),
        keys.session(""),
        keys.sessions_of(""),
        keys.sign_in(""),
    ),
    KEYS: (
        keys.api_key(""),
        keys.API_KEYS,
        keys.account(""),
        keys.ACCOUNTS,
        keys.vault(""),
        keys.encrypted("vault:"),
        keys.build_secret(""),
        keys.webhooks(""),
        keys.encrypted("webhook:"),
    ),
}
_PROOFS = (keys.access(""),)
"""What registries have allowed; they are asked again."""

_COUNTED = {
    keys.grant(""): "tokens",
    keys.session(""): "sessions of browsers",
    keys.api_key(""): "API keys",
    keys.account(""): "accounts",
    keys.encrypted("vault:"): "stored credentials",
    keys.encrypted("webhook:"): "webhooks",
}


class Withheld:
    """Filters records: rights are left out, except those in *kept*; `counts` has the number of each."""

    def __init__(self, kept: Iterable[str]) -> None:
        left_out = [prefix for kind, prefixes in _PREFIXES.items() if kind not in kept for prefix in prefixes]
        self._left_out = (*left_out, *_PROOFS)
        self.counts = dict.fromkeys(_COUNTED.values(), 0)

    def without(self, records: Iterable[StateRecord]) -> Iterator[StateRecord]:
        """Yield the records that are restored."""
        for record in records:
            name = text(record.key)
            if not name.startswith(self._left_out):
                yield record
            elif record.first and (kind := next((_COUNTED[each] for each in _COUNTED if name.startswith(each)), "")):
                self.counts[kind] += 1
