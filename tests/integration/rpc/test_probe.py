"""The health check of a container asks the service in it."""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from swell.concurrency.drain import Drain
from swell.errors import Unavailable
from swell.observe.health import Check, Health
from swell.rpc.channel import connect
from swell.rpc.server import answering
from swell.rpc.settings import RpcSettings
from swell.serve import Address
from swell_embedded.ports import Ports
from tests.certificates import Certificates

TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def where() -> Address:
    return Address("127.0.0.1", Ports.free().metrics)


async def probe(*arguments: str, listen: str = "", **variables: str) -> tuple[int, str]:
    """The exit code of the probe, and what it printed to stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "swell.rpc.probe", *arguments),
        env=os.environ | {"SWELL_LISTEN": listen} | variables,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, errors.decode()


async def test_a_serving_service_is_healthy(where: Address) -> None:
    """It needs no token, and finds the port where the service does."""
    async with answering(where, settings=RpcSettings(token=TOKEN)):
        assert await probe(listen=f"0.0.0.0:{where.port}") == (0, "")
        assert await probe(str(where.port)) == (0, "")


async def test_the_probe_uses_the_certificate_of_the_service(where: Address, tmp_path: Path) -> None:
    """A port that answers callers with a certificate only."""
    certificates = Certificates(tmp_path)
    certificate, key = certificates.server
    files = {"CA_FILE": certificates.ca_file, "CERTIFICATE_FILE": certificate, "CERTIFICATE_KEY_FILE": key}
    settings = RpcSettings(**{name.lower(): path for name, path in files.items()})  # type: ignore[arg-type]
    variables = {f"SWELL_RPC_{name}": str(path) for name, path in files.items()}
    async with answering(where, settings=settings):
        assert await probe(str(where.port), **variables) == (0, "")
        assert (await probe(str(where.port)))[0] == 1


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


async def fail() -> None:
    raise Unavailable("the state store does not answer")


@pytest.fixture
def failing() -> Health:
    return Health({"usage": [Check("the state store", fail)]})


async def test_a_service_without_anything_useful_is_not_ready_and_says_why(where: Address, failing: Health) -> None:
    """The platform shows the output of the probe; the process itself lives."""
    async with answering(where, health=failing):
        code, errors = await probe(str(where.port))
        assert code == 1
        assert "is not ready" in errors
        assert await probe(str(where.port), "--liveness") == (0, "")


async def test_a_part_that_works_is_ready(where: Address) -> None:
    """What does not work is printed."""
    health = Health({"usage": [Check("the state store", fail)], "blobs": []})
    async with answering(where, health=health):
        assert await probe(str(where.port)) == (0, "")


async def test_a_watcher_gets_each_change(where: Address) -> None:
    """Clients that watch health learn that a replica stops before its connections end."""
    drain = Drain(timedelta(seconds=30))
    serving = answering(where, health=Health({"usage": []}, drain=drain), drain=drain)
    async with serving, connect(f"{where.host}:{where.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch  # type: ignore[attr-defined]  # missing in its stubs
        statuses = watch(health_pb2.HealthCheckRequest(), timeout=60)
        first = (await statuses.read()).status
        drain.start()
        second = (await statuses.read()).status

    status = health_pb2.HealthCheckResponse
    assert (first, second) == (status.SERVING, status.NOT_SERVING)


async def test_only_readiness_and_liveness_have_a_status(where: Address) -> None:
    """An unknown name is an error of the caller, as the protocol says."""
    async with answering(where), connect(f"{where.host}:{where.port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in its stubs
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(health_pb2.HealthCheckRequest(service="nothing"), timeout=30)

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
