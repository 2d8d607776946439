"""The one reader of container files (Dockerfiles).

`parse` splits a file into instructions and never fails because of what an instruction says: only the engine decides
that. Questions about the whole file are properties and methods of the result.

Engines differ in what they read. Debian's buildah 1.28 does not know here-documents, so it executes the lines of one
as instructions; it continues a line that ends in two escape characters; it expands less in `FROM`. A file can be
written so that BuildKit and buildah see different base images. Code that decides about access therefore asks every
reading (`readings`), and code that runs an engine asks with the dialect of that engine.

Sources: https://docs.docker.com/reference/dockerfile/, BuildKit's and imagebuilder's parsers, and tests with buildah
1.28.2 (docs/decisions/0001-containerfile-parser.md).
"""

import re
from bisect import bisect_left
from collections import ChainMap, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import msgspec
from msgspec import Struct

from swell.api.containers import TARGET_STAGE
from swell.errors import BadRequest
from swell.oci.platform import Platform

MAX_SIZE = 256 << 10  # characters of a file
MAX_INSTRUCTIONS = 5_000
MAX_STAGES = 200
MAX_FLAGS = 50  # of one instruction
MAX_HEREDOCS = 50  # of one instruction
MAX_VALUE = 4_096  # characters of one variable or expanded word
MAX_VALUES = 1 << 20  # characters of all variables of a file together
MAX_DEPTH = 20  # of `${a:-${b:-...}}`
MAX_PATTERN = 64  # characters of a pattern with wildcards, such as `${a//x*y/z}`
MAX_MATCHED = 128  # characters that such a pattern is matched with
MAX_STEPS = 500_000  # comparisons of such patterns in a file

SCRATCH = "scratch"
_BLANKS = "\t\v\f\r "  # between the words of an instruction
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_WORD_END = re.compile(r"[\t\v\f\r ]+")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*)", re.DOTALL)
_OLD_ESCAPE = re.compile(r"#[ \t]*escape[ \t]*=[ \t]*(.)", re.IGNORECASE)
_HEREDOC = re.compile(r"[0-9]*<<(-?)[\t\n\f\r ]*([^<]+)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")
_BUILT_IN = ("TARGET", "BUILD")
_WITH_HEREDOCS = frozenset({"ADD", "COPY", "RUN"})
_TRANSPORT = re.compile(r"(atomic|containers-storage|dir|docker-(archive|daemon)|oci|oci-archive|ostree|sif|tarball):")
_LINUX = Platform("linux", "amd64")


class Dialect(Struct, frozen=True):
    """What an engine reads differently."""

    name: str
    heredocs: bool
    """`<<EOF` begins a here-document; otherwise its lines are instructions."""
    escaped_escape: bool
    """A line that ends in two escape characters does not go on."""
    platform_args: bool
    """`TARGETARCH` and the like have a value in FROM without an ARG."""
    folds_stages: bool
    """Stage names are compared without case, after variables are expanded."""
    splits_first: bool
    """A mount is cut into its options before variables are expanded; otherwise a value can add options."""


BUILDKIT = Dialect(
    "BuildKit", heredocs=True, escaped_escape=True, platform_args=True, folds_stages=True, splits_first=True
)
BUILDAH_1_28 = Dialect(
    "buildah 1.28", heredocs=False, escaped_escape=False, platform_args=False, folds_stages=False, splits_first=False
)
DIALECTS = (BUILDKIT, BUILDAH_1_28)


class Heredoc(Struct, frozen=True):
    """A here-document of an instruction; `content` has the leading tabs removed that `<<-` asks for."""

    name: str
    content: str
    expands: bool
    """Variables are expanded in it, because its name is not quoted."""


