"""Pulls of images that a required scan does not allow are refused."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from gateway.domain.grant import Grant
from gateway.scans.gate import ScanGate
from swell.api.containers import ScanMode
from swell.errors import ScanDenied, Unavailable
from swell.jobs.messages import ScanDone
from swell.store.scans import (
    ScanSubmission,
)
from swell.store.scans.memory import MemoryScans
from tests.unit.gateway.doubles import (
    NOON,
)
from tests.unit.gateway.scans.examples import (
    GOOD,
    IMAGE,
    OLD,
    finish,
    stored_scan,
)


def gated(scan_id: str | None, *levels: str, mode: ScanMode = ScanMode.REQUIRED) -> Grant:
    return Grant(
        token="a" * 26,
        image=IMAGE,
        platform="linux/amd64",
        created=NOON,
        expires=NOON + timedelta(hours=1),
        scan_id=scan_id,
        scan_mode=mode,
        scan_levels=levels,
    )


async def test_the_gate_refuses_what_a_required_scan_does_not_allow(scans: MemoryScans) -> None:
    """The error has the counts and the address; tolerated severities and scans that are not required pass."""
    scan_id = await stored_scan(scans, GOOD)
    gate = ScanGate(scans, "https://wave.example.org", timedelta(seconds=5))

    with pytest.raises(ScanDenied) as denied:
        await gate.check(gated(scan_id, "LOW"))

    assert (denied.value.code, denied.value.status) == ("DENIED", 403)
    assert "2 HIGH, 7 LOW" in str(denied.value)
    assert f"https://wave.example.org/v1alpha1/scans/{scan_id}" in str(denied.value)
    await gate.check(gated(scan_id, "LOW", "HIGH"))
    await gate.check(gated(scan_id, mode=ScanMode.ASYNC))
    await gate.check(gated(None))


async def test_the_gate_fails_closed(scans: MemoryScans) -> None:
    """A failed scan, and one whose record has expired, allow nothing."""
    gate = ScanGate(scans, "https://wave.example.org", timedelta(seconds=5))
    for scan_id, reason in ((await stored_scan(scans, OLD), "9 days old"), ("sc-0_1", "expired")):
        with pytest.raises(ScanDenied, match=reason):
            await gate.check(gated(scan_id, "LOW", "MEDIUM", "HIGH", "CRITICAL"))


async def test_a_pull_waits_for_its_scan(scans: MemoryScans) -> None:
    """The end of the scan wakes it; after the limit, the client tries again."""
    scan_id = await stored_scan(scans, None)
    gate = ScanGate(scans, "https://wave.example.org", timedelta(minutes=1))
    pulls = [asyncio.create_task(gate.check(gated(scan_id, "LOW", "HIGH"))) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(pull.done() for pull in pulls)

    await finish(scans, scan_id, GOOD)
    gate.on_scan_done(done_event(scan_id))
    await asyncio.gather(*pulls)

    hurried = ScanGate(scans, "https://wave.example.org", timedelta(0))
    other, _ = await scans.request("0" * 16, ScanSubmission(key="other", image="x", created=NOON), "client")
    with pytest.raises(Unavailable, match="still running"):
        await hurried.check(gated(other))


async def test_a_newer_database_closes_the_gate(scans: MemoryScans) -> None:
    """An allowed scan is read again after a minute; until then no call is needed for a blob."""
    now = 0.0
    scan_id = await stored_scan(scans, replace(GOOD, counts={}))
    gate = ScanGate(scans, "https://wave.example.org", timedelta(seconds=5), lambda: now)
    await gate.check(gated(scan_id))
    scan = await scans.get(scan_id)
    assert scan
    await scans.replace(scan, GOOD)
    await gate.check(gated(scan_id))

    now = 61.0
    with pytest.raises(ScanDenied):
        await gate.check(gated(scan_id))


def done_event(scan_id: str) -> ScanDone:
    return ScanDone(id=scan_id, image="x", platform="linux/amd64", succeeded=True, finished=NOON)
