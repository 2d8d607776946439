"""Freeze: write a container config into a recipe, as the last lines of a Dockerfile or definition file.

The image has exactly the values that augmenting it at the pull would give.
Source: Wave's documentation, "Container freeze", https://docs.seqera.io/wave/provisioning#container-freeze
"""

import json
import re
from collections.abc import Iterator, Mapping

from gateway.domain.definition import definition_base, is_definition
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.containerfile import parse, readings
from swell.containerfile.quoting import one_line, quote_value
from swell.errors import BadRequest
from swell.oci.digest import Digest, hex_of
from swell.oci.run_fields import ChainStyle, entry_chain
from swell.recipes.lines import CONTEXT, join_lines
from swell.recipes.shell import quote, quote_words

_MARK = "# the lines below were added by freeze"
_SIF_MARK = "# a SIF file is made of this"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def entrypoint_of(containerfile: str, target: str = "") -> tuple[str, ...] | None:
    """The entrypoint that *containerfile* sets in its stage *target*, or in a stage that this one begins from.

    None if the base image's stays; empty if it is removed. The shell form is split at blanks.

    Raises:
        BadRequest: a FROM instruction cannot be parsed.
    """
    if is_definition(containerfile):
        return None
    stages = parse(containerfile).stages
    stage = parse(containerfile).target_stage(target)
    while stage is not None:
        entrypoints = [instruction for instruction in stage.instructions if instruction.name == "ENTRYPOINT"]
        if entrypoints:
            last = entrypoints[-1]
            return last.arguments if last.arguments is not None else tuple(last.value.split())
        stage = None if stage.parent is None else stages[stage.parent]
    return None


def base_image_of(containerfile: str, arguments: Mapping[str, str] | None = None, target: str = "") -> str | None:
    """The base image of the stage *target*, by default the last one, with the build *arguments*.

    None for `scratch`, and if only the builder can determine it.

    Raises:
        BadRequest: a FROM instruction cannot be parsed.
    """
    if is_definition(containerfile):
        return definition_base(containerfile)
    return parse(containerfile).final_image(arguments, target=target)


def freeze_image(image: str, config: ContainerConfig, entrypoint: tuple[str, ...] | None, sif: bool) -> str:
    """Return a recipe for *image* with *config*; *entrypoint* is the image's own, *sif* selects a definition file.

    Raises:
        BadRequest: a value cannot be written into a recipe.
    """
    base = f"BootStrap: docker\nFrom: {image}" if sif else f"FROM {image}"
    return join_lines(_MARK, base, *_config_lines(config, entrypoint, sif))


def freeze_recipe(
    containerfile: str, config: ContainerConfig, entrypoint: tuple[str, ...] | None, sif: bool, target: str = ""
) -> str:
    """Return *containerfile* with *config* at the end of the stage *target*, by default the last one.

    *entrypoint* is that of the image so far. Stages after the target are not built.

    Raises:
        BadRequest: a value cannot be written into a recipe.
    """
    if config.is_empty:
        return containerfile
    if not sif and any(reading.escape != "\\" for reading in readings(containerfile)):
        raise BadRequest("freeze supports only containerFiles with the escape character \\")
    before, after = _split(containerfile, target)
    lines = _config_lines(config, entrypoint, sif)
    return join_lines(before if sif else _end_instruction(before), _MARK, *lines) + after


def _split(containerfile: str, target: str) -> tuple[str, str]:
    """Split *containerfile* at the end of the stage *target*.

    Raises:
        BadRequest: it has no such stage.
    """
    if not target:
        return containerfile, ""
    parsed = parse(containerfile)
    stage = parsed.target_stage(target)
    if stage is None:
        raise BadRequest(f"target {target[:100]!r} is no stage of containerFile")
    later = parsed.stages[stage.index + 1 :]
    if not later:
        return containerfile, ""
    lines = containerfile.split("\n")
    return "\n".join(lines[: later[0].line - 1]), "\n".join(lines[later[0].line - 1 :])


def _end_instruction(containerfile: str) -> str:
    """Remove the line continuation at the end of *containerfile*: the added lines must be instructions of their own."""
    lines = containerfile.split("\n")
    last = next((index for index in reversed(range(len(lines))) if not _is_empty(lines[index])), None)
    if last is None or not lines[last].rstrip().endswith("\\"):
        return containerfile
    return "\n".join((*lines[:last], lines[last].rstrip().rstrip("\\"), *lines[last + 1 :])).rstrip("\n")


def _is_empty(line: str) -> bool:
    """Whether *line* is blank or a comment."""
    return not line.strip() or line.lstrip().startswith("#")


def mark_for_sif(containerfile: str) -> str:
    """Return the Dockerfile *containerfile* with a comment: the SIF file and the image need different ids and tags.

    With one tag, a request for one of them would be answered with the other.
    """
    return join_lines(containerfile, _SIF_MARK)


def _config_lines(config: ContainerConfig, entrypoint: tuple[str, ...] | None, sif: bool) -> Iterator[str]:
    if chain := entry_chain(entrypoint, ChainStyle.WORDS):
        yield _environment(chain, sif)
    yield from _definition_lines(config) if sif else _dockerfile_lines(config)


def _dockerfile_lines(config: ContainerConfig) -> Iterator[str]:
    for layer in config.layers or ():
        yield f"ADD {_file_name(layer)}.tar.gz /"
    if config.working_dir:
        yield f"WORKDIR {quote_value('workingDir', config.working_dir)}"
    if config.env:
        yield _environment(config.env, sif=False)
    if config.entrypoint:
        yield f"ENTRYPOINT {json.dumps(config.entrypoint)}"
    if config.cmd:
        yield f"CMD {json.dumps(config.cmd)}"


def _definition_lines(config: ContainerConfig) -> Iterator[str]:
    """The lines for a definition file, which has no working directory and no CMD."""
    if config.layers:
        yield "%files"
    for layer in config.layers or ():
        yield f"    {CONTEXT}/{_file_name(layer)}/* /"
    if config.env:
        yield _environment(config.env, sif=True)
    if config.entrypoint:
        command = quote_words(*(one_line("entrypoint", word) for word in config.entrypoint))
        yield f'%runscript\n    exec {command} "$@"'


def _environment(entries: list[str] | tuple[str, ...], sif: bool) -> str:
    """One instruction that sets the variables *entries*, `NAME=value`."""
    pairs = [_pair(entry) for entry in entries]
    if sif:
        return "%environment\n    export " + " ".join(f"{name}={quote(value)}" for name, value in pairs)
    return "ENV " + " ".join(f"{name}={quote_value(name, value)}" for name, value in pairs)


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    if not _NAME.fullmatch(name):
        raise BadRequest(f"containerConfig.env has {name[:80]!r}, which freeze cannot set: expected letters, digits, _")
    return name, one_line(name, value)


def _file_name(layer: ContainerLayer) -> str:
    return f"layer-{hex_of(Digest(layer.gzip_digest or ''))}"
