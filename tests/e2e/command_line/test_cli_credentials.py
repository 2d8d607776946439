"""`swell credentials` with the running stack, on a terminal and in a pipe."""

import asyncio
import json
import os
import sys
from base64 import b64decode
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from swell_client import AsyncClient, RequestFailed
from swell_embedded.stack import Stack
from tests.e2e.client import PLAIN
from tests.e2e.terminal import Terminal
from tests.e2e.upstreams import Upstreams

COMMAND = (sys.executable, "-m", "swell_cli", "credentials")
Run = Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]


@pytest.fixture
def environment(stack: Stack, tmp_path: Path) -> dict[str, str]:
    named = {"SWELL_URL": stack.url, "SWELL_TOKEN": PLAIN, "XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm"}
    return dict(os.environ) | named


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    """Run `swell credentials` with words and a text on stdin; returns the exit code, stdout and stderr."""

    async def go(*words: str, text: str = "") -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *words, stdin=-1, stdout=-1, stderr=-1, env=environment
        )
        async with asyncio.timeout(120):
            out, err = await process.communicate(text.encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    return go


@pytest.fixture
def login(upstreams: Upstreams) -> tuple[str, str]:
    """The user name and the password of the private registry."""
    entry = json.loads(upstreams.auth_file.read_text())["auths"][upstreams.basic]["auth"]
    user, _, password = b64decode(entry).decode().partition(":")
    return user, password


async def test_a_credential_is_stored_listed_and_deleted(
    run: Run, upstreams: Upstreams, login: tuple[str, str]
) -> None:
    """The registry has to accept it; the password is in no output."""
    path, (user, password) = f"{upstreams.basic}/of-the-cli", login

    wrong = await run("put", path, "--user-name", user, "-", text="wrong\n")
    stored = await run("put", path, "--user-name", user, "-", "-o", "json", text=f"{password}\n")
    listed = await run("list", "-o", "json")
    table = await run("list")
    deleted = await run("delete", path)
    again = await run("delete", path)

    assert (wrong[0], stored[0], listed[0], deleted[0], again[0]) == (3, 0, 0, 0, 3), stored[2]
    assert "does not accept" in wrong[2]
    mine = [each for each in json.loads(listed[1]) if each["registry"] == path]
    assert [each["userName"] for each in mine] == [user]
    assert path in table[1]
    assert not any(password in text for ran in (stored, listed, table, deleted) for text in ran[1:])
    assert path not in (await run("list", "-o", "name"))[1]


async def test_a_terminal_asks_for_the_password(
    environment: dict[str, str], run: Run, upstreams: Upstreams, login: tuple[str, str]
) -> None:
    """It is not echoed. As an argument, it is refused, and not repeated in the message."""
    path, (user, password) = f"{upstreams.basic}/of-the-terminal", login
    async with Terminal((*COMMAND, "put", path, "--user-name", user), environment) as terminal:
        await terminal.shows("Password:")
        terminal.press(f"{password}\n")
        assert await terminal.ended() == 0, terminal.text
        assert f"stored {user} for {path}" in terminal.text
        assert password not in terminal.text
    assert (await run("delete", path))[0] == 0

    code, out, err = await run("put", path, password, "--user-name", user)

    assert code == 2
    assert password not in out + err


async def test_the_client_stores_and_deletes_a_credential(
    stack: Stack, upstreams: Upstreams, login: tuple[str, str]
) -> None:
    """The methods of Python do the same; the vaults of others are refused."""
    path = f"{upstreams.basic}/of-the-client"
    async with AsyncClient(stack.url, token=PLAIN) as client:
        stored = await client.store_credential(path, *login)
        assert stored in await client.credentials()
        await client.delete_credential(path)
        assert stored not in await client.credentials()
        with pytest.raises(RequestFailed) as refused:
            await client.credentials(user="another")
    assert (refused.value.status, refused.value.details.code) == (403, "SCOPE_REQUIRED")
