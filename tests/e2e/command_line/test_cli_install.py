"""The wheels of the command line work in an environment of their own."""

import sys
from pathlib import Path

import pytest

from tests.e2e.engines import run, succeed
from tests.e2e.examples import ROOT

SERVER_ONLY = {"grpcio", "litestar", "nats-py", "uvloop", "redis", "minio", "granian", "structlog", "aiohttp"}


@pytest.mark.full  # it downloads about twenty packages
async def test_wheels_are_installed_without_a_server(tmp_path: Path) -> None:
    """As pipx and uv do: nothing of the services comes with them, and all commands start."""
    wheel = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path / "dist"))
    await succeed(sys.executable, *wheel, *(str(ROOT / "libs" / name) for name in ("swell", "client", "cli", "wave")))
    await succeed(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    programs = tmp_path / "venv/bin"
    await succeed(str(programs / "pip"), "install", "-q", "--find-links", str(tmp_path / "dist"), "swell-wave")

    listed = await succeed(str(programs / "pip"), "list", "--format=freeze")
    names = {line.partition("==")[0].lower() for line in listed.splitlines()}
    assert {"swell", "swell-client", "swell-cli", "swell-wave"} <= names
    assert names & SERVER_ONLY == set()
    assert "Commands:" in await succeed(str(programs / "swell"), "--help")
    assert (await succeed(str(programs / "wave"), "-V")).startswith("1.8.2_")
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\n")
    named = await run(str(programs / "swell"), "name", "--repository", "registry.test/x", "-f", str(file))
    assert (named.status, named.output[:16]) == (0, "registry.test/x:")
