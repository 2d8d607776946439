"""Stages and the instructions of a whole file, with the questions that callers ask."""

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from msgspec import Struct

from swell.containerfile.dialects import Dialect
from swell.containerfile.instructions import Instruction
from swell.containerfile.limits import MAX_STAGES, error_at
from swell.containerfile.mounts import Mount, origins, registry_image, run_mounts
from swell.containerfile.variables import LINUX_AMD64, Arguments, Scope, assign, name_value_pairs
from swell.errors import BadRequest
from swell.oci.platform import Platform

SCRATCH = "scratch"


class Stage(Struct, frozen=True, kw_only=True):
    """A FROM and the instructions after it; `base` is the expanded name, `parent` the index of the stage it names."""

    index: int
    name: str | None
    base: str
    line: int
    platform: str | None
    instructions: tuple[Instruction, ...]
    parent: int | None = None
    problem: str | None = None
    """Why the FROM cannot be parsed; then `base` is empty."""

    @property
    def image(self) -> str | None:
        """The base image; None for another stage, for scratch, and when FROM cannot be parsed."""
        return None if self.parent is not None or self.base in {SCRATCH, ""} else self.base


def find_target(stages: Sequence[Stage], target: str) -> Stage | None:
    """Return the stage *target*. Engines compare its name without case, and look for a name first.

    Source: buildkit, `Dockerfile2LLB`,
    https://github.com/moby/buildkit/blob/v0.34.2/frontend/dockerfile/dockerfile2llb/convert.go
    """
    names = [(stage.name or "").lower() for stage in stages]
    if target.lower() in names:
        return stages[len(names) - 1 - names[::-1].index(target.lower())]
    return stages[int(target)] if target.isdecimal() and int(target) < len(stages) else None


