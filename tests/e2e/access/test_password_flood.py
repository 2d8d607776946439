"""Wrong passwords from many addresses at once: those who know theirs still get in."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from swell_embedded.stack import Stack
from tests.e2e.environment import gateway_beside
from tests.e2e.upstreams import running

ADDRESSES = 24  # with eight, the queue was full
AT_ONCE = 8  # requests of each address
ROUTE = "/v1alpha2/operator/workers"


@pytest.mark.full
async def test_guesses_from_many_addresses_lock_no_operator_out(stack: Stack, tmp_path: Path) -> None:
    """The first login comes from a new address, through the same queue; later ones need no check."""
    accounts = tmp_path / "accounts"
    accounts.write_bytes(b"anna:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(7)) + b"\n")
    url, program = gateway_beside(stack, "flooded", ACCOUNTS_FILE=str(accounts))
    statuses, is_full, stopped = Counter[int](), asyncio.Event(), asyncio.Event()

    async def guess(session: aiohttp.ClientSession, name: int) -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            login = aiohttp.encode_basic_auth("anna", f"{name}-{number}")
            async with session.get(url + ROUTE, headers={"Authorization": login}) as response:
                statuses[response.status] += 1
            if statuses[429] > 50:
                is_full.set()
            await asyncio.sleep(0.2)  # a bounded load: the queue stays full

    async def log_in(session: aiohttp.ClientSession) -> int:
        login = aiohttp.encode_basic_auth("anna", "secret")
        async with session.get(url + ROUTE, headers={"Authorization": login}) as response:
            return response.status

    async with AsyncExitStack() as opened:
        await opened.enter_async_context(running(program, tmp_path))
        operator, *others = [
            await opened.enter_async_context(from_address(f"127.0.0.{number + 1}")) for number in range(ADDRESSES + 1)
        ]
        async with asyncio.timeout(300), asyncio.TaskGroup() as tasks:
            for number, session in enumerate(others):
                for each in range(AT_ONCE):
                    tasks.create_task(guess(session, number * AT_ONCE + each))
            try:
                await is_full.wait()
                logins = [await log_in(operator) for _ in range(5)]
            finally:
                stopped.set()

    assert logins == [200] * 5
    assert set(statuses) == {401, 429}


def from_address(address: str) -> aiohttp.ClientSession:
    """A client at *address* of loopback."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, local_addr=(address, 0)))
