"""Back up a stack, destroy it, and restore it into empty backends: old names can be pulled, old builds read."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from swell.jobs import streams
from swell_embedded.ports import Ports
from swell_embedded.stack import Stack, open_stack
from tests.e2e.client import Swell, client_of
from tests.e2e.engines import run
from tests.e2e.environment import of_this_machine
from tests.e2e.raw import ask
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams


async def backup(stack: Stack, *arguments: str, expected: int = 0) -> str:
    """Run `python -m swell.backup` with the environment of *stack*; return its output."""
    environment = of_this_machine() | stack.env
    ran = await run(sys.executable, "-m", "swell.backup", *arguments, environment=environment)
    assert ran.status == expected, ran.output
    return ran.output


@pytest.mark.full
async def test_a_restored_stack_serves_old_names(new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path) -> None:
    """Also after the loss of all disks. A backup goes into empty backends only, unless that is asked for."""
    ports, folder = Ports.free(), str(tmp_path / "backup")
    async with new_stack(tmp_path / "old", ports) as stack, client_of(stack.url) as swell:
        built = await swell.build(f"FROM {upstreams.image()}\nENV BACKUP=yes\nRUN echo written > /file\n")
        manifest = await manifest_of(swell, built)
        log = await ask(swell, "GET", f"/v1alpha1/builds/{built['buildId']}/logs")
        async with streams.connect(stack.env["SWELL_NATS_URL"], "test") as nats:
            events = (await nats.stream.stream_info("EVENTS")).state
        output = await backup(stack, "create", folder)
        assert "the backup" in output and "1 images" in output
        await backup(stack, "create", folder, expected=1)  # a backup never changes another one
    assert (log.status, b"written" in log.body or b"BACKUP" in log.body) == (200, True)

    async with open_stack(tmp_path / "new", ports, services=(), environment=of_this_machine()) as backends:
        await backup(backends, "restore", folder, "--keep-tokens")
    async with new_stack(tmp_path / "new", ports) as stack, client_of(stack.url) as swell:
        assert await manifest_of(swell, built) == manifest
        assert (await ask(swell, "GET", f"/v1alpha1/builds/{built['buildId']}/logs")).body == log.body
        status = await ask(swell, "GET", f"/v1alpha1/builds/{built['buildId']}/status")
        assert (status.json["status"], status.json["succeeded"]) == ("COMPLETED", True)
        async with streams.connect(stack.env["SWELL_NATS_URL"], "test") as nats:
            restored = (await nats.stream.stream_info("EVENTS")).state
        assert restored.first_seq == events.first_seq and restored.last_seq >= events.last_seq
        again = await swell.build(f"FROM {upstreams.image()}\nENV BACKUP=yes\nRUN echo written > /file\n")
        assert again["buildId"] == built["buildId"]  # it is known, so nothing is built
        await swell.build(f"FROM {upstreams.image()}\nENV BACKUP=new\n")  # and the queue works

        output = await backup(stack, "restore", folder, expected=1)
        assert "Redis" in output and "--overwrite" in output
        output = await backup(stack, "restore", folder, "--overwrite")
        assert "not restored, because they may have been revoked" in output
        assert await manifest_of(swell, built) == manifest


async def manifest_of(swell: Swell, built: Mapping[str, str]) -> bytes:
    name, _, tag = built["targetImage"].partition("/")[2].rpartition(":")
    answer = await ask(swell, "GET", f"/v2/{name}/manifests/{tag}")
    assert answer.status == 200, answer.body
    return answer.body
