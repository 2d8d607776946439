"""The policy file: TOML, read again when it changes."""

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from gateway.adapters.access.api_keys import version_of
from gateway.audit.events import NO_AUDIT, Action, Audit, fingerprint
from gateway.domain.policy import MAX_ENTRIES, Policy, PolicyFile, Rules
from swell.errors import BadRequest
from swell.log import log
from swell.registry.credentials.principal import parse_scope
from swell.settings import SettingsInvalid


class PolicyFiles:
    """The policy in the file at *path*; *own* are the repositories of this server. Without a file, all is allowed.

    `known` is the policy as it was last read.

    Raises:
        SettingsInvalid: the file cannot be read.
    """

    def __init__(self, path: Path | None, own: Iterable[str | None], audit: Audit = NO_AUDIT) -> None:
        self._path = path
        self._audit = audit
        self._own = tuple(parse_scope(name) for name in own if name)
        self._version = version_of(path)
        self.known = self._read(path) if path else Policy(PolicyFile(), self._own)
        self._listeners: list[Callable[[], None]] = []

    def current(self) -> Policy:
        """The policy; an invalid file is logged, and the previous policy stays."""
        version = version_of(self._path) if self._path else None
        if self._path and version != self._version:
            self._version = version
            try:
                self.known = self._read(self._path)
                log.info("policy read again", revision=self.known.revision)
            except SettingsInvalid as error:
                log.error("policy not read again", error=str(error))
            else:
                for listener in self._listeners:
                    listener()
        return self.known

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call *listener* when another policy was read."""
        self._listeners.append(listener)

    async def refresh(self) -> None:
        """Read the file again if it has changed."""
        self.current()

    def _read(self, path: Path) -> Policy:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SettingsInvalid(f"the policy in {path} cannot be read: {error}") from error
        revision = fingerprint(content)
        policy = Policy(_parse(path, content), self._own, revision)
        self._audit.record(Action.POLICY_READ, subject=revision)
        return policy


def _parse(path: Path, content: bytes) -> PolicyFile:
    try:
        file = msgspec.toml.decode(content, type=PolicyFile)
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
    except (ValueError, BadRequest) as error:
        raise SettingsInvalid(f"the policy in {path} cannot be read: {error}") from error


def _size(rules: Rules) -> int:
    lists = (rules.base_registries, rules.build_repositories, rules.denied_channels)
    return max(len(entries or ()) for entries in lists)


def _parsed(rules: Rules) -> Rules:
    """*rules* with complete names: `docker.io/library` for `library`."""
    lists = {"base_registries": rules.base_registries, "build_repositories": rules.build_repositories}
    parsed = {name: tuple(map(parse_scope, entries)) for name, entries in lists.items() if entries is not None}
    return replace(rules, **parsed)
