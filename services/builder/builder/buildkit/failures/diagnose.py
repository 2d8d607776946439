"""Why a build failed, read from what buildctl wrote last."""

import re
from collections.abc import Iterable

from builder.domain.cause import shorten
from builder.domain.failure import BuildFailure, name_step
from swell.store.records import Reason
from swell_sandbox.sandbox import USER_IDS

_KILLED = 137

_ERROR = re.compile(r"^(?:error|ERROR): (?:failed to build: )?(?:failed to solve: )?(?P<why>.*)$")
_STEP = re.compile(
    r'process "(?P<step>.*?)" did not complete successfully: (?:exit code: (?P<status>\d+)|(?P<why>.*))$'
)
_BASE = re.compile(
    r"failed to resolve source metadata for (?P<image>\S+?):? |(?P<other>\S+): failed to copy|pull access denied"
    r"|failed to (?:do request|fetch (?:anonymous|oauth) token)|failed to authorize|insufficient_scope"
    r"|no match for platform in manifest"
)
_PUSH = re.compile(
    r"failed to push|error writing layer blob|failed to export image|server message: insufficient_scope.*push"
)
_ENTITLEMENT = re.compile(r"(?P<what>network\.host|security\.insecure|device)\b.* is not allowed")
_RECIPE = re.compile(
    r"dockerfile parse error|unknown instruction|failed to (?:compute cache key|calculate checksum|process|read)"
    r"|not found|the Dockerfile|target stage|no build stage|invalid|base name|unsupported|circular|missing|requires"
    r"|checksum|failed to load cache key|unexpected status|frontend|expected|cannot|digest mismatch|secret",
    re.IGNORECASE,
)
_LONGEST_ERROR = 16 << 10  # characters; an error may quote a whole instruction, and some patterns search it repeatedly
_LARGEST_ID = USER_IDS - 1
_USER = re.compile(r"#\d+ [\d.]+ runc run failed: .*unable to setup user: invalid argument")
_OWNER = re.compile(r"lchown (?P<mount>/tmp/work/run/containerd-mount\d+)?(?P<path>/.*?): invalid argument")
_ENTITLEMENTS = {
    "network.host": "RUN --network=host is not allowed here: steps have a network of their own.",
    "security.insecure": "RUN --security=insecure is not allowed here: steps have no privileges.",
    "device": "RUN --device is not allowed here: steps have no devices of the builder.",
}


def diagnose(
    status: int,
    tail: Iterable[bytes],
    *,
    killed: bool = False,
    refused_push: str = "",
    crashed: bool = False,
    output: str = "",
) -> BuildFailure:
    """What `buildctl build` failed of, from its exit *status* and its last lines.

    *killed*: the kernel ended a process of a step for using too much memory. *refused_push*: what the registry said
    when the image was pushed. *crashed*: buildkitd has ended. *output*: the last output of the step that failed.
    """
    lines = [line.decode(errors="replace") for line in tail]
    error = _last_error(lines)
    step = _STEP.search(error)
    if "no space left on device" in "\n".join(lines).lower():
        return BuildFailure(Reason.DISK, "The disk of the builder is full.", status)
    if killed:
        what = name_step(step["step"]) if step else "A process of the build"
        return BuildFailure(Reason.MEMORY, f"{what} was killed for using too much memory.", _KILLED)
    if crashed:
        return BuildFailure(Reason.ENGINE, "The engine failed: BuildKit ended in the middle of the build.", status)
    if entitlement := _ENTITLEMENT.search(error):
        return BuildFailure(Reason.RECIPE, _ENTITLEMENTS[entitlement["what"]], status)
    if "denied by policy" in error:
        message = f"A base image names an image that this build may not read: {shorten(error)}."
        return BuildFailure(Reason.RECIPE, message, status)
    if failure := _diagnose_owner(error, lines, status):
        return failure
    if step:
        return _diagnose_step(step, lines, output)
    if _PUSH.search(error):
        why = refused_push or shorten(error)
        return BuildFailure(Reason.PUSH, f"The registry refused the image: {why.rstrip('.')}.", status)
    if _BASE.search(error):
        return BuildFailure(Reason.BASE_IMAGE, f"A base image cannot be pulled: {shorten(error)}.", status)
    if _RECIPE.search(error):
        return BuildFailure(Reason.RECIPE, f"The container file does not work: {shorten(error)}.", status)
    return BuildFailure(Reason.ENGINE, f"The engine failed: {shorten(error) or f'exit status {status}'}.", status)


def _diagnose_step(step: re.Match[str], lines: list[str], output: str) -> BuildFailure:
    what = name_step(step["step"])
    if step["status"] is None:
        return BuildFailure(Reason.ENGINE, f"{what} could not be started by the engine: {shorten(step['why'])}.")
    status = int(step["status"])
    if any("exec format error" in line.lower() for line in lines):
        return BuildFailure(Reason.RECIPE, f"{what} is for a platform that this builder cannot run.", status)
    if status == _KILLED:
        return BuildFailure(Reason.MEMORY, f"{what} was killed, most likely for using too much memory.", status)
    return BuildFailure(Reason.RECIPE, f"{what} ended with exit status {status}.", status, output=output)


def _diagnose_owner(error: str, lines: list[str], status: int) -> BuildFailure | None:
    """The failure for an id that the user namespace of builds does not have; the kernel says "invalid argument"."""
    if any(_USER.match(line) for line in lines):
        message = f"The USER of a step, or its group, is above {_LARGEST_ID}, the largest id in builds."
        return BuildFailure(Reason.RECIPE, message, status)
    if owner := _OWNER.search(error):
        message = f"The owner of {shorten(owner['path'])} is above {_LARGEST_ID}, the largest id in builds."
        return BuildFailure(Reason.BASE_IMAGE if owner["mount"] else Reason.RECIPE, message, status)
    return None


def _last_error(lines: list[str]) -> str:
    """The last error, with the next line if it ends with a colon, as for an error of git."""
    for number in reversed(range(len(lines))):
        if found := _ERROR.match(lines[number]):
            why = found["why"][:_LONGEST_ERROR]
            return f"{why} {' '.join(lines[number + 1 : number + 2])}".rstrip() if why.endswith(":") else why
    return ""
