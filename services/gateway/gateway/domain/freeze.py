"""Freezing: a container config becomes part of the image, as the last lines of a container file.

Source: Wave's public API, "freeze". The values are those that adding the config at the pull would give, to the letter.
"""

import json
import re
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from gateway.domain.templates.parts import CONTEXT, lines, quoted, words
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import BadRequest
from swell.oci.digest import Digest, hex_of

_MARK = "# the lines below were added by freeze"
_SIF_MARK = "# a SIF file is made of this"

_BY_LINE = re.IGNORECASE | re.MULTILINE
_COMMENT = re.compile(r"^[ \t]*#.*(?:\n|\Z)", _BY_LINE)
_CONTINUED = re.compile(r"\\[ \t]*\r?\n")
_INSTRUCTION = re.compile(r"^[ \t]*(ARG|BOOTSTRAP|ENTRYPOINT|FROM)(?:[ \t]*:[ \t]*|[ \t]+)(.*)$", _BY_LINE)
_FROM = re.compile(r"(?:--platform=\S+[ \t]+)?(\S+)(?:[ \t]+AS[ \t]+(\S+))?", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\})")
_OTHER_ESCAPE = re.compile(r"^[ \t]*#[ \t]*escape[ \t]*=[ \t]*`", _BY_LINE)
_LONGEST_FROM = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Stage(Struct):
    """`image` is None where only the builder knows it."""

    image: str | None
    parent: "_Stage | None" = None
    entrypoint: tuple[str, ...] | None = None


def entrypoint_of(containerfile: str) -> tuple[str, ...] | None:
    """The entrypoint that *containerfile* sets itself, in its last stage or in one that this begins from.

    None: the base image's stays. Empty: it is taken away. The shell form is cut at blanks.
    """
    return next((stage.entrypoint for stage in _lineage(containerfile) if stage.entrypoint is not None), None)


def base_image_of(containerfile: str) -> str | None:
    """The image that the last stage begins from; None for `scratch` and where only the builder can tell."""
    root = next((stage for stage in _lineage(containerfile) if stage.parent is None), None)
    return root.image if root else None


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
    if _OTHER_ESCAPE.search(containerfile):
        raise BadRequest("freeze cannot add to a container file that chooses another escape character; use \\")
    return lines(containerfile if sif else _ended(containerfile), _MARK, *_added(config, entrypoint, sif))


def _ended(containerfile: str) -> str:
    """*containerfile*, whose last instruction goes on no further: what comes behind would be taken for a part of it."""
    texts = containerfile.splitlines(keepends=True)
    last = next((at for at in reversed(range(len(texts))) if texts[at].strip() and not _COMMENT.match(texts[at])), 0)
    if not containerfile or not texts[last].rstrip().endswith("\\"):
        return containerfile
    return "".join((*texts[:last], texts[last].rstrip()[:-1], "\n", *texts[last + 1 :])).rstrip("\n")


def for_sif(containerfile: str) -> str:
    """The Dockerfile *containerfile* for a SIF file: another text, so another id and tag, than for an image.

    Under one tag whoever asks for the second of them would be given the first.
    """
    return lines(containerfile, _SIF_MARK)


def _added(config: ContainerConfig, entrypoint: tuple[str, ...] | None, sif: bool) -> Iterator[str]:
    if entrypoint:
        # What starts the image may begin this chain; its words are cut at blanks there, so nothing is quoted.
        chain = " ".join(entrypoint)
        yield _environment([f"WAVE_ENTRY_CHAIN={chain}"], sif)
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


def _lineage(containerfile: str) -> Iterator[_Stage]:
    """The last stage, the stage that it begins from, and so on to the one that begins from an image."""
    stage = _last_stage(containerfile)
    while stage:
        yield stage
        stage = stage.parent


def _last_stage(containerfile: str) -> _Stage | None:
    text = _CONTINUED.sub(" ", _COMMENT.sub("", containerfile))
    stages: dict[str, _Stage] = {}
    variables: dict[str, str] = {}
    last, pulled = None, True
    for word, rest in _INSTRUCTION.findall(text):
        value = rest.strip()
        match word.upper():
            case "ARG" if last is None:
                name, _, default = value.partition("=")
                variables[name] = default.strip("\"'")
            case "BOOTSTRAP":
                pulled = value.lower() == "docker"
            case "FROM":
                last = _stage(value if pulled else "", variables, stages)
            case "ENTRYPOINT" if last:
                last.entrypoint = _read_entrypoint(value)
    return last


def _stage(value: str, variables: dict[str, str], stages: dict[str, _Stage]) -> _Stage:
    found = _FROM.fullmatch(value) if len(value) <= _LONGEST_FROM else None
    image = _filled(found[1], variables) if found else None
    if not found or not image:
        return _Stage(None)
    stage = _Stage(None if image.lower() == "scratch" else image, stages.get(image.lower()))
    if name := found[2]:
        stages[name.lower()] = stage
    return stage


def _filled(text: str, variables: dict[str, str]) -> str | None:
    """*text* with the values of *variables*; None when it has one that is not known here."""
    values = [variables.get(name or braced) or default for name, braced, default in _VARIABLE.findall(text)]
    return _VARIABLE.sub(lambda _: values.pop(0), text) if all(values) else None


def _read_entrypoint(value: str) -> tuple[str, ...]:
    try:
        return msgspec.json.decode(value, type=tuple[str, ...])
    except msgspec.MsgspecError:
        return tuple(value.split())
