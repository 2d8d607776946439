"""The commands of docs/cli.md work as the page shows them."""

import os
import shlex
import sys
from pathlib import Path

from tests.e2e.client import Swell
from tests.e2e.engines import run
from tests.e2e.examples import ROOT, commands
from tests.e2e.upstreams import Upstreams

PAGES = ("docs/cli.md",)


async def test_the_commands_succeed_in_their_order(swell: Swell, upstreams: Upstreams, tmp_path: Path) -> None:
    """A newcomer copies them in a folder with a Dockerfile."""
    (tmp_path / "Dockerfile").write_text(f"FROM {upstreams.image()} AS runtime\nARG VERSION=1\nRUN echo $VERSION\n")
    environment = dict(os.environ) | {"SWELL_URL": swell.url, "XDG_CONFIG_HOME": str(tmp_path), "SWELL_TOKEN": ""}
    shown = [command for page in PAGES for command in commands(ROOT / page)]
    assert len(shown) > 4
    for command in shown:
        local = command.replace("localhost:9500/library/busybox", upstreams.image())
        line = f'cd {shlex.quote(str(tmp_path))}; swell() {{ {sys.executable} -m swell_cli "$@"; }}; {local}'
        ran = await run("bash", "-c", line, environment=environment)
        assert ran.status == 0, f"{command}\n{ran.output}"
