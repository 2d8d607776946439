"""Freezing: a container config becomes part of the image, as the last lines of a container file.

Source: Wave's public API, "freeze". The values are those that adding the config at the pull would give, to the letter.
"""

import json
import re
from collections.abc import Iterator, Mapping

from gateway.domain.definition import CONTEXT, base_of, is_definition, lines
from gateway.submit.recipes.shell import quoted, words
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.containerfile import parse, readings
from swell.errors import BadRequest
from swell.oci.digest import Digest, hex_of
from swell.oci.mutate import ChainStyle, entry_chain

_MARK = "# the lines below were added by freeze"
_SIF_MARK = "# a SIF file is made of this"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def entrypoint_of(containerfile: str) -> tuple[str, ...] | None:
    """The entrypoint that *containerfile* sets itself, in its last stage or in one that this begins from.

    None: the base image's stays. Empty: it is taken away. The shell form is cut at blanks.

    Raises:
        BadRequest: a FROM cannot be read.
    """
    if is_definition(containerfile):
        return None
    stages = parse(containerfile).stages
    at = len(stages) - 1 if stages else None
    while at is not None:
        stage = stages[at]
        own = [each for each in stage.instructions if each.name == "ENTRYPOINT"]
        if own:
            return own[-1].arguments if own[-1].arguments is not None else tuple(own[-1].value.split())
        at = stage.parent
    return None


def base_image_of(containerfile: str, arguments: Mapping[str, str] | None = None) -> str | None:
    """The image that the last stage begins from, with the build *arguments*.

    None for `scratch` and where only the builder can tell.

    Raises:
        BadRequest: a FROM cannot be read.
    """
    return base_of(containerfile) if is_definition(containerfile) else parse(containerfile).final_image(arguments)


def frozen_image(image: str, config: ContainerConfig, entrypoint: tuple[str, ...] | None, sif: bool) -> str:
    """A container file for *image*, a well-formed reference, with *config*; *entrypoint* is the image's own.

    Raises:
        BadRequest: a value cannot be written into a container file.
    """
    base = f"BootStrap: docker\nFrom: {image}" if sif else f"FROM {image}"
    return lines(_MARK, base, *_added(config, entrypoint, sif))


def frozen_file(containerfile: str, config: ContainerConfig, entrypoint: tuple[str, ...] | None, sif: bool) -> str:
    """*containerfile* with *config* at its end, or as it is when there is none; *entrypoint* is what it has so far.

    Raises:
        BadRequest: a value cannot be written into a container file.
    """
    if config.is_empty:
        return containerfile
    if not sif and any(each.escape != "\\" for each in readings(containerfile)):
        raise BadRequest("freeze cannot add to a container file that chooses another escape character; use \\")
    return lines(containerfile if sif else _ended(containerfile), _MARK, *_added(config, entrypoint, sif))


def _ended(containerfile: str) -> str:
    """*containerfile*, whose last instruction goes on no further: what comes behind would be taken for a part of it."""
    texts = containerfile.split("\n")
    last = next((at for at in reversed(range(len(texts))) if not _is_empty(texts[at])), None)
    if last is None or not texts[last].rstrip().endswith("\\"):
        return containerfile
    return "\n".join((*texts[:last], texts[last].rstrip().rstrip("\\"), *texts[last + 1 :])).rstrip("\n")


def _is_empty(line: str) -> bool:
    """Whether *line* says nothing: it is blank, or a comment."""
    return not line.strip() or line.lstrip().startswith("#")


def for_sif(containerfile: str) -> str:
    """The Dockerfile *containerfile* for a SIF file: another text, so another id and tag, than for an image.

    Under one tag whoever asks for the second of them would be given the first.
    """
    return lines(containerfile, _SIF_MARK)


def _added(config: ContainerConfig, entrypoint: tuple[str, ...] | None, sif: bool) -> Iterator[str]:
    if chain := entry_chain(entrypoint, ChainStyle.WORDS):
        yield _environment(chain, sif)
    yield from _singularity(config) if sif else _docker(config)


def _docker(config: ContainerConfig) -> Iterator[str]:
    for layer in config.layers or ():
        yield f"ADD {_file(layer)}.tar.gz /"
    if config.working_dir:
        yield f"WORKDIR {_docker_quoted('workingDir', config.working_dir)}"
    if config.env:
        yield _environment(config.env, sif=False)
    if config.entrypoint:
        yield f"ENTRYPOINT {json.dumps(config.entrypoint)}"
    if config.cmd:
        yield f"CMD {json.dumps(config.cmd)}"


def _singularity(config: ContainerConfig) -> Iterator[str]:
    """Apptainer knows no working directory and no CMD."""
    if config.layers:
        yield "%files"
    for layer in config.layers or ():
        yield f"    {CONTEXT}/{_file(layer)}/* /"
    if config.env:
        yield _environment(config.env, sif=True)
    if config.entrypoint:
        command = words(*(_one_line("entrypoint", word) for word in config.entrypoint))
        yield f'%runscript\n    exec {command} "$@"'


def _environment(entries: list[str] | tuple[str, ...], sif: bool) -> str:
    """One instruction that sets *entries*, `NAME=value`."""
    pairs = [_pair(entry) for entry in entries]
    if sif:
        return "%environment\n    export " + " ".join(f"{name}={quoted(value)}" for name, value in pairs)
    return "ENV " + " ".join(f"{name}={_docker_quoted(name, value)}" for name, value in pairs)


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    if not _NAME.fullmatch(name):
        raise BadRequest(f"containerConfig.env has {name[:80]!r}, which freeze cannot set: expected letters, digits, _")
    return name, _one_line(name, value)


def _docker_quoted(name: str, value: str) -> str:
    """*value* as one word of a Dockerfile, in which no variable is filled in."""
    return '"' + re.sub(r'(["\\$])', r"\\\1", _one_line(name, value)) + '"'


def _one_line(name: str, value: str) -> str:
    if re.search(r"[\n\r\0]", value):
        raise BadRequest(f"{name} has a line break, which freeze cannot keep")
    return value


def _file(layer: ContainerLayer) -> str:
    return f"layer-{hex_of(Digest(layer.gzip_digest or ''))}"
