"""Control groups of version 2, which current distributions have instead of version 1.

Their controllers for memory and processes cannot be tried on a machine that uses them in version 1, so these tests are
about the groups themselves. The limits were tried in a kernel of their own (docs/decisions/0038).
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GROUP = "swell-test-of-version-2"

SCRIPT = f"""
import asyncio, os, sys
from pathlib import Path
from swell_sandbox import Mount, Sandbox
from swell_sandbox.cgroups import is_version_2

outer = Path("/sys/fs/cgroup/{GROUP}")
look = "stat -f -c %T /sys/fs/cgroup; echo 0 > /run/steps/0; cat /proc/self/cgroup"

async def main(directory):
    assert is_version_2()
    for group in (outer, outer / "daemon", outer / "steps"):
        group.mkdir()
    for file in (outer / "cgroup.procs", outer / "steps/cgroup.procs"):
        os.chown(file, 524288, 524288)
    try:
        sandbox = Sandbox(
            directory=Path(directory),
            user_id=524288,
            cgroups=(outer / "daemon",),
            mounts=(Mount(outer / "steps/cgroup.procs", "/run/steps/0", writable=True),),
            has_cgroup_namespace=False,
        )
        sandbox.prepare()

        async def write(line):
            print(line.decode())

        await sandbox.run(("sh", "-c", look), on_line=write)
    finally:
        for group in (outer / "daemon", outer / "steps", outer):
            group.rmdir()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def output(tmp_path: Path) -> list[str]:
    """What a process of a sandbox writes that is in a nested group, on a machine with version 2 alone."""
    mount = 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
    command = ("unshare", "--mount", "--", "sh", "-ec", mount, "sh", sys.executable, "-c", SCRIPT, tmp_path)
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    shutil.rmtree(tmp_path / "root", ignore_errors=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_a_nested_group_is_seen_as_version_2(output: list[str]) -> None:
    """runc looks at the type of /sys/fs/cgroup; with another one, it searches groups of version 1, and fails."""
    assert output[0] == "cgroup2fs"


def test_steps_leave_the_group_of_their_daemon(output: list[str]) -> None:
    """Otherwise a step that starts too many processes takes those of the daemon, which reports it."""
    assert output[-1].endswith(f"/{GROUP}/steps")
