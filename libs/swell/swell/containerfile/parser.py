"""Parse a container file as one engine reads it, or as every known engine does."""

from collections.abc import Mapping, Sequence

from swell.containerfile.dialects import BUILDKIT, DIALECTS, Dialect
from swell.containerfile.instructions import SPACE, Instruction, parse_instruction
from swell.containerfile.limits import MAX_FLAGS, MAX_INSTRUCTIONS, MAX_SIZE, error_at
from swell.containerfile.lines import DelimiterIndex, join_lines, read_directives, with_heredocs
from swell.containerfile.stages import Containerfile
from swell.containerfile.variables import BUILD_PLATFORMS, LINUX_AMD64
from swell.errors import BadRequest
from swell.oci.platform import Platform


def parse(text: str, dialect: Dialect = BUILDKIT) -> Containerfile:
    """Return the instructions of *text*; the time is proportional to its length.

    Raises:
        BadRequest: it is longer than 256 KiB or has more than 5,000 instructions, or sets an invalid escape
            character; the message names the line.
    """
    if len(text) > MAX_SIZE:
        raise BadRequest(f"the container file has more than {MAX_SIZE} characters")
    lines = text.removeprefix("\ufeff").split("\n")
    lines = [line.rstrip("\r") if dialect.escaped_escape else line.removesuffix("\r") for line in lines]
    escape, syntax = read_directives(lines, dialect)
    instructions: list[Instruction] = []
    ends = DelimiterIndex(lines)
    at = 0
    while at < len(lines):
        first = at
        joined, at = join_lines(lines, at, escape, dialect)
        if not joined.strip(SPACE):
            continue
        if len(instructions) >= MAX_INSTRUCTIONS:
            raise error_at(first + 1, f"there are more than {MAX_INSTRUCTIONS} instructions")
        instruction = parse_instruction(joined, first + 1, at, escape)
        if len(instruction.flags) > MAX_FLAGS:
            raise error_at(first + 1, f"an instruction has more than {MAX_FLAGS} flags")
        if dialect.heredocs and "<<" in joined:
            instruction, at = with_heredocs(instruction, joined, ends, at)
        instructions.append(instruction)
    return Containerfile(instructions, dialect, escape, syntax)


def readings(text: str) -> tuple[Containerfile, ...]:
    """Return what each known engine reads, for decisions about access.

    Raises:
        BadRequest: see `parse`.
    """
    return tuple(parse(text, dialect) for dialect in DIALECTS)


def base_images(
    text: str,
    build_args: Mapping[str, str] | None = None,
    platform: Platform = LINUX_AMD64,
    dialects: Sequence[Dialect] = DIALECTS,
) -> tuple[str, ...]:
    """Return the images that an engine of any of *dialects* may pull when it builds *text*.

    A FROM that only some engines can parse is ignored: buildah 1.28 skips a malformed stage that no other stage needs.
    `BUILDARCH` and similar variables have the values of each platform that a builder may have.

    Raises:
        BadRequest: see `parse` and `Containerfile.base_images`; or no engine can parse the file.
    """
    read = [
        (containerfile, build_platform)
        for containerfile in (parse(text, dialect) for dialect in dialects)
        for build_platform in (BUILD_PLATFORMS if _names_build_platform(containerfile) else BUILD_PLATFORMS[:1])
    ]
    problems = [each.problem_with(build_args, platform, build_platform) for each, build_platform in read]
    if all(problems):
        raise BadRequest(problems[0] or "")
    return tuple(
        dict.fromkeys(
            image
            for containerfile, build_platform in read
            for image in containerfile.images(build_args, platform, build_platform)
        )
    )


def _names_build_platform(containerfile: Containerfile) -> bool:
    """Return whether *containerfile* may use a variable such as BUILDARCH."""
    texts = (text for each in containerfile for text in (each.value, *(value for _, value in each.flags)))
    return any("BUILD" in text for text in texts)
