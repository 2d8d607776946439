"""What the kernel says about processes: who descends from whom, who is still there, who listens where."""

import asyncio
from pathlib import Path

LOOPBACK = "0100007F"  # 127.0.0.1 as /proc/net/tcp writes it


def parents() -> dict[int, int]:
    """Every living process with its parent; zombies are dead."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(stat.parent.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    """The children of *pid*, their children, and so on."""
    every = parents()
    found: set[int] = set()
    while more := {child for child, parent in every.items() if parent in found | {pid}} - found:
        found |= more
    return found


async def gone(pids: set[int], seconds: float = 30) -> set[int]:
    """Those of *pids* that are still alive when all ended or *seconds* are over."""
    deadline = asyncio.get_running_loop().time() + seconds
    while (left := pids & parents().keys()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - no child of ours
        await asyncio.sleep(0.05)
    return left


def listening(pids: set[int]) -> set[tuple[str, int]]:
    """The (hex address, port) pairs on which *pids* accept TCP connections."""
    sockets = {str(fd.readlink()) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()[1:]]
    found = {row[1].rpartition(":") for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}
    return {(address, int(port, 16)) for address, _, port in found}