class Instruction(Struct, frozen=True, kw_only=True):
    """One instruction: `name` in capitals, `flags` as `(name, value)` without quotes, `value` the rest of its text.

    Lines are counted from 1. A continued line is one text without the escape characters.
    """

    name: str
    value: str
    line: int
    last_line: int
    flags: tuple[tuple[str, str], ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    escape: str = "\\"

    @property
    def arguments(self) -> tuple[str, ...] | None:
        """The words of the exec form, `["a", "b"]`; None for the shell form."""
        try:
            return msgspec.json.decode(self.value, type=tuple[str, ...]) if self.value.startswith("[") else None
        except (msgspec.MsgspecError, RecursionError):
            return None

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the shell form; quotes and escapes stay."""
        return tuple(_words(self.value, self.escape))

    def flag(self, name: str) -> str | None:
        """The value of `--name=value`.

        Raises:
            BadRequest: the flag is given twice, which engines read differently.
        """
        values = [value for each, value in self.flags if each == name]
        if len(values) > 1:
            raise _refused(self.line, f"{self.name} has the flag --{name} twice")
        return values[0] if values else None

    @property
    def triggered(self) -> "Instruction | None":
        """The instruction that an ONBUILD keeps for builds from this image."""
        if self.name != "ONBUILD":
            return None
        return _instruction(self.value, self.line, self.last_line, self.escape, self.heredocs)


class Mount(Struct, frozen=True, kw_only=True):
    """A `--mount` of a RUN; `options` has every `key=value`, keys in small letters.

    Variables are expanded with what the file says. An `ENV` of the base image wins over an `ARG` of the file, so a
    value that `uncertain` variables took part in may be another one when the step runs.
    """

    line: int
    stage: int
    written: str
    """As it is in the file, without the quotes around it."""
    options: tuple[tuple[str, str], ...]
    uncertain: frozenset[str] = frozenset()

    def get(self, *names: str) -> str | None:
        """The value of the first option of *names* that is there; an option without a value is an empty text."""
        options = dict(self.options)
        return next((options[name] for name in names if name in options), None)

    @property
    def type(self) -> str:
        """bind, cache, tmpfs, secret or ssh."""
        return self.get("type") or "bind"

    @property
    def id(self) -> str | None:
        """The name of a cache, secret or agent."""
        return self.get("id")

    @property
    def source(self) -> str | None:
        """A path in the context, or in `origin`."""
        return self.get("source", "src")

    @property
    def target(self) -> str | None:
        """Where the step sees it."""
        return self.get("target", "dst", "destination")

    @property
    def origin(self) -> str | None:
        """`from`: the name or number of a stage, a context, or an image."""
        return self.get("from")

    @property
    def is_writable(self) -> bool:
        """Whether the step may write to it; caches are writable by default, the others are not."""
        for name, value in reversed(self.options):
            if name in {"rw", "readwrite", "ro", "readonly"}:
                return (value.lower() not in {"false", "0"}) is (name in {"rw", "readwrite"})
        return self.type in {"cache", "tmpfs"}


class Stage(Struct, frozen=True, kw_only=True):
    """One FROM and the instructions after it; `base` is expanded, and `parent` the stage that it names, if it does."""

    index: int
    name: str | None
    base: str
    line: int
    platform: str | None
    instructions: tuple[Instruction, ...]
    parent: int | None = None
    problem: str | None = None
    """Why its FROM cannot be read; `base` is empty then."""

    @property
    def image(self) -> str | None:
        """The image that it begins from; None for another stage, for scratch and where FROM cannot be read."""
        return None if self.parent is not None or self.base in {SCRATCH, ""} else self.base


class Containerfile(tuple[Instruction, ...]):
    """The instructions of a file as one dialect reads them."""

    dialect: Dialect
    escape: str
    """The escape character: a backslash, or a backtick on request."""
    syntax: str | None
    """The frontend that `# syntax=` asks for; only BuildKit obeys it."""

    def __new__(
        cls, instructions: Iterable[Instruction], dialect: Dialect, escape: str = "\\", syntax: str | None = None
    ) -> "Containerfile":
        made = super().__new__(cls, instructions)
        made.dialect, made.escape, made.syntax = dialect, escape, syntax
        return made

    @property
    def has_heredoc(self) -> bool:
        """Whether an instruction has a here-document."""
        return any(each.heredocs for each in self)

    @property
    def runs_steps(self) -> bool:
        """Whether a stage of the target's platform has a RUN; one whose FROM names a platform may cross-compile."""
        elsewhere = False
        for each in self:
            if each.name == "FROM":
                elsewhere = any(name == "platform" for name, _ in each.flags)
            elif each.name == "RUN" and each.value and not elsewhere:
                return True
        return False

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, in order, for linux/amd64 and without build arguments."""
        return self.stages_for()

    def stages_for(self, build_args: Mapping[str, str] | None = None, platform: Platform = _LINUX) -> tuple[Stage, ...]:
        """The stages, in order.

        Raises:
            BadRequest: a FROM has no image, or a variable in it cannot be expanded.
        """
        stages = self._stages(self._heading(_Arguments(build_args or {}, platform, self.dialect)))
        if problem := next((stage.problem for stage in stages if stage.problem), None):
            raise BadRequest(problem)
        return stages

    @property
    def problem(self) -> str | None:
        """Why a FROM cannot be read, the first of them."""
        return self.problem_with({}, _LINUX)

    def problem_with(self, build_args: Mapping[str, str] | None, platform: Platform) -> str | None:
        """As `problem`, with build arguments and for a platform."""
        stages = self._stages(self._heading(_Arguments(build_args or {}, platform, self.dialect)))
        return next((stage.problem for stage in stages if stage.problem), None)

    def base_images(self, build_args: Mapping[str, str] | None = None, platform: Platform = _LINUX) -> tuple[str, ...]:
        """The images that the engine may pull, each once, as they are written: of FROM, COPY --from and mounts.

        Stages and `scratch` are none. Those of an ONBUILD count, because a later stage may begin from this one.

        Raises:
            BadRequest: a FROM has no image, or which image is meant cannot be known before the step runs.
        """
        if problem := self.problem_with(build_args, platform):
            raise BadRequest(problem)
        return self.images(build_args, platform)

    def images(self, build_args: Mapping[str, str] | None = None, platform: Platform = _LINUX) -> tuple[str, ...]:
        """As `base_images`, but for the FROMs that can be read."""
        found: dict[str, None] = {}
        arguments = _Arguments(build_args or {}, platform, self.dialect)
        stages = self._stages(self._heading(arguments))
        for stage in stages:
            if stage.image is not None:
                found[_image(stage.line, stage.image)] = None
        for stage, each, scope in self._walk(stages, arguments):
            for name in _origins(stage, each, scope, self.dialect):
                if name != SCRATCH and not self._is_stage(stages, stage, name):
                    found[_image(each.line, name)] = None
        return tuple(found)

    def final_image(self, build_args: Mapping[str, str] | None = None, platform: Platform = _LINUX) -> str | None:
        """The image that the last stage begins from, directly or through other stages; None for scratch.

        Raises:
            BadRequest: a FROM has no image, or a variable in it cannot be expanded.
        """
        stages = self.stages_for(build_args, platform)
        stage = stages[-1] if stages else None
        while stage is not None and stage.parent is not None:
            stage = stages[stage.parent]
        return stage.image if stage else None

    def mounts(self, build_args: Mapping[str, str] | None = None, platform: Platform = _LINUX) -> tuple[Mount, ...]:
        """Every `--mount` of every RUN, in order, those that an ONBUILD keeps included.

        Raises:
            BadRequest: a mount has an option twice, or quotes, which engines read differently.
        """
        arguments = _Arguments(build_args or {}, platform, self.dialect)
        stages = self._stages(self._heading(arguments))
        walk = self._walk(stages, arguments)
        return tuple(mount for stage, each, scope in walk for mount in _mounts(stage, each, scope))

    def _heading(self, arguments: "_Arguments") -> "_Scope":
        """The variables that FROM may use: the ARGs before the first of them."""
        scope = _Scope(self.escape, {**arguments.implied, **arguments.replaced} if self.dialect.platform_args else {})
        for each in self:
            if each.name == "FROM":
                break
            if each.name == "ARG":
                for name, default in _pairs(each):
                    given = arguments.get(name)
                    if given is None and default is not None:
                        given = scope.expand(default, each.line)
                    if given is not None:
                        scope.set(name, given)
        return scope

    def _stages(self, heading: "_Scope") -> tuple[Stage, ...]:
        starts = [at for at, each in enumerate(self) if each.name == "FROM"]
        if len(starts) > MAX_STAGES:
            raise _refused(self[starts[MAX_STAGES]].line, f"there are more than {MAX_STAGES} stages")
        stages: list[Stage] = []
        for start, end in zip(starts, [*starts[1:], len(self)], strict=False):
            stages.append(self._stage(stages, self[start], tuple(self[start + 1 : end]), heading))
        return tuple(stages)

    def _stage(
        self, before: Sequence[Stage], start: Instruction, instructions: tuple[Instruction, ...], heading: "_Scope"
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
        """The number of the last stage of *before* that is called *name*."""
        asked = name.lower() if self.dialect.folds_stages else name
        return next((stage.index for stage in reversed(before) if stage.name == asked), None)

    def _is_stage(self, stages: Sequence[Stage], stage: Stage, name: str) -> bool:
        """Whether *name*, in an instruction of *stage*, is the name or the number of a stage before it."""
        if name in map(str, range(stage.index)):
            return True
        return self._named(stages[: stage.index], name) is not None

    def _walk(self, stages: Sequence[Stage], arguments: "_Arguments") -> Iterator[tuple[Stage, Instruction, "_Scope"]]:
        """Each instruction, and what an ONBUILD keeps, with the variables that are set before it."""
        heading = self._heading(arguments)
        environments: list[ChainMap[str, str | None]] = []
        for stage in stages:
            inherited = ChainMap[str, str | None]() if stage.parent is None else environments[stage.parent].new_child()
            scope = _Scope(self.escape, {}, inherited, heading.budget)
            environments.append(inherited)
            for each in stage.instructions:
                yield stage, each, scope
                if (triggered := each.triggered) is not None:
                    yield stage, triggered, scope
                _assign(scope, each, arguments, heading)


def parse(text: str, dialect: Dialect = BUILDKIT) -> Containerfile:
    """The instructions of *text*, in time that grows with its length.

    Raises:
        BadRequest: it is longer than 256 KiB or has more than 5,000 instructions, or asks for an impossible escape
            character; the message has the line.
    """
    if len(text) > MAX_SIZE:
        raise BadRequest(f"the container file has more than {MAX_SIZE} characters")
    lines = text.removeprefix("\ufeff").split("\n")
    lines = [line.rstrip("\r") if dialect.escaped_escape else line.removesuffix("\r") for line in lines]
    escape, syntax = _directives(lines, dialect)
    found: list[Instruction] = []
    ends = _Ends(lines)
    at = 0
    while at < len(lines):
        first = at
        joined, at = _joined(lines, at, escape, dialect)
        if not joined.strip(_SPACE):
            continue
        if len(found) >= MAX_INSTRUCTIONS:
            raise _refused(first + 1, f"there are more than {MAX_INSTRUCTIONS} instructions")
        instruction = _instruction(joined, first + 1, at, escape)
        if len(instruction.flags) > MAX_FLAGS:
            raise _refused(first + 1, f"an instruction has more than {MAX_FLAGS} flags")
        if dialect.heredocs and "<<" in joined:
            instruction, at = _with_heredocs(instruction, joined, ends, at)
        found.append(instruction)
    return Containerfile(found, dialect, escape, syntax)


def readings(text: str) -> tuple[Containerfile, ...]:
    """What each known engine reads, for decisions about access.

    Raises:
        BadRequest: as `parse`.
    """
    return tuple(parse(text, dialect) for dialect in DIALECTS)


def base_images(
    text: str,
    build_args: Mapping[str, str] | None = None,
    platform: Platform = _LINUX,
    dialects: Sequence[Dialect] = DIALECTS,
) -> tuple[str, ...]:
    """The images that an engine of any of *dialects* may pull when it builds *text*.

    A FROM that only some engines can read does not count: buildah 1.28 skips a malformed stage that no other needs.

    Raises:
        BadRequest: as `parse` and `Containerfile.base_images`; no engine can read the file, or which image is meant
            cannot be known.
    """
    read = [parse(text, dialect) for dialect in dialects]
    problems = [each.problem_with(build_args, platform) for each in read]
    if all(problems):
        raise BadRequest(problems[0] or "")
    return tuple(dict.fromkeys(image for each in read for image in each.images(build_args, platform)))


def _refused(line: int, why: str) -> BadRequest:
    return BadRequest(f"line {line} of the container file: {why}")


# --- lines


def _directives(lines: Sequence[str], dialect: Dialect) -> tuple[str, str | None]:
    """The escape character and the frontend that the first comments ask for."""
    escape, syntax, seen = "\\", None, set[str]()
    for number, line in enumerate(lines, 1):
        text = line.strip(_SPACE)
        if not dialect.heredocs:  # the old parser knows one directive, and only in the first line
            old = _OLD_ESCAPE.match(text)
            if old is None:
                break
            name, value = "escape", old[1]
        else:
            match = _DIRECTIVE.fullmatch(text)
            if match is None or match[1].lower() not in {"syntax", "escape", "check"}:
                break
            name, value = match[1].lower(), match[2]
        if name in seen:
            raise _refused(number, f"only one {name} directive is allowed")
        seen.add(name)
        if name == "escape" and value not in {"\\", "`"}:
            raise _refused(number, "the escape character must be ` or \\")
        escape = value if name == "escape" else escape
        syntax = value if name == "syntax" else syntax
    return escape, syntax


def _joined(lines: Sequence[str], at: int, escape: str, dialect: Dialect) -> tuple[str, int]:
    """The text of the instruction that begins in line *at*, and the number of the line after it."""
    text = lines[at].lstrip(_SPACE)
    at += 1
    if text.startswith("#"):
        return "", at
    text, goes_on = _continued(text, escape, dialect)
    parts = [text]
    while goes_on and at < len(lines):
        line = lines[at]
        at += 1
        bare = line.lstrip(_SPACE)
        if not bare or bare.startswith("#"):
            continue
        line, goes_on = _continued(line, escape, dialect)
        parts.append(line)
    return "".join(parts), at


def _continued(line: str, escape: str, dialect: Dialect) -> tuple[str, bool]:
    """*line* without its escape character at the end, and whether it had one."""
    text = line.rstrip(" \t")
    if not text.endswith(escape) or (dialect.escaped_escape and text[-2:-1] == escape):
        return line, False
    return text[:-1], True


def _instruction(text: str, line: int, last_line: int, escape: str, heredocs: tuple[Heredoc, ...] = ()) -> Instruction:
    name, *rest = _WORD_END.split(text.strip(_SPACE), maxsplit=1)
    name = name.upper() if name.isascii() else name
    flags, value = _flags(rest[0] if rest else "", escape)
    return Instruction(
        name=name,
        value=value.strip(_SPACE),
        line=line,
        last_line=last_line,
        flags=tuple(flags),
        heredocs=heredocs,
        escape=escape,
    )


def _flags(text: str, escape: str) -> tuple[list[tuple[str, str]], str]:
    """The leading `--name=value` words of *text*, without quotes, and what follows."""
    flags: list[tuple[str, str]] = []
    at = 0
    while True:
        while at < len(text) and text[at] in _SPACE:
            at += 1
        if not text.startswith("--", at):
            return flags, text[at:]
        quote = ""
        parts: list[str] = []
        while at < len(text) and (quote or text[at] not in _SPACE):
            char = text[at]
            at += 1
            if char == escape:
                parts.append(text[at : at + 1])
                at += 1
            elif quote:
                if char == quote:
                    quote = ""
                else:
                    parts.append(char)
            elif char in "'\"":
                quote = char
            else:
                parts.append(char)
        word = "".join(parts)
        if word == "--":
            return flags, text[at:]
        name, _, value = word[2:].partition("=")
        flags.append((name, value))


def _words(text: str, escape: str) -> Iterator[str]:
    """*text* cut at blanks that are neither quoted nor escaped."""
    start, at, quote = 0, 0, ""
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'":
            at += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _SPACE:
            if at > start:
                yield text[start:at]
            start = at + 1
        at += 1
    if start < len(text):
        yield text[start:]


# --- here-documents


class _Ends:
    """Where here-documents can end: the lines of a file by their text."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self._whole: dict[str, list[int]] = defaultdict(list)
        self._indented: dict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(lines):
            self._whole[line].append(number)
            self._indented[line.lstrip("\t")].append(number)

    def next(self, delimiter: str, start: int, *, is_indented: bool) -> int | None:
        """The first line from *start* on that is *delimiter*, with tabs before it when *is_indented*."""
        numbers = (self._indented if is_indented else self._whole).get(delimiter, [])
        at = bisect_left(numbers, start)
        return numbers[at] if at < len(numbers) else None


def _with_heredocs(instruction: Instruction, text: str, ends: _Ends, at: int) -> tuple[Instruction, int]:
    """*instruction* with its here-documents, and the number of the line after them.

    One that does not end is none: engines that know here-documents refuse the file.
    """
    name = instruction.value.partition(" ")[0].upper() if instruction.name == "ONBUILD" else instruction.name
    if name not in _WITH_HEREDOCS or instruction.arguments is not None:
        return instruction, at
    found: list[Heredoc] = []
    start = at
    for is_indented, raw in _markers(text, instruction.escape):
        if len(found) >= MAX_HEREDOCS:
            raise _refused(instruction.line, f"an instruction has more than {MAX_HEREDOCS} here-documents")
        delimiter = _unquoted(raw)
        end = ends.next(delimiter, start, is_indented=is_indented)
        if end is None:
            return instruction, at
        body = (line.lstrip("\t") if is_indented else line for line in ends.lines[start:end])
        found.append(Heredoc(delimiter, "".join(f"{line}\n" for line in body), expands=delimiter == raw))
        start = end + 1
    if not found:
        return instruction, at
    return msgspec.structs.replace(instruction, heredocs=tuple(found), last_line=start), start


def _markers(text: str, escape: str) -> Iterator[tuple[bool, str]]:
    """The `<<` of *text* outside quotes: whether tabs are removed, and the delimiter as it is written."""
    for word in _words(re.sub(r"<<[\t\r ]+", "<<", text), escape):
        if (match := _HEREDOC.fullmatch(word)) and _unquoted(match[2]):
            yield bool(match[1]), match[2]


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)|['\"]", r"\1", text, flags=re.DOTALL)


# --- variables


class _Arguments(Struct, frozen=True):
    """The values of ARGs that do not come from the file."""

    given: Mapping[str, str]
    platform: Platform
    dialect: Dialect

    @property
    def implied(self) -> dict[str, str]:
        """The target's and the builder's platform (builders are linux/amd64), and the stage to build."""
        parts = {f"TARGET{name}": value for name, value in _parts(self.platform)}
        return parts | {f"BUILD{name}": value for name, value in _parts(_LINUX)} | {TARGET_STAGE: "default"}

    @property
    def replaced(self) -> dict[str, str]:
        """The values of `implied` that build arguments replace."""
        return {name: self.given[name] for name in self.implied if name in self.given}

    def get(self, name: str) -> str | None:
        """The value that wins over the default of an ARG.

        In BuildKit a default wins over the platform; in buildah the platform wins over both.
        """
        if self.dialect.platform_args or not name.startswith(_BUILT_IN):
            return self.given.get(name)
        return None if name == TARGET_STAGE else self.implied.get(name, self.given.get(name))


def _parts(platform: Platform) -> Iterator[tuple[str, str]]:
    yield from (("PLATFORM", str(platform)), ("OS", platform.os))
    yield from (("ARCH", platform.architecture), ("VARIANT", platform.variant or ""))


def _assign(scope: "_Scope", instruction: Instruction, arguments: _Arguments, heading: "_Scope") -> None:
    """Set what *instruction*, an ENV or ARG of a stage, sets in *scope*."""
    if instruction.name == "ENV":
        for name, text in _pairs(instruction):
            scope.set_env(name, scope.certain(text or ""))
    elif instruction.name == "ARG":
        for name, default in _pairs(instruction):
            if (given := arguments.get(name)) is not None:
                scope.set(name, given)
            elif default is not None:
                scope.set(name, scope.certain(default))
            elif name in heading.values:
                scope.set(name, heading.values[name])


def _pairs(instruction: Instruction) -> Iterator[tuple[str, str | None]]:
    """The names of an ARG or ENV with their values as they are written; None where an ARG has no default."""
    words = instruction.words
    if instruction.name == "ENV" and words and "=" not in words[0]:
        yield words[0], instruction.value[len(words[0]) :].strip(_SPACE)
        return
    for word in words:
        name, equals, value = word.partition("=")
        yield name, value if equals else None


class _TooMuch(Exception):
    """An expansion is beyond the limits, or malformed; the message says how."""


class _Budget:
    """What is left for the variables and patterns of a file, whose author may mean harm."""

    def __init__(self) -> None:
        self.characters = MAX_VALUES
        self.steps = MAX_STEPS

    def compare(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise _TooMuch("the patterns in its variables take too long")


class _Scope:
    """The variables at one place of a file; None is a value that the base image may have had a part in."""

    def __init__(
        self,
        escape: str,
        values: Mapping[str, str],
        env: ChainMap[str, str | None] | None = None,
        budget: _Budget | None = None,
    ) -> None:
        self.values: dict[str, str | None] = dict(values)
        self.env = env if env is not None else ChainMap[str, str | None]()
        self.budget = budget or _Budget()
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
        """*text* with ARGs filled in; one that has no value is empty, as engines have it."""
        try:
            return _Expansion(text, self.values, self._escape, self.budget).run()
        except _TooMuch as error:
            raise _refused(line, str(error)) from error

    def certain(self, text: str) -> str | None:
        """*text* with ARGs and ENVs filled in; None where the base image may set one of them to something else."""
        expansion = _Expansion(text, self._both, self._escape, self.budget)
        try:
            made = expansion.run()
        except _TooMuch:
            return None
        return None if self._uncertain(expansion.names) else made

    def copied_from(self, text: str, line: int) -> str:
        """*text*, the origin of a COPY, with ARGs filled in.

        Raises:
            BadRequest: one of them has a value that the base image may have had a part in.
        """
        expansion = _Expansion(text, self.values, self._escape, self.budget)
        try:
            made = expansion.run()
        except _TooMuch as error:
            raise _refused(line, str(error)) from error
        if names := [name for name in expansion.names if name in self.values and self.values[name] is None]:
            raise _refused(line, f"the image of --from may depend on {names[0][:80]}, which the base image may set")
        return made

    def _uncertain(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(name for name in names if self.env.get(name) is None)

    def expand_mount(self, text: str, line: int) -> tuple[str, frozenset[str]]:
        """*text* with ARGs and ENVs filled in, and the variables that the base image may set to something else."""
        expansion = _Expansion(text, self._both, self._escape, self.budget)
        try:
            made = expansion.run() if "$" in text else text
        except _TooMuch as error:
            raise _refused(line, str(error)) from error
        return made, self._uncertain(expansion.names)


class _Expansion:
    """Fills in the variables of a text and removes its quotes, from the left to the right.

    Knows `$x`, `${x}`, and with `:-`, `:+`, `:?`, `-`, `+`, `?`, `#`, `##`, `%`, `%%`, `/` and `//`.
    """

    def __init__(self, text: str, values: Mapping[str, str | None], escape: str, budget: _Budget) -> None:
        self.names: set[str] = set()
        """The variables that were asked for."""
        self._text = text
        self._values = values
        self._escape = escape
        self._budget = budget
        self._at = 0

    def run(self) -> str:
        """The text with everything filled in.

        Raises:
            _TooMuch: it is malformed, or beyond the limits.
        """
        if "$" in self._text and len(self._text) > MAX_VALUE:
            raise _TooMuch(f"a value has more than {MAX_VALUE} characters")
        return self._until("", 0)

    def _until(self, stops: str, depth: int, *, quoted: bool = False) -> str:
        """What is made of the text up to one of *stops*, which is consumed."""
        if depth > MAX_DEPTH:
            raise _TooMuch(f"variables are nested more than {MAX_DEPTH} deep")
        parts: list[str] = []
        size = 0
        while self._at < len(self._text):
            char = self._text[self._at]
            if stops and char in stops:
                self._at += 1
                return "".join(parts)
            parts.append(self._next(char, depth, quoted))
            size += len(parts[-1])
            if size > MAX_VALUE:
                raise _TooMuch(f"a value has more than {MAX_VALUE} characters")
        if stops:
            raise _TooMuch(f"a {stops!r} is missing")
        return "".join(parts)

    def _next(self, char: str, depth: int, quoted: bool) -> str:
        self._at += 1
        if char == self._escape:
            following = self._text[self._at : self._at + 1]
            if quoted and following not in {'"', "$", self._escape}:
                return char
            self._at += 1
            return following
        if char == "$":
            return self._variable(depth)
        if char == "'" and not quoted:
            end = self._text.find("'", self._at)
            if end < 0:
                raise _TooMuch("a ' is missing")
            start, self._at = self._at, end + 1
            return self._text[start:end]
        if char == '"' and not quoted:
            return self._until('"', depth + 1, quoted=True)
        return char

    def _variable(self, depth: int) -> str:
        if not self._text.startswith("{", self._at):
            match = _NAME.match(self._text, self._at)
            if match is None:
                return "$"
            self._at = match.end()
            return self._value(match[0]) or ""
        match = _NAME.match(self._text, self._at + 1)
        if match is None:
            raise _TooMuch("a ${ has no name")
        self._at = match.end()
        return self._modified(match[0], depth)

    def _value(self, name: str) -> str | None:
        self.names.add(name)
        return self._values.get(name)

    def _modified(self, name: str, depth: int) -> str:
        operator = self._operator()
        if operator == "}":
            return self._value(name) or ""
        value = self._value(name)
        if operator in {"/", "//"}:
            pattern = self._pattern("/", depth)
            replacement = self._pattern("}", depth)
            if not pattern or "$" in replacement:
                raise _TooMuch("a ${ replaces nothing, or with a $")
            return self._replaced(value or "", pattern, replacement, every=operator == "//")
        word = self._pattern("}", depth) if operator[-1] in "#%" else self._until("}", depth + 1)
        is_set = bool(value) if operator.startswith(":") else value is not None
        match operator[-1]:
            case "-":
                return (value or "") if is_set else word
            case "+":
                return word if is_set else ""
            case "?":
                if not is_set:
                    raise _TooMuch(f"{name}: {word or 'has no value'}")
                return value or ""
            case "#":
                return self._trimmed(value or "", word, longest=operator == "##")
        return self._trimmed((value or "")[::-1], word[::-1], longest=operator == "%%")[::-1]

    def _pattern(self, stop: str, depth: int) -> str:
        """A pattern, or what replaces its match.

        Engines differ in what quotes and escapes mean there, and in the values of variables, so there are none.
        """
        start = self._at
        made = self._until(stop, depth + 1)
        if set(self._text[start : self._at] + made) & {"'", '"', "\\", self._escape}:
            raise _TooMuch("a pattern or its replacement has a quote or an escape")
        return made

    def _operator(self) -> str:
        for operator in ("}", ":-", ":+", ":?", "-", "+", "?", "##", "#", "%%", "%", "//", "/"):
            if self._text.startswith(operator, self._at):
                self._at += len(operator)
                return operator
        raise _TooMuch("a ${ is malformed")

    def _trimmed(self, value: str, pattern: str, *, longest: bool) -> str:
        """*value* without the beginning that *pattern* matches, a text in which `*` and `?` are wildcards."""
        ends = list(self._ends(value, pattern, 0))
        return value[(max(ends) if longest else min(ends)) :] if ends else value

    def _replaced(self, value: str, pattern: str, replacement: str, *, every: bool) -> str:
        """*value* with the longest matches of *pattern* replaced, or only the first of them."""
        if not value and not pattern.strip("*"):
            return replacement
        if not set(pattern) & set("*?"):
            self._budget.compare(len(value))
            made = value.replace(pattern, replacement, -1 if every else 1)
            if len(made) > MAX_VALUE:
                raise _TooMuch(f"a value has more than {MAX_VALUE} characters")
            return made
        parts: list[str] = []
        at = 0
        while at < len(value):
            ends = [end for end in self._ends(value, pattern, at) if end > at]
            if not ends:
                parts.append(value[at])
                at += 1
                continue
            parts.append(replacement)
            at = max(ends)
            if not every:
                break
        return "".join(parts) + value[at:]

    def _ends(self, value: str, pattern: str, start: int) -> Iterator[int]:
        """Where a match of *pattern* that begins at *start* can end."""
        if len(pattern) > MAX_PATTERN or len(value) > MAX_MATCHED:
            raise _TooMuch(f"a pattern has more than {MAX_PATTERN} characters, or a value more than {MAX_MATCHED}")
        self._budget.compare((len(pattern) + 1) * (len(value) - start + 1))
        states = _closed({0}, pattern)
        for at in range(start, len(value) + 1):
            if len(pattern) in states:
                yield at
            if at == len(value) or not states:
                return
            char = value[at]
            moved = {
                state if pattern[state] == "*" else state + 1
                for state in states
                if state < len(pattern) and pattern[state] in {"*", "?", char}
            }
            states = _closed(moved, pattern)


def _closed(states: set[int], pattern: str) -> set[int]:
    """*states*, and those behind a `*` that matches nothing."""
    found = set(states)
    for state in sorted(states):
        at = state
        while at < len(pattern) and pattern[at] == "*":
            at += 1
            found.add(at)
    return found


# --- images and mounts


def _image(line: int, name: str) -> str:
    """*name*, which must be that of an image in a registry: engines also read folders and archives of their host."""
    if _TRANSPORT.match(name) or "$" in name:
        raise _refused(line, f"{name[:80]} is no image in a registry")
    return name.removeprefix("docker://")


def _origins(stage: Stage, instruction: Instruction, scope: _Scope, dialect: Dialect) -> Iterator[str]:
    """What *instruction* copies or mounts from: stages and images."""
    if instruction.name in {"ADD", "COPY"} and (origin := instruction.flag("from")):
        yield scope.copied_from(origin, instruction.line)
    for mount in _mounts(stage, instruction, scope):
        written = mount.written
        if dialect.splits_first:
            written = next((value for name, value in map(_option, written.split(",")) if name == "from"), "")
        _, uncertain = scope.expand_mount(written, instruction.line)
        if uncertain:
            names = ", ".join(sorted(uncertain))[:80]
            raise _refused(
                instruction.line, f"the image of a mount may depend on {names}, which the base image may set"
            )
        if mount.origin:
            yield mount.origin


def _mounts(stage: Stage, instruction: Instruction, scope: _Scope) -> Iterator[Mount]:
    if instruction.name != "RUN":
        return
    for name, text in instruction.flags:
        if name.lower() != "mount" or not text:
            continue
        made, uncertain = scope.expand_mount(text, instruction.line)
        options = tuple(_option(part) for part in made.split(","))
        if len({key for key, _ in options}) != len(options) or '"' in made:
            raise _refused(instruction.line, "a mount has an option twice, or quotes")
        yield Mount(line=instruction.line, stage=stage.index, written=text, options=options, uncertain=uncertain)


def _option(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(_SPACE).lower(), value
