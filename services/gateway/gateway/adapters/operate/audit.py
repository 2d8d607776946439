"""The sealed batches of the audit trail, and the names of its users."""

from collections.abc import Iterable, Mapping

from nats.js.errors import NotFoundError

from gateway.adapters.audit.pseudonyms import Pseudonyms
from gateway.adapters.audit.trail import SEALED
from swell.jobs.streams import Nats, translated


class StoredTrail:
    """Each method raises `Unavailable` when its backend does not answer."""

    def __init__(self, nats: Nats, pseudonyms: Pseudonyms) -> None:
        self._nats = nats
        self._pseudonyms = pseudonyms

    async def numbers(self) -> range:
        """The numbers of the stored batches."""
        with translated():
            state = (await self._nats.stream.stream_info(SEALED)).state
        return range(max(state.first_seq, 1), state.last_seq + 1)

    async def batch(self, number: int) -> bytes | None:
        """The batch *number*; None if it has expired."""
        with translated():
            try:
                return (await self._nats.stream.get_msg(SEALED, number)).data
            except NotFoundError:
                return None

    async def names(self, pseudonyms: Iterable[str]) -> Mapping[str, str]:
        """The names of those *pseudonyms* that are known."""
        return await self._pseudonyms.names_of(pseudonyms)
