"""Control groups: one for each build, with a limit on its processes; version 1, version 2, and both at once.

The runtime makes the step's own group inside ours and removes it. Ours stays until `remove`, also after a kill.
"""

from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def make(name: str, pids: int) -> None:
    """Make the group */name* with room for *pids* processes and threads.

    Raises:
        OSError: this machine does not let us.
    """
    controller = _ROOT / "pids" if (_ROOT / "pids").is_dir() else _ROOT
    group = controller / name
    group.mkdir()
    (group / "pids.max").write_text(str(pids))


def remove(pattern: str) -> None:
    """Remove the groups whose names match *pattern*, in every hierarchy, as far as they have no processes."""
    for group in _groups(pattern):
        for directory in sorted([group, *group.glob("**/")], reverse=True):
            _remove_empty(directory)


def _groups(pattern: str) -> Iterator[Path]:
    yield from _ROOT.glob(pattern)
    yield from _ROOT.glob(f"*/{pattern}")


def _remove_empty(group: Path) -> None:
    try:
        group.rmdir()
    except OSError:
        return
