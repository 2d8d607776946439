"""Which frontend and which options a build may choose.

Privileges (`RUN --security=insecure`, `--network=host`, devices) need entitlements, and no daemon grants any.
Source: https://github.com/moby/buildkit/blob/v0.34.2/frontend/dockerfile/docs/reference.md
"""

import re
from collections.abc import Mapping

from builder.domain.failure import BuildFailure
from swell.api.containers import BuildOptions
from swell.containerfile import find_target, parse
from swell.errors import BadRequest
from swell.oci.platform import parse_platform
from swell.store.records import Reason

ALLOWED_OPTIONS = frozenset(
    {
        "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
        "BUILDKIT_DOCKERFILE_CHECK",
        "BUILDKIT_SANDBOX_HOSTNAME",
        "BUILDKIT_MULTI_PLATFORM",
    }
)
"""Build arguments named BUILDKIT_* that change nothing but the build itself. `BUILDKIT_SYNTAX` would choose another
frontend, `BUILDKIT_CACHE_MOUNT_NS` another build's cache mounts."""

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*)")
_OTHER_DIRECTIVE = re.compile(r"//\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*)")
_BUILT_IN = re.compile(r"^(docker\.io/)?docker/dockerfile(-upstream)?(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$")


def syntax_of(containerfile: str) -> str | None:
    """The image that a `# syntax=` line names as frontend: in the first lines, before anything else.

    A byte order mark and a `#!` line may stand before it, comments may start with `//`, and a JSON document may have
    the field `syntax`. Source: `DetectSyntax`,
    https://github.com/moby/buildkit/blob/v0.34.2/frontend/dockerfile/parser/directives.go
    """
    text = containerfile.removeprefix("\ufeff")
    lines = text.splitlines()
    if lines and lines[0].startswith("#!"):
        lines = lines[1:]
    for pattern in (_DIRECTIVE, _OTHER_DIRECTIVE):
        for line in lines:
            found = pattern.match(line)
            if found is None:
                break
            if found[1].lower() == "syntax":
                return found[2].rstrip()
    return None


def check(containerfile: str, build_args: Mapping[str, str]) -> list[str]:
    """Refuse what no build may have; return remarks for the log.

    Raises:
        BuildFailure: the container file or *build_args* ask for it.
    """
    remarks = list[str]()
    syntax = syntax_of(containerfile)
    if syntax is not None:
        frontend = syntax.split()[0] if syntax.split() else ""
        if not _BUILT_IN.match(frontend):
            raise _refused(
                f"The syntax line names '{frontend[:200]}': only docker/dockerfile frontends are allowed here."
            )
        remarks.append(f"(the syntax line names {frontend}; the frontend that is built into BuildKit is used)")
    for name in build_args:
        if name.upper().startswith("BUILDKIT_") and name not in ALLOWED_OPTIONS:
            raise _refused(f"The build argument {name[:200]} is not allowed here.")
    return remarks


def target_of(containerfile: str, options: BuildOptions, platform: str) -> str:
    """Return the name of the stage that *options* select; empty for the last one. BuildKit accepts no numbers.

    Raises:
        BuildFailure: a number selects a stage without a name, which BuildKit cannot build.
    """
    if not options.target.isdecimal():
        return options.target
    try:
        stages = parse(containerfile).stages_for(options.arguments, parse_platform(platform))
    except BadRequest:
        return options.target  # BuildKit reports it
    stage = find_target(stages, options.target)
    if stage is None or stage.index == len(stages) - 1:
        return "" if stage else options.target
    if stage.name is None:
        raise _refused(f"The target {options.target} is a stage without a name: write FROM … AS name, and that name.")
    return stage.name


def _refused(message: str) -> BuildFailure:
    return BuildFailure(Reason.RECIPE, message)
