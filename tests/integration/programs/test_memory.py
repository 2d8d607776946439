"""Memory that a process has freed is returned to the system."""

import subprocess
import sys

_PROGRAM = """
from swell.memory import return_freed

def private() -> int:
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))

blocks = [bytes(2000) for _ in range(25_000)]  # in the C library's heap; pages below the last block are not returned
last = blocks[-1]
full = private()
del blocks
return_freed()
print(full - private())
"""


def test_freed_memory_below_used_memory_is_returned() -> None:
    """50 MB of small blocks are freed, and the last one stays."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > 40_000
