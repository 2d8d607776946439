"""Every background task has an owner that awaits it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
CONCURRENCY = ROOT / "libs/swell/swell/concurrency"
_BARE = re.compile(r"\basyncio\.(create_task|ensure_future)\(")


def test_tasks_are_started_by_their_owners() -> None:
    """A task without an owner is lost at shutdown, its error is not seen, and it may be garbage-collected.

    `TaskGroup` and `swell.concurrency` are owners. Other code names its reason: `# no group: ...`.
    """
    paths = [path for folder in ("libs", "services") for path in (ROOT / folder).rglob("*.py")]
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in paths
        if not path.is_relative_to(CONCURRENCY)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if _BARE.search(line) and "# no group: " not in line
    ]

    assert bare == []
