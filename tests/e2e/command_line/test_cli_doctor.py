"""`swell doctor` and `swell keys` with the running stack, and with servers that are wrong."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from aiohttp import web

from swell_embedded.stack import Stack
from tests.e2e.client import PLAIN


async def swell_of(url: str, home: Path, *words: str, **variables: str) -> tuple[int, str, str]:
    """Run `swell` with words, and return its exit code, stdout and stderr."""
    named = {"SWELL_URL": url, "XDG_CONFIG_HOME": str(home), "SWELL_TOKEN": "", "TOWER_ACCESS_TOKEN": ""}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "swell_cli",
        *words,
        stdin=-3,
        stdout=-1,
        stderr=-1,
        env=dict(os.environ) | named | variables,
    )
    async with asyncio.timeout(200):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def found(out: str) -> dict[str, dict[str, str]]:
    return {each["check"]: each for each in json.loads(out)}


async def test_a_working_server_passes_with_a_build_and_a_pull(stack: Stack, tmp_path: Path) -> None:
    """The bytes come from the data port. Engines of this machine may fail their own check."""
    code, out, err = await swell_of(stack.url, tmp_path, "doctor", "-o", "json", SWELL_TOKEN=PLAIN, PATH="/nowhere")
    findings = found(out)

    assert code == 0, out + err
    for name in ("server", "version", "clock", "tls", "health", "key", "build", "pull", "data"):
        assert findings[name]["state"] == "ok", findings[name]
    assert findings["engine"]["state"] == "warning"


async def test_each_line_says_what_to_do(stack: Stack, tmp_path: Path) -> None:
    """A wrong key, and no server at all."""
    code, out, _ = await swell_of(stack.url, tmp_path, "doctor", "--no-build", SWELL_TOKEN="wrong", PATH="/nowhere")
    assert code == 1
    key = out.splitlines().index(next(line for line in out.splitlines() if "✗ key" in line))
    assert "swell login" in out.splitlines()[key + 1]

    code, out, _ = await swell_of("http://localhost:1", tmp_path, "doctor", "-o", "json", PATH="/nowhere")
    assert code == 1
    assert found(out)["server"]["state"] == "failed"
    assert "SWELL_URL" in found(out)["server"]["next"]
    assert found(out)["build"]["state"] == "skipped"


@pytest.mark.parametrize(
    ("headers", "status", "check", "text"),
    [
        ({"Location": "https://elsewhere.test/service-info"}, 308, "server", "elsewhere.test"),
        ({"Date": "Mon, 01 Jan 2024 00:00:00 GMT"}, 200, "clock", "Synchronize"),
    ],
)
async def test_a_wrong_server_is_described(
    tmp_path: Path, headers: dict[str, str], status: int, check: str, text: str
) -> None:
    """A redirect, as from http to https, and another time."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"serviceInfo": {"version": "1.37.0"}}, status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        code, out, _ = await swell_of(f"http://{host}:{port}", tmp_path, "doctor", "--no-build", "-o", "json")
    finally:
        await runner.cleanup()

    assert text in found(out)[check]["next"], out
    assert found(out)[check]["state"] == ("failed" if check == "server" else "warning")
    assert code in (0, 1)


async def test_keys_are_created_listed_and_revoked(stack: Stack, tmp_path: Path) -> None:
    """A new key works at once, with fewer rights; a revoked one is refused."""
    _, key, err = await swell_of(
        stack.url, tmp_path, "keys", "create", "--name", "ci", "--days", "1", SWELL_TOKEN=PLAIN
    )
    assert key.strip(), err
    _, listed, _ = await swell_of(stack.url, tmp_path, "keys", "list", "-o", "json", SWELL_TOKEN=PLAIN)
    mine = next(each for each in json.loads(listed) if each["name"] == "ci")
    working, _, _ = await swell_of(stack.url, tmp_path, "build", "-p", "a", "--dry-run", SWELL_TOKEN=key.strip())
    revoked, _, _ = await swell_of(stack.url, tmp_path, "keys", "revoke", mine["id"], SWELL_TOKEN=PLAIN)
    refused, _, _ = await swell_of(stack.url, tmp_path, "build", "-p", "b", "--dry-run", SWELL_TOKEN=key.strip())

    assert (working, revoked, refused) == (0, 0, 3)
    assert "key" not in mine
