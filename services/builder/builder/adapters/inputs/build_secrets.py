"""The secrets that builds may use: files that the operator names in `SWELL_BUILD_SECRETS`, and those in vaults."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from builder.domain.failure import BuildFailure
from swell.errors import NotFound
from swell.jobs.build_secrets import PREFIX
from swell.store.records import Reason

MAX_SIZE = 64 << 10
"""Bytes of a secret. Ten of them fit into the Secret of a pod, which Kubernetes limits to 1 MiB."""


class BuildSecrets:
    """Reads the files of *entries* (`name=path`) for each build, because the operator may change them at any time."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._paths = {name: Path(path) for name, _, path in (entry.partition("=") for entry in entries)}

    def read(self, names: Mapping[str, str]) -> dict[str, bytes]:
        """Return the content of the secrets *names*, by the same keys.

        Raises:
            BuildFailure: one is not configured here, cannot be read, is empty, or has more than `MAX_SIZE` bytes.
        """
        return {key: self._read(name) for key, name in names.items()}

    def _read(self, name: str) -> bytes:
        if (path := self._paths.get(name)) is None:
            raise _failure(f"This builder has no secret {name}: its operator names it in SWELL_BUILD_SECRETS")
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                content = file.read(MAX_SIZE + 1)
        except OSError as error:
            raise _failure(f"The secret {name} cannot be read: {error.strerror}") from error
        if not content or len(content) > MAX_SIZE:
            raise _failure(f"The secret {name} must have 1 to {MAX_SIZE} bytes")
        return content


class AllSecrets:
    """The secrets of *files*, and those in the vaults of users, which *find* gets from a gateway."""

    def __init__(self, files: BuildSecrets, find: Callable[[str], Awaitable[bytes]]) -> None:
        self._files = files
        self._find_stored = find

    async def read(self, names: Mapping[str, str]) -> dict[str, bytes]:
        """Return the content of the secrets *names*, by the same keys.

        Raises:
            BuildFailure: as `BuildSecrets.read`, or a stored one was deleted.
            Unavailable: no gateway answers.
        """
        stored = {key: await self._find(name) for key, name in names.items() if name.startswith(PREFIX)}
        others = {key: name for key, name in names.items() if key not in stored}
        return {**await asyncio.to_thread(self._files.read, others), **stored} if others else stored

    async def _find(self, name: str) -> bytes:
        try:
            return await self._find_stored(name)
        except NotFound as error:
            message = "A stored credential that buildSecrets names does not exist any more."
            raise BuildFailure(Reason.RECIPE, message) from error


def _failure(message: str) -> BuildFailure:
    return BuildFailure(Reason.ENGINE, f"{message}.")
