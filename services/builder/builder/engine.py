"""What an engine is: it builds the image of a recipe and pushes it."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct, structs

from swell.api.builds import BuildStep
from swell.build_spec import BuildSpec
from swell.jobs.messages import Definition
from swell.oci.digest import Digest
from swell.provenance import Evidence

WriteLine = Callable[[bytes], Awaitable[None]]
"""Adds a line, without its line feed, to the log of a build."""


WriteStep = Callable[[BuildStep], Awaitable[None]]
"""Adds a step, or a change of one, to the log of a build."""


async def ignore_step(_: BuildStep) -> None:
    """Do nothing, for logs of lines only."""


Note = Callable[[Evidence], None]
"""Receives what an engine knows of a build, once, before the build returns."""


def ignore(_: Evidence) -> None:
    """Receive evidence without effect."""


class Recipe(BuildSpec, frozen=True, kw_only=True):
    """A build whose inputs are files on this machine.

    `context` is a gzipped tar file with a verified digest; without it the context contains only `conda.yml`, the text
    of `environment`, and `files`, which are added by name as they are. With `sif` the image is converted into a SIF
    file, which is pushed instead. `secrets` are the contents of `options.build_secrets`, by their ids.
    """

    build_id: str
    platform: str = "linux/amd64"
    context: Path | None = None
    files: Mapping[str, Path] = {}
    sif: Definition | None = None
    secrets: Mapping[str, bytes] = {}
    key: str = ""
    """See `builder.domain.build_key`; empty in a pod."""


class ExistingBuild(Struct, frozen=True, kw_only=True):
    """A build that an earlier builder has started and that still exists; `finished` is None while it runs."""

    started: datetime
    finished: datetime | None = None


class Engine(Protocol):
    """Builds and pushes images, within the limits of time, memory and disk in its settings.

    When a build ends, for any reason, its processes have ended, and its files and credentials are removed soon
    after, in the background.
    """

    async def build(
        self, recipe: Recipe, write_line: WriteLine, write_step: WriteStep = ignore_step, note: Note = ignore, /
    ) -> Digest:
        """Build and push *recipe*; return the digest of the pushed manifest.

        Before it returns, what the image was made from is passed to *note*.

        Output is passed to *write_line* immediately: lines without colours, in pieces of at most 16 KiB. Lines that
        arrive together may be joined by line feeds. A slow *write_line* slows the build. Cancelling ends every process
        of the build. An engine that has the steps of a build passes them to *write_step*, each after the line that says
        the same.

        Raises:
            BuildFailure: no image was pushed; the reason says who can fix it: the client, or the operator.
        """

    async def find(self, recipe: Recipe) -> ExistingBuild | None:
        """Return the build of *recipe* that an earlier builder started and that `build` would continue.

        Raises:
            Unavailable: the place where builds run does not respond.
        """


class ContainerEngine(Engine, Protocol):
    """An engine for container files."""

    async def run_step(self) -> None:
        """Run one build step that does nothing, without a registry.

        Raises:
            BuildFailure: steps cannot run here; the message says why.
        """


class Engines:
    """Selects the engine of a recipe: recipes with packages need no container."""

    def __init__(self, containers: Engine, packages: Engine, name: str = "") -> None:
        """*name* and version are those of the engine for *containers*."""
        self._containers = containers
        self._packages = packages
        self._name = name

    async def build(
        self, recipe: Recipe, write_line: WriteLine, write_step: WriteStep = ignore_step, note: Note = ignore, /
    ) -> Digest:
        name = "conda/direct" if recipe.packages else self._name

        def add_name(evidence: Evidence) -> None:
            note(structs.replace(evidence, engine=evidence.engine or name))

        return await self._engine(recipe).build(recipe, write_line, write_step, add_name)

    async def find(self, recipe: Recipe) -> ExistingBuild | None:
        return await self._engine(recipe).find(recipe)

    def _engine(self, recipe: Recipe) -> Engine:
        return self._packages if recipe.packages else self._containers
