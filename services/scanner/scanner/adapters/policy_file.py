"""Reads the operator's policy from a TOML file, again when it or one of its OpenVEX documents changes."""

from pathlib import Path

import msgspec
from msgspec.structs import replace

from scanner.domain.policy import Policy, parse_vex
from swell.log import log
from swell.settings import SettingsInvalid

_BYTES = 4 << 20  # of a file
_MOST_VEX = 100


class PolicyFile:
    """The policy in *path*; without one, all findings count. A file that becomes invalid is logged and not used."""

    def __init__(self, path: Path | None) -> None:
        """Read the policy.

        Raises:
            SettingsInvalid: the file cannot be read, or is no policy.
        """
        self._path = path
        self._seen: object = None
        self._policy = Policy()
        if path:
            self._read(path)

    def current(self) -> Policy:
        """Return the policy of now."""
        if self._path and self._stamps(self._path) != self._seen:
            try:
                self._read(self._path)
            except SettingsInvalid as error:
                self._seen = self._stamps(self._path)
                log.error("policy not changed", error=str(error))
        return self._policy

    def _read(self, path: Path) -> None:
        try:
            read = msgspec.toml.decode(_content(path), type=Policy)
            own = {name: _with_documents(path, policy) for name, policy in read.organisation.items()}
            policy = replace(_with_documents(path, read), organisation=own)
        except (OSError, msgspec.MsgspecError) as error:
            raise SettingsInvalid(f"the policy {path} cannot be used: {error}") from error
        if any(each.organisation for each in own.values()):
            raise SettingsInvalid(f"the policy {path} has an organisation inside of an organisation")
        self._policy = policy
        self._seen = self._stamps(path)
        policies = policy, *own.values()
        log.info(
            "policy read",
            path=str(path),
            waivers=sum(len(each.waivers) for each in policies),
            statements=sum(len(each.statements) for each in policies),
            organisations=len(own),
        )

    def _stamps(self, path: Path) -> list[tuple[int, int] | None]:
        policies = self._policy, *self._policy.organisation.values()
        return [_stamp(each) for each in (path, *(path.parent / name for policy in policies for name in policy.vex))]


def _with_documents(path: Path, policy: Policy) -> Policy:
    """Return *policy* with the statements of its OpenVEX documents."""
    if policy.statements:
        raise SettingsInvalid(f"the policy {path} cannot have statements: name OpenVEX documents in vex")
    if len(policy.vex) > _MOST_VEX:
        raise SettingsInvalid(f"the policy {path} names more than {_MOST_VEX} documents")
    documents = [path.parent / name for name in policy.vex]
    return replace(policy, statements=tuple(each for document in documents for each in parse_vex(_content(document))))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_BYTES + 1)
    if len(content) > _BYTES:
        raise SettingsInvalid(f"{path} has more than {_BYTES} bytes")
    return content
