"""Variables: the values of ARG and ENV at each place of a file."""

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from swell.api.containers import TARGET_STAGE
from swell.containerfile.dialects import Dialect
from swell.containerfile.expansion import Budget, Expansion, ExpansionError
from swell.containerfile.instructions import SPACE, Instruction
from swell.containerfile.limits import error_at
from swell.oci.platform import Platform

LINUX_AMD64 = Platform("linux", "amd64")
BUILD_PLATFORMS = (
    LINUX_AMD64,
    Platform("linux", "arm64"),
    Platform("linux", "arm64", "v8"),
    Platform("linux", "arm", "v7"),
)
"""The platforms that a builder may have, as engines write them."""
_BUILT_IN = ("TARGET", "BUILD")


class Arguments(Struct, frozen=True):
    """The build arguments: values of ARG that are not in the file."""

    given: Mapping[str, str]
    platform: Platform
    dialect: Dialect
    build_platform: Platform = LINUX_AMD64

    @property
    def implied(self) -> dict[str, str]:
        """The variables of the target platform, of the builder's platform, and of the target stage."""
        parts = {f"TARGET{name}": value for name, value in _parts(self.platform)}
        parts |= {f"BUILD{name}": value for name, value in _parts(self.build_platform)}
        return parts | {TARGET_STAGE: "default"}

    @property
    def replaced(self) -> dict[str, str]:
        """The values of `implied` that build arguments replace."""
        return {name: self.given[name] for name in self.implied if name in self.given}

    def get(self, name: str) -> str | None:
        """Return the value that has priority over the default of an ARG.

        In BuildKit a default has priority over the platform; in buildah the platform has priority over both.
        """
        if self.dialect.platform_args or not name.startswith(_BUILT_IN):
            return self.given.get(name)
        return None if name == TARGET_STAGE else self.implied.get(name, self.given.get(name))


def _parts(platform: Platform) -> Iterator[tuple[str, str]]:
    yield from (("PLATFORM", str(platform)), ("OS", platform.os))
    yield from (("ARCH", platform.architecture), ("VARIANT", platform.variant or ""))


def assign(scope: "Scope", instruction: Instruction, arguments: Arguments, heading: "Scope") -> None:
    """Set the variables of *instruction*, an ENV or ARG of a stage, in *scope*."""
    if instruction.name == "ENV":
        for name, text in name_value_pairs(instruction):
            scope.set_env(name, scope.certain(text or ""))
    elif instruction.name == "ARG":
        for name, default in name_value_pairs(instruction):
            if (given := arguments.get(name)) is not None:
                scope.set(name, given)
            elif default is not None:
                scope.set(name, scope.certain(default))
            elif name in heading.values:
                scope.set(name, heading.values[name])


def name_value_pairs(instruction: Instruction) -> Iterator[tuple[str, str | None]]:
    """Yield the names of an ARG or ENV with their values as written; None for an ARG without a default."""
    words = instruction.words
    if instruction.name == "ENV" and words and "=" not in words[0]:
        yield words[0], instruction.value[len(words[0]) :].strip(SPACE)
        return
    for word in words:
        name, equals, value = word.partition("=")
        yield name, value if equals else None


class Scope:
    """The variables at one place of a file; the value None may depend on the base image."""

    def __init__(
        self,
        escape: str,
        values: Mapping[str, str],
        env: ChainMap[str, str | None] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.values: dict[str, str | None] = dict(values)
        self.env = env if env is not None else ChainMap[str, str | None]()
        self.budget = budget or Budget()
        self._escape = escape
        self._both: ChainMap[str, str | None] = ChainMap(*self.env.maps, self.values)

    def set(self, name: str, value: str | None) -> None:
        self.values[name] = self._counted(name, value)

    def set_env(self, name: str, value: str | None) -> None:
        self.env[name] = self._counted(name, value)

    def _counted(self, name: str, value: str | None) -> str | None:
        self.budget.characters -= len(name) + len(value or "")
        return value if self.budget.characters >= 0 else None

    def expand(self, text: str, line: int) -> str:
        """Return *text* with ARGs expanded; one without a value is empty, as in engines."""
        try:
            return Expansion(text, self.values, self._escape, self.budget).run()
        except ExpansionError as error:
            raise error_at(line, str(error)) from error

    def certain(self, text: str) -> str | None:
        """Return *text* with ARGs and ENVs expanded; None when the base image may set one of them."""
        expansion = Expansion(text, self._both, self._escape, self.budget)
        try:
            expanded = expansion.run()
        except ExpansionError:
            return None
        return None if self._uncertain(expansion.names) else expanded

    def copied_from(self, text: str, line: int) -> str:
        """Return *text*, the origin of a COPY, with ARGs expanded.

        Raises:
            BadRequest: the value of one may depend on the base image.
        """
        expansion = Expansion(text, self.values, self._escape, self.budget)
        try:
            expanded = expansion.run()
        except ExpansionError as error:
            raise error_at(line, str(error)) from error
        if names := [name for name in expansion.names if name in self.values and self.values[name] is None]:
            raise error_at(line, f"the image of --from may depend on {names[0][:80]}, which the base image may set")
        return expanded

    def _uncertain(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(name for name in names if self.env.get(name) is None)

    def expand_mount(self, text: str, line: int) -> tuple[str, frozenset[str]]:
        """Return *text* with ARGs and ENVs expanded, and the variables that the base image may set."""
        expansion = Expansion(text, self._both, self._escape, self.budget)
        try:
            expanded = expansion.run() if "$" in text else text
        except ExpansionError as error:
            raise error_at(line, str(error)) from error
        return expanded, self._uncertain(expansion.names)
