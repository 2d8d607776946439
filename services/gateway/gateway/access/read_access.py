"""Read authorisation: whether a client may read a record, by the table in `gateway.domain.access.record_access`."""

from collections.abc import Iterable
from typing import Protocol

from gateway.domain.access.identity import Identity
from gateway.domain.access.record_access import TABLE, RecordAccess, Resource, names_of, readers_of
from swell.errors import NotReadable, Unauthorized
from swell.store.builds import Builds


class Requesters(Protocol):
    async def add(self, record_ids: Iterable[str], names: Iterable[str]) -> None:
        """Store that *names* have requested these records."""

    async def get(self, record_id: str) -> frozenset[str]:
        """The names of those who have requested a record."""


class ReadAccess:
    """With the *level* `id`, everyone with an id reads its record, and no requesters are stored."""

    def __init__(self, level: RecordAccess, requesters: Requesters, builds: Builds) -> None:
        self.level = level
        self._requesters = requesters
        self._builds = builds

    @property
    def is_open(self) -> bool:
        return self.level is RecordAccess.ID

    def is_public(self, resource: Resource) -> bool:
        """Whether everyone with an id reads it, so that the client need not be identified."""
        return TABLE[resource][self.level] == TABLE[resource][RecordAccess.ID]

    async def record(self, user: str, organisation: str, *record_ids: str | None, build_id: str | None = None) -> None:
        """Store that *user* has requested these records, and *build_id* with the builds of its single platforms.

        With the level `id` it does nothing.

        Raises:
            Unavailable: the store does not answer.
        """
        if self.is_open:
            return
        names = list(filter(None, (*record_ids, build_id)))
        if build_id and (build := await self._builds.get(build_id)):
            names += [child.build_id for child in build.submission.children if child.build_id]
        if names:
            await self._requesters.add(names, names_of(user, organisation))

    async def check(self, resource: Resource, record_id: str, identity: Identity) -> None:
        """Check that *identity* may read *resource* of the record *record_id*.

        Raises:
            NotReadable: it may not; the message names the rule and who can change it.
            Unauthorized: the same, for an anonymous client.
        """
        allowed = TABLE[resource][self.level]
        if allowed & readers_of(frozenset(), identity):
            return
        if allowed & readers_of(await self._requesters.get(record_id), identity):
            return
        rule = (
            f"with SWELL_RECORD_ACCESS={self.level}, only {_listed(sorted(allowed))} may read this "
            f"({resource}); the operator can change that"
        )
        raise Unauthorized(rule) if identity.is_anonymous else NotReadable(rule)


def _listed(readers: Iterable[str]) -> str:
    return " or ".join(f"the {reader}" for reader in readers)
