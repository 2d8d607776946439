"""Mounts and other sources of files: what RUN mounts, and what COPY and ADD copy from."""

import re
from collections.abc import Iterator

from msgspec import Struct

from swell.containerfile.dialects import Dialect
from swell.containerfile.instructions import SPACE, Instruction
from swell.containerfile.limits import error_at
from swell.containerfile.variables import Scope

_TRANSPORT = re.compile(r"(atomic|containers-storage|dir|docker-(archive|daemon)|oci|oci-archive|ostree|sif|tarball):")


class Mount(Struct, frozen=True, kw_only=True):
    """A `--mount` of a RUN; `options` has every `key=value`, with keys in lower case.

    Variables are expanded with the values in the file. An `ENV` of the base image has priority over an `ARG` of the
    file, so a text with `uncertain` variables may have another value when the step runs.
    """

    line: int
    stage: int
    written: str
    """The text in the file, without the quotes around it."""
    options: tuple[tuple[str, str], ...]
    uncertain: frozenset[str] = frozenset()

    def get(self, *names: str) -> str | None:
        """Return the value of the first option of *names* that is set; an option without a value is an empty string."""
        options = dict(self.options)
        return next((options[name] for name in names if name in options), None)

    @property
    def type(self) -> str:
        """bind, cache, tmpfs, secret or ssh."""
        return self.get("type") or "bind"

    @property
    def id(self) -> str | None:
        """The name of the cache, secret or SSH agent."""
        return self.get("id")

    @property
    def source(self) -> str | None:
        """A path in the context, or in `origin`."""
        return self.get("source", "src")

    @property
    def target(self) -> str | None:
        """The path in the step."""
        return self.get("target", "dst", "destination")

    @property
    def origin(self) -> str | None:
        """`from`: the name or number of a stage, a context, or an image."""
        return self.get("from")

    @property
    def is_writable(self) -> bool:
        """Return whether the step can write to it; by default only caches and tmpfs are writable."""
        for name, value in reversed(self.options):
            if name in {"rw", "readwrite", "ro", "readonly"}:
                return (value.lower() not in {"false", "0"}) is (name in {"rw", "readwrite"})
        return self.type in {"cache", "tmpfs"}


def registry_image(line: int, name: str) -> str:
    """Return *name* without `docker://`.

    Raises:
        BadRequest: it is not an image in a registry: engines also read directories and archives of their host.
    """
    if _TRANSPORT.match(name) or "$" in name:
        raise error_at(line, f"{name[:80]} is not an image in a registry")
    return name.removeprefix("docker://")


def origins(stage: int, instruction: Instruction, scope: Scope, dialect: Dialect) -> Iterator[str]:
    """Yield the stages and images that *instruction* copies or mounts from.

    Raises:
        BadRequest: a name depends on a variable that the base image may set.
    """
    if instruction.name in {"ADD", "COPY"} and (origin := instruction.flag("from")):
        yield scope.copied_from(origin, instruction.line)
    for mount in run_mounts(stage, instruction, scope):
        written = mount.written
        if dialect.splits_first:
            written = next((value for name, value in map(_option, written.split(",")) if name == "from"), "")
        _, uncertain = scope.expand_mount(written, instruction.line)
        if uncertain:
            names = ", ".join(sorted(uncertain))[:80]
            raise error_at(
                instruction.line, f"the image of a mount may depend on {names}, which the base image may set"
            )
        if mount.origin:
            yield mount.origin


def run_mounts(stage: int, instruction: Instruction, scope: Scope) -> Iterator[Mount]:
    if instruction.name != "RUN":
        return
    for name, text in instruction.flags:
        if name.lower() != "mount" or not text:
            continue
        expanded, uncertain = scope.expand_mount(text, instruction.line)
        options = tuple(_option(part) for part in expanded.split(","))
        if len({key for key, _ in options}) != len(options) or '"' in expanded:
            raise error_at(instruction.line, "a mount has an option twice, or quotes")
        yield Mount(line=instruction.line, stage=stage, written=text, options=options, uncertain=uncertain)


def _option(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(SPACE).lower(), value
