"""Whether a required scan allows an image. A scan that knows nothing allows nothing."""

from collections.abc import Collection

from msgspec import Struct

from swell.api.containers import Severity
from swell.store.scans import ScanResult, SeverityLevel


class Verdict(Struct, frozen=True):
    """Whether the image is allowed; `reason` is empty if nothing was found."""

    is_allowed: bool
    reason: str = ""


def judge(result: ScanResult, tolerated: Collection[str]) -> Verdict:
    """Judge *result*; *tolerated* are the severities that the client allows.

    An unknown severity may be any of them: it is allowed only if all are. An image in which no packages were found is
    not allowed, because nothing could be matched.
    """
    if result.problem is not None:
        return Verdict(False, f"The scan of the image did not succeed: {result.message}")
    if not result.packages:
        return Verdict(False, result.message or "No packages were found, so nothing is known about vulnerabilities.")
    if not result.counts:
        return Verdict(True)
    allowed = set(tolerated)
    if allowed >= {level.value for level in Severity}:
        allowed.add(SeverityLevel.UNKNOWN.value)
    listed = [level.value for level in SeverityLevel if level.value in result.counts]
    if refused := [level for level in listed if level not in allowed]:
        return Verdict(False, f"The scan found severities that are not allowed: {', '.join(refused)}")
    return Verdict(True, f"The scan found only severities that are allowed: {', '.join(listed)}")
