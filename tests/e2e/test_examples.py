"""The shell commands of README.md and docs/using.md work as these pages show them."""

import json
import re
from pathlib import Path

import pytest

from tests.e2e.client import PLAIN, Swell
from tests.e2e.engines import run
from tests.e2e.examples import ROOT, commands
from tests.e2e.upstreams import Upstreams

PAGES = ("README.md", "docs/using.md")
PROGRAMS = ("curl", "docker", "file=")
"""What the examples may start; `make` commands are checked by their target."""


def here(command: str, swell: Swell, upstreams: Upstreams, folder: Path) -> str:
    """Return *command* with the addresses of this test, and with skopeo in the place of docker."""
    local = command.replace("localhost:9090", swell.url).replace("localhost:9500/library/busybox", upstreams.image())
    return re.sub(
        r'^docker pull "(.*)"$', rf'skopeo copy --src-tls-verify=false "docker://\1" "oci:{folder}:image"', local
    )


@pytest.mark.parametrize("page", PAGES)
async def test_the_commands_of_a_page_succeed_in_their_order(
    swell: Swell, upstreams: Upstreams, tmp_path: Path, page: str
) -> None:
    """A newcomer copies them in order. Members of a JSON response become shell variables, as the page says."""
    script = tmp_path / "state.sh"
    script.write_text(f"set -eu\nKEY={PLAIN}\n")
    answered = 0
    for command in commands(ROOT / page):
        if command.startswith("make "):
            continue
        assert command.startswith(PROGRAMS), f"add {command} to PROGRAMS, or do not show it"
        line = here(command, swell, upstreams, tmp_path / "layout")
        if command.startswith("file="):
            script.write_text(f"{script.read_text()}{line}\n")
            continue
        ran = await run("bash", "-c", f". {script}\n{line}")
        assert ran.status == 0, f"{line}\n{ran.output}"
        answered += 1
        if ran.output.startswith("{"):
            response = json.loads(ran.output)
            is_refused = "Not An Image" in command
            assert ("code" in response) is is_refused, f"{line}\n{ran.output}"
            names = [name for name in ("targetImage", "buildId", "requestId") if isinstance(response.get(name), str)]
            script.write_text(script.read_text() + "".join(f"{name}={response[name]}\n" for name in names))
    assert answered > 3
