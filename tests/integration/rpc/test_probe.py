"""The health check of a container asks the service in it."""

import asyncio
import os
import sys

import pytest

from swell.rpc.server import answering
from swell.serve import Address
from swell_embedded.ports import Ports

TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def where() -> Address:
    return Address("127.0.0.1", Ports.free().metrics)


async def probe(*arguments: str, listen: str = "") -> tuple[int, str]:
    """The exit code of the probe, and what it printed to stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "swell.rpc.probe", *arguments),
        env=os.environ | {"SWELL_LISTEN": listen},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, errors.decode()


async def test_a_serving_service_is_healthy(where: Address) -> None:
    """It needs no token, and finds the port where the service does."""
    async with answering(where, token=TOKEN):
        assert await probe(listen=f"0.0.0.0:{where.port}") == (0, "")
        assert await probe(str(where.port)) == (0, "")


async def test_a_service_that_is_not_there_is_not_healthy(where: Address) -> None:
    """Compose starts the proxy only after its services."""
    code, errors = await probe(str(where.port))

    assert code == 1
    assert f"port {where.port} is not serving" in errors


@pytest.mark.parametrize("listen", ["", "metrics", "0.0.0.0:http"])
async def test_a_probe_without_a_port_says_how_to_use_it(listen: str) -> None:
    """A mistake in a compose file must not look like a service that is down."""
    code, errors = await probe(listen=listen)

    assert code == 1
    assert errors.startswith("usage:")
