"""Apptainer's definition files, translated into a Dockerfile for the engine and the remaining parts of the SIF file.

Source: Apptainer User Guide, "Definition Files", https://apptainer.org/docs/user/main/definition_files.html
"""

import json
import re
import shlex
from collections.abc import Iterator

from msgspec import Struct

from swell.errors import BadRequest
from swell.jobs.messages import POST_FILE, Definition
from swell.oci.reference import parse_reference
from swell.recipes.lines import CONTEXT, join_lines

_BOOTSTRAP_LINE = re.compile(r"^(?:[ \t]*(?:#.*)?\n)*[ \t]*bootstrap[ \t]*:", re.IGNORECASE)
_SECTION = re.compile(r"[ \t]*%([A-Za-z]\S*)[ \t]*(.*)")
_HEADER = re.compile(r"[ \t]*(\w+)[ \t]*:[ \t]*(.*)")
_BLANKS = " \t"
_LAYER = re.compile(r"(layer-[0-9a-f]{64})/\*")
_SPECIAL = re.compile(r"[$\\\n\r\0]|^<<")

_SECTIONS = frozenset({"environment", "files", "help", "labels", "post", "runscript", "startscript"})
_POST_ENVIRONMENT = "/.singularity.d/env/91-environment.sh"


class Translation(Struct, frozen=True):
    """A Dockerfile for the engine, and the other parts of the SIF file."""

    containerfile: str
    definition: Definition


def is_definition(text: str) -> bool:
    """Whether *text* is a definition file and not a Dockerfile: it begins with `Bootstrap:`."""
    return _BOOTSTRAP_LINE.match(text) is not None


def translate(text: str) -> Translation:
    """Translate *text*, a definition file or a Dockerfile, for the build of a SIF file.

    Raises:
        BadRequest: the definition file has something that is not supported; the message names it.
    """
    if not is_definition(text):
        return Translation(text, Definition(text=text))
    header, sections = _read(text)
    containerfile = join_lines(f"FROM {_base(header)}", *_steps(sections))
    definition = Definition(
        text=text,
        post=_post(sections),
        environment="".join(sections.get("environment", ())),
        runscript=sections.get("runscript", [""])[-1],  # the last one counts: freeze adds its own
        startscript=sections.get("startscript", [""])[-1],
        help="".join(sections.get("help", ())),
        labels=dict(_labels("".join(sections.get("labels", ())))),
    )
    return Translation(containerfile, definition)


def definition_base(text: str) -> str | None:
    """The base image of the definition file *text*; None if its bootstrap agent is not `docker`."""
    fields = [match for line in text.split("\n") if (match := _HEADER.match(line.rstrip("\r")))]
    header = {match[1].lower(): match[2].rstrip(_BLANKS) for match in reversed(fields)}
    return header.get("from") if header.get("bootstrap", "").lower() == "docker" else None


def _read(text: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The fields of the header, and the bodies of each section in their order."""
    header: dict[str, str] = {}
    sections: dict[str, list[list[str]]] = {}
    body: list[str] | None = None
    for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n"):
        if match := _SECTION.match(line):
            body = []
            sections.setdefault(_section(match[1], match[2].rstrip(_BLANKS)), []).append(body)
        elif (field := _HEADER.match(line)) and (body is None or field[1].lower() == "bootstrap"):
            if field[1].lower() in header:
                raise BadRequest("containerFile has several stages; a SIF file can have only one")
            header[field[1].lower()] = field[2].rstrip(_BLANKS)
        elif body is not None:
            body.append(f"{line}\n")
        elif line.strip() and not line.strip().startswith("#"):
            raise BadRequest(f"containerFile has {line.strip()[:80]!r} in its header; expected 'Keyword: value'")
    return header, {name: ["".join(lines) for lines in bodies] for name, bodies in sections.items()}


def _section(name: str, arguments: str) -> str:
    if name.lower() not in _SECTIONS:
        known = ", ".join(f"%{section}" for section in sorted(_SECTIONS))
        raise BadRequest(f"containerFile has a section %{name[:40]}, which is not supported; supported are {known}")
    if arguments and not arguments.startswith("#"):
        raise BadRequest(f"containerFile has '%{name} {arguments[:80]}': arguments of sections are not supported")
    return name.lower()


def _base(header: dict[str, str]) -> str:
    if (agent := header.pop("bootstrap")).lower() != "docker":
        raise BadRequest(f"containerFile begins with 'Bootstrap: {agent[:40]}'; only 'docker' is supported")
    image = header.pop("from", "")
    if header:
        raise BadRequest(f"containerFile has '{next(iter(header))}' in its header; supported are Bootstrap and From")
    if not image:
        raise BadRequest("containerFile needs 'From: IMAGE' in its header")
    return str(parse_reference(image))


def _steps(sections: dict[str, list[str]]) -> Iterator[str]:
    """The instructions as root in `/`: all files are copied before the first command runs, as Apptainer does."""
    if "files" in sections or "post" in sections:
        yield "USER 0"
        yield "WORKDIR /"
    for line in "".join(sections.get("files", ())).splitlines():
        if words := _words(line):
            yield _copy(*words)
    if "post" in sections:
        shell = json.dumps(["/bin/sh", "-e", f"/{POST_FILE}"])
        yield f"RUN --mount=type=bind,source={POST_FILE},target=/{POST_FILE} {shell}"


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise BadRequest(f"containerFile has {line.strip()[:80]!r} in %files: {error}") from error
    if len(words) > 2 or any(_SPECIAL.search(word) for word in words):
        raise BadRequest(
            f"containerFile has {line.strip()[:80]!r} in %files; expected SOURCE [DESTINATION], plain names"
        )
    return words


def _copy(source: str, target: str | None = None) -> str:
    """The instruction for a line of %files. A target that ends in a slash is a directory: the file keeps its name."""
    name = source.removeprefix(CONTEXT).lstrip("/") if source.startswith(f"{CONTEXT}/") else source
    if name.startswith("/") or ".." in name.split("/"):
        raise BadRequest(f"containerFile copies {source[:80]!r} in %files, which is not in the build context")
    if (layer := _LAYER.fullmatch(name)) and target == "/":
        return f"ADD {layer[1]}.tar.gz /"
    target = target or f"/{name}"
    last = name.rstrip("/").rpartition("/")[2]
    if target.endswith("/") and not re.search(r"[*?\[]", name) and last not in {"", "."}:
        target += last
    return f"COPY {json.dumps([name or '.', target])}"


def _post(sections: dict[str, list[str]]) -> str:
    """The script of %post. It may add variables to the environment of the image, as with Apptainer."""
    names = (f"export {name}_ENVIRONMENT={_POST_ENVIRONMENT}" for name in ("APPTAINER", "SINGULARITY"))
    return join_lines("mkdir -p /.singularity.d/env", *names) + "".join(sections["post"]) if "post" in sections else ""


def _labels(body: str) -> Iterator[tuple[str, str]]:
    for line in body.splitlines():
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            text = value.strip()
            yield name, text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
