"""Whether building a container file runs anything."""

import re

_FROM = re.compile(r"^[ \t]*FROM[ \t]+(--platform=)?", re.IGNORECASE)
_RUN = re.compile(r"^[ \t]*RUN[ \t]", re.IGNORECASE)


def runs_steps(containerfile: str) -> bool:
    """Whether a stage of the target's platform has steps: a stage whose FROM names another may cross-compile."""
    elsewhere = False
    for line in containerfile.splitlines():
        if begins := _FROM.match(line):
            elsewhere = begins[1] is not None
        elif _RUN.match(line) and not elsewhere:
            return True
    return False