class Containerfile(tuple[Instruction, ...]):
    """The instructions of a file, as one dialect reads them."""

    dialect: Dialect
    escape: str
    """The escape character: a backslash, or a backtick when the directive `escape` says so."""
    syntax: str | None
    """The frontend in the directive `syntax`; only BuildKit uses it."""

    def __new__(
        cls, instructions: Iterable[Instruction], dialect: Dialect, escape: str = "\\", syntax: str | None = None
    ) -> "Containerfile":
        containerfile = super().__new__(cls, instructions)
        containerfile.dialect, containerfile.escape, containerfile.syntax = dialect, escape, syntax
        return containerfile

    @property
    def has_heredoc(self) -> bool:
        """Return whether an instruction has a here-document."""
        return any(instruction.heredocs for instruction in self)

    @property
    def runs_steps(self) -> bool:
        """Return whether a RUN needs the target platform.

        Stages whose FROM has `--platform` are left out: they may cross-compile on the builder's platform.
        """
        has_platform = False
        for instruction in self:
            if instruction.name == "FROM":
                has_platform = any(name == "platform" for name, _ in instruction.flags)
            elif instruction.name == "RUN" and instruction.value and not has_platform:
                return True
        return False

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, in order, for linux/amd64 and without build arguments; raises as `stages_for`."""
        return self.stages_for()

    def stages_for(
        self, build_args: Mapping[str, str] | None = None, platform: Platform = LINUX_AMD64
    ) -> tuple[Stage, ...]:
        """Return the stages, in order.

        Raises:
            BadRequest: a FROM has no image, or a variable in it cannot be expanded.
        """
        stages = self._stages(self._heading(Arguments(build_args or {}, platform, self.dialect)))
        if problem := next((stage.problem for stage in stages if stage.problem), None):
            raise BadRequest(problem)
        return stages

    @property
    def problem(self) -> str | None:
        """Why the first FROM that cannot be parsed is wrong; None when all can."""
        return self.problem_with({}, LINUX_AMD64)

    def problem_with(
        self, build_args: Mapping[str, str] | None, platform: Platform, build_platform: Platform = LINUX_AMD64
    ) -> str | None:
        """Return the same as `problem`, with *build_args*, for *platform*, on a builder of *build_platform*."""
        arguments = Arguments(build_args or {}, platform, self.dialect, build_platform)
        stages = self._stages(self._heading(arguments))
        return next((stage.problem for stage in stages if stage.problem), None)

    def base_images(
        self, build_args: Mapping[str, str] | None = None, platform: Platform = LINUX_AMD64
    ) -> tuple[str, ...]:
        """Return the images that the engine may pull, each once, as written: in FROM, COPY --from and mounts.

        Stages and `scratch` are not images. ONBUILD counts, because a later stage may have this one as its base.

        Raises:
            BadRequest: a FROM has no image, or the name of an image is known only when the step runs.
        """
        if problem := self.problem_with(build_args, platform):
            raise BadRequest(problem)
        return self.images(build_args, platform)

    def images(
        self,
        build_args: Mapping[str, str] | None = None,
        platform: Platform = LINUX_AMD64,
        build_platform: Platform = LINUX_AMD64,
    ) -> tuple[str, ...]:
        """Return the same as `base_images` on a builder of *build_platform*, ignoring FROMs that cannot be parsed."""
        images: dict[str, None] = {}
        arguments = Arguments(build_args or {}, platform, self.dialect, build_platform)
        stages = self._stages(self._heading(arguments))
        for stage in stages:
            if stage.image is not None:
                images[registry_image(stage.line, stage.image)] = None
        for stage, instruction, scope in self._walk(stages, arguments):
            for name in origins(stage.index, instruction, scope, self.dialect):
                if name != SCRATCH and not self._is_stage(stages, stage, name):
                    images[registry_image(instruction.line, name)] = None
        return tuple(images)

    def target_stage(
        self, target: str, build_args: Mapping[str, str] | None = None, platform: Platform = LINUX_AMD64
    ) -> Stage | None:
        """Return the stage *target*, a name or a number from 0; the last stage by default; None if it does not exist.

        Raises:
            BadRequest: a FROM has no image, or a variable in it cannot be expanded.
        """
        stages = self.stages_for(build_args, platform)
        return find_target(stages, target) if target else next(reversed(stages), None)

    def final_image(
        self, build_args: Mapping[str, str] | None = None, platform: Platform = LINUX_AMD64, target: str = ""
    ) -> str | None:
        """Return the base image of the stage *target*, directly or through other stages; None for scratch.

        *target* is the name of a stage, or its number from 0; the last stage by default. None if it does not exist.

        Raises:
            BadRequest: a FROM has no image, or a variable in it cannot be expanded.
        """
        stages, stage = self.stages_for(build_args, platform), self.target_stage(target, build_args, platform)
        while stage is not None and stage.parent is not None:
            stage = stages[stage.parent]
        return stage.image if stage else None

    def mounts(
        self, build_args: Mapping[str, str] | None = None, platform: Platform = LINUX_AMD64
    ) -> tuple[Mount, ...]:
        """Return every `--mount` of every RUN, in order, including RUN in ONBUILD.

        Raises:
            BadRequest: a mount has an option twice, or quotes, which engines read differently.
        """
        arguments = Arguments(build_args or {}, platform, self.dialect)
        stages = self._stages(self._heading(arguments))
        walk = self._walk(stages, arguments)
        return tuple(
            mount for stage, instruction, scope in walk for mount in run_mounts(stage.index, instruction, scope)
        )

    def _heading(self, arguments: "Arguments") -> "Scope":
        """Return the variables that FROM can use: each ARG before the first FROM."""
        scope = Scope(self.escape, {**arguments.implied, **arguments.replaced} if self.dialect.platform_args else {})
        for instruction in self:
            if instruction.name == "FROM":
                break
            if instruction.name == "ARG":
                for name, default in name_value_pairs(instruction):
                    given = arguments.get(name)
                    if given is None and default is not None:
                        given = scope.expand(default, instruction.line)
                    if given is not None:
                        scope.set(name, given)
        return scope

    def _stages(self, heading: "Scope") -> tuple[Stage, ...]:
        starts = [at for at, instruction in enumerate(self) if instruction.name == "FROM"]
        if len(starts) > MAX_STAGES:
            raise error_at(self[starts[MAX_STAGES]].line, f"there are more than {MAX_STAGES} stages")
        stages: list[Stage] = []
        for start, end in zip(starts, [*starts[1:], len(self)], strict=False):
            stages.append(self._stage(stages, self[start], tuple(self[start + 1 : end]), heading))
        return tuple(stages)

    def _stage(
        self, before: Sequence[Stage], start: Instruction, instructions: tuple[Instruction, ...], heading: "Scope"
    ) -> Stage:
        words = start.words
        is_whole = len(words) == 1 or (len(words) == 3 and words[1].lower() == "as")
        base = heading.expand(words[0], start.line) if is_whole else ""
        name = words[2] if len(words) == 3 else None
        folds = self.dialect.folds_stages
        return Stage(
            index=len(before),
            name=name.lower() if name and folds else name,
            base=base,
            line=start.line,
            platform=start.flag("platform"),
            instructions=instructions,
            parent=self._named(before, base if folds else words[0]) if base else None,
            problem=None if base else f"line {start.line} of the container file: FROM needs IMAGE or IMAGE AS NAME",
        )

    def _named(self, before: Sequence[Stage], name: str) -> int | None:
        """Return the index of the last stage of *before* with this *name*."""
        folded = name.lower() if self.dialect.folds_stages else name
        return next((stage.index for stage in reversed(before) if stage.name == folded), None)

    def _is_stage(self, stages: Sequence[Stage], stage: Stage, name: str) -> bool:
        """Return whether *name*, in an instruction of *stage*, is the name or index of an earlier stage."""
        if name in map(str, range(stage.index)):
            return True
        return self._named(stages[: stage.index], name) is not None

    def _walk(self, stages: Sequence[Stage], arguments: "Arguments") -> Iterator[tuple[Stage, Instruction, "Scope"]]:
        """Yield each instruction, and the instruction inside an ONBUILD, with the variables that are set before it."""
        heading = self._heading(arguments)
        environments: list[ChainMap[str, str | None]] = []
        for stage in stages:
            inherited = ChainMap[str, str | None]() if stage.parent is None else environments[stage.parent].new_child()
            scope = Scope(self.escape, {}, inherited, heading.budget)
            environments.append(inherited)
            for instruction in stage.instructions:
                yield stage, instruction, scope
                if (triggered := instruction.triggered) is not None:
                    yield stage, triggered, scope
                assign(scope, instruction, arguments, heading)
