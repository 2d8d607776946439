"""The policy file: TOML, read again when it changes."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from gateway.adapters.access.api_keys import version_of
from gateway.domain.policy import MAX_ENTRIES, Policy, PolicyFile, Rules
from swell.errors import BadRequest
from swell.log import log
from swell.registry.principal import parse_scope
from swell.settings import SettingsInvalid


class PolicyFiles:
    """The policy in the file at *path*; *own* are the repositories of this server. Without a file, all is allowed.

    Raises:
        SettingsInvalid: the file cannot be read.
    """

    def __init__(self, path: Path | None, own: Iterable[str | None]) -> None:
        self._path = path
        self._own = tuple(parse_scope(name) for name in own if name)
        self._version = version_of(path)
        self._policy = Policy(_read(path) if path else PolicyFile(), self._own)

    def current(self) -> Policy:
        """The policy; an invalid file is logged, and the previous policy stays."""
        version = version_of(self._path) if self._path else None
        if self._path and version != self._version:
            self._version = version
            try:
                self._policy = Policy(_read(self._path), self._own)
                log.info("policy read again")
            except SettingsInvalid as error:
                log.error("policy not read again", error=str(error))
        return self._policy


def _read(path: Path) -> PolicyFile:
    try:
        file = msgspec.toml.decode(path.read_bytes(), type=PolicyFile)
        if max(map(_size, (file.everyone, *file.organisation.values()))) > MAX_ENTRIES:
            raise BadRequest(f"a rule has more than {MAX_ENTRIES} entries")
        return replace(
            file,
            everyone=_parsed(file.everyone),
            organisation={name: _parsed(rules) for name, rules in file.organisation.items()},
            credentials=tuple(
                replace(rule, repositories=tuple(map(parse_scope, rule.repositories))) for rule in file.credentials
            ),
        )
    except (OSError, ValueError, BadRequest) as error:
        raise SettingsInvalid(f"the policy in {path} cannot be read: {error}") from error


def _size(rules: Rules) -> int:
    lists = (rules.base_registries, rules.build_repositories, rules.denied_channels)
    return max(len(entries or ()) for entries in lists)


def _parsed(rules: Rules) -> Rules:
    """*rules* with complete names: `docker.io/library` for `library`."""
    lists = {"base_registries": rules.base_registries, "build_repositories": rules.build_repositories}
    parsed = {name: tuple(map(parse_scope, entries)) for name, entries in lists.items() if entries is not None}
    return replace(rules, **parsed)
