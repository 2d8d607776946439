"""The operator port over real HTTP: metrics, liveness and readiness of one process."""

import asyncio
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from registry_proxy.adapters.image_cache import STALE
from swell.errors import Unavailable
from swell.observe.operator_port import CONNECTIONS, operator_port
from swell_embedded.ports import Ports


@pytest.fixture
def listen() -> str:
    return f"127.0.0.1:{Ports.free().operator}"


async def get(listen: str, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{listen}{path}") as response:
        return response.status, await response.text()


async def test_prometheus_reads_the_metrics_there(listen: str) -> None:
    """The port is closed with the service; other paths are not found."""
    async with operator_port("test", listen):
        STALE.labels("tag").inc()
        async with asyncio.timeout(30):
            while "swell_event_loop_lag_seconds_count 0.0" in (await get(listen, "/metrics"))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        status, text = await get(listen, "/metrics")
        missing, _ = await get(listen, "/metrics/other")
    assert status == 200 and missing == 404
    assert 'swell_stale_served_total{what="tag"}' in text
    assert 'swell_service_info{service="test"' in text and "swell_event_loop_lag_seconds_count" in text

    with pytest.raises(aiohttp.ClientConnectorError):
        await get(listen, "/metrics")


async def test_readiness_is_that_of_the_service(listen: str) -> None:
    """A service that starts is alive and not ready; later its own check decides, with the reason."""
    reason = "the state store does not answer"

    async def ready() -> Mapping[str, Any]:
        if reason:
            raise Unavailable(reason)
        return {"status": "UP"}

    async with operator_port("test", listen) as port:
        assert await get(listen, "/live") == (200, '{"status":"UP"}')
        assert await get(listen, "/ready") == (503, '{"status":"DOWN","reason":"the service starts"}')

        port.ready = ready
        assert await get(listen, "/ready") == (503, f'{{"status":"DOWN","reason":"{reason}"}}')

        reason = ""
        assert await get(listen, "/ready") == (200, '{"status":"UP"}')


async def test_a_taken_port_does_not_stop_the_service(listen: str) -> None:
    """Pulls are more important than metrics; the log says what is missing."""
    async with operator_port("first", listen), operator_port("second", listen):
        assert 'service="first"' in (await get(listen, "/metrics"))[1]


async def test_it_can_be_switched_off() -> None:
    """`off` opens no port, and the readiness of the service can still be set."""
    async with operator_port("test", "off") as port:
        assert port.readiness is not None


async def test_silent_clients_do_not_block_it(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that send nothing are closed after some seconds, and then probes are answered again."""
    monkeypatch.setattr("swell.observe.operator_port._Handler.timeout", 0.5)
    host, _, port = listen.partition(":")
    async with operator_port("test", listen):
        silent = [socket.create_connection((host, int(port))) for _ in range(CONNECTIONS)]
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    assert (await get(listen, "/live"))[0] == 200
                    break
                except aiohttp.ClientError:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.2)
        finally:
            for each in silent:
                each.close()


async def test_a_client_that_sends_slowly_is_disconnected(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, so only the limit for the whole request ends it."""
    monkeypatch.setattr("swell.observe.operator_port.CONNECTION_SECONDS", 0.5)
    host, _, port = listen.partition(":")

    def until_disconnected() -> bool:
        with socket.create_connection((host, int(port))) as client:
            client.settimeout(0.05)
            for _ in range(600):
                try:
                    client.sendall(b"x")
                    if not client.recv(1):
                        return True
                except TimeoutError:
                    continue
                except ConnectionError:
                    return True
        return False

    async with operator_port("test", listen):
        assert await asyncio.to_thread(until_disconnected)


async def test_a_blocked_event_loop_is_not_alive(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart helps such a process, so the probe of an orchestrator has to notice it."""
    monkeypatch.setattr("swell.observe.operator_port.ANSWER_SECONDS", -0.9)
    host, _, port = listen.partition(":")
    async with operator_port("test", listen):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET /live HTTP/1.0\r\n\r\n")
            client.settimeout(30)
            answer = client.recv(100)  # it blocks this event loop
    assert b" 503 " in answer


async def test_the_probe_of_compose_distinguishes_ready_services(listen: str) -> None:
    """It runs in each container of a service; its message, the reason, is in `docker inspect`."""
    services = yaml.safe_load(Path("docker-compose.yml").read_text())["services"]
    _, _, _, *command, script = services["gateway"]["healthcheck"]["test"]
    script = script.replace("9190", listen.rpartition(":")[2]).replace("$$", "$")

    async def probed() -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(*command, script, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        return process.returncode or 0, output

    async def ready() -> Mapping[str, Any]:
        return {"status": "UP"}

    async def not_ready() -> Mapping[str, Any]:
        raise Unavailable("steps cannot run")

    async with operator_port("test", listen) as port:
        port.ready = not_ready
        status, message = await probed()
        assert status == 1 and b"steps cannot run" in message
        port.ready = ready
        assert (await probed())[0] == 0
    assert (await probed())[0] == 1
