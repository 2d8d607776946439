"""The files that Apptainer and Singularity need in an image that was converted from an OCI image.

Sources: Apptainer's user guide, "Environment and Metadata",
https://apptainer.org/docs/user/main/environment_and_metadata.html, and "Support for Docker and OCI Containers",
https://apptainer.org/docs/user/main/docker_and_oci.html; OCI image-spec, "OCI Image Configuration",
https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md

The scripts are for any POSIX shell, and for the shell that is built into Apptainer.
"""

import json
import re
import shlex
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from swell.jobs.messages import Definition

_HOME = ".singularity.d"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

LINKS = {
    ".exec": f"{_HOME}/actions/exec",
    ".run": f"{_HOME}/actions/run",
    ".shell": f"{_HOME}/actions/shell",
    ".test": f"{_HOME}/actions/test",
    "environment": f"{_HOME}/env/90-environment.sh",
    "singularity": f"{_HOME}/runscript",
}
"""Symbolic links in the root of the image: name to target."""

DIRECTORIES = {
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o755,
    "root": 0o750,
    "sys": 0o755,
    "tmp": 0o1777,
    "var": 0o755,
    "var/tmp": 0o1777,
}
"""Mount points with their modes, created if the image does not have them."""

MOUNT_FILES = ("etc/hosts", "etc/resolv.conf")
"""Files that are mount points, created empty if the image does not have them."""


class RunFields(Struct, frozen=True):
    """The run-time fields of an OCI config; Go writes empty lists as null."""

    env: tuple[str, ...] | None = msgspec.field(default=None, name="Env")
    entrypoint: tuple[str, ...] | None = msgspec.field(default=None, name="Entrypoint")
    cmd: tuple[str, ...] | None = msgspec.field(default=None, name="Cmd")
    labels: dict[str, str] | None = msgspec.field(default=None, name="Labels")


def files_of(run: RunFields, definition: Definition | None, architecture: str) -> dict[str, str]:
    """Return the files below `/.singularity.d`: path to content; all but `PLAIN` are executable."""
    texts = definition or Definition()
    return {
        f"{_HOME}/Singularity": texts.text,
        f"{_HOME}/labels.json": _labels(run, texts, architecture),
        f"{_HOME}/runscript": _script(texts.runscript) if texts.runscript else _runscript(run),
        f"{_HOME}/startscript": _script(texts.startscript),
        f"{_HOME}/env/01-base.sh": "#!/bin/sh\n",
        f"{_HOME}/env/10-docker2singularity.sh": _image_environment(run.env or ()),
        f"{_HOME}/env/90-environment.sh": f"#!/bin/sh\n{texts.environment}",
        f"{_HOME}/env/99-base.sh": _BASE,
        **({f"{_HOME}/runscript.help": texts.help} if texts.help else {}),
        **{f"{_HOME}/actions/{name}": f"{_ENTER}{then}" for name, then in _ACTIONS.items()},
    }


PLAIN = frozenset({f"{_HOME}/Singularity", f"{_HOME}/labels.json", f"{_HOME}/runscript.help"})
"""The files that are not executable."""

_ENTER = f"""\
#!/bin/sh
for script in /{_HOME}/env/*.sh; do
    if [ -f "$script" ]; then . "$script"; fi
done
"""
_ACTIONS = {
    "exec": 'exec "$@"\n',
    "run": f'exec /{_HOME}/runscript "$@"\n',
    "shell": 'exec /bin/sh "$@"\n',
    "start": f'exec /{_HOME}/startscript "$@"\n',
    "test": f'if [ -x /{_HOME}/test ]; then exec /{_HOME}/test "$@"; fi\n',
}

# Where Apptainer puts the libraries of graphics cards.
_BASE = f"""\
#!/bin/sh
LD_LIBRARY_PATH="${{LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}}/{_HOME}/libs"
PS1="Singularity> "
export LD_LIBRARY_PATH PS1
"""


def _image_environment(entries: tuple[str, ...]) -> str:
    """Return a script that sets the image's variables. The caller's values have priority, except PATH."""
    lines = ["#!/bin/sh"]
    for entry in entries:
        name, _, value = entry.partition("=")
        if not _NAME.fullmatch(name):
            continue
        condition = "" if name == "PATH" else f'[ -n "${{{name}:-}}" ] || '
        lines += [f"{condition}{name}={shlex.quote(value)}", f"export {name}"]
    return "".join(f"{line}\n" for line in lines)


def _runscript(run: RunFields) -> str:
    """Return the default run script: arguments replace the image's command and follow its entrypoint."""
    command = run.cmd or (() if run.entrypoint else ("/bin/sh",))
    default = f'[ "$#" -gt 0 ] || set -- {shlex.join(command)}\n' if command else ""
    words = f"{shlex.join(run.entrypoint)} " if run.entrypoint else ""
    return f'#!/bin/sh\n{default}exec {words}"$@"\n'


def _script(body: str) -> str:
    return body if body.startswith("#!") else f"#!/bin/sh\n{body}"


def _labels(run: RunFields, definition: Definition, architecture: str) -> str:
    made: Mapping[str, str] = {
        **(run.labels or {}),
        **definition.labels,
        "org.label-schema.build-arch": architecture,
        "org.label-schema.schema-version": "1.0",
    }
    return json.dumps(made, indent=2, sort_keys=True) + "\n"
