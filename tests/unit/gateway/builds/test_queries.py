"""Queries: what a client reads while it waits for a build."""

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest

from gateway.builds.first_status import FirstStatus
from gateway.builds.queries import BuildQueries
from gateway.domain.grant import Grant
from swell.errors import NotFound
from swell.store.attestations import Attestation
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import Signing, SigningState, Submission
from tests.unit.gateway.doubles import NOON, KnownEnds, MemoryGrants, MemoryImages, ended, scan_status

BUILD = "bd-c44968632f89dd6c_1"


class MemoryLogs:
    def __init__(self) -> None:
        self.whole: dict[str, list[bytes]] = {}
        self.lines: dict[str, list[bytes]] = {}

    async def complete(self, build_id: str) -> AsyncIterator[bytes] | None:
        return _each(self.whole[build_id]) if build_id in self.whole else None

    async def lock(self, build_id: str) -> AsyncIterator[bytes] | None:
        return None

    async def attestation(self, build_id: str, kind: Attestation) -> bytes | None:
        return b'{"kind": "%s"}' % kind.encode() if kind is not Attestation.SBOM else None

    def so_far(self, build_id: str) -> AsyncIterator[bytes]:
        return _each(self.lines.get(build_id, []))


async def _each(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.fixture
def logs() -> MemoryLogs:
    return MemoryLogs()


@pytest.fixture
async def queries(grants: MemoryGrants, images: MemoryImages, builds: MemoryBuilds, logs: MemoryLogs) -> BuildQueries:
    """A build that runs, and the request that started it."""
    submission = Submission(
        container_id="c44968632f89dd6c",
        target_image="registry.example.com/team/builds:c44968632f89dd6c",
        containerfile="FROM alpine:3.20\nRUN apk add jq\n",
        platform="linux/amd64",
        created=NOON,
    )
    await builds.submit(submission)
    await builds.release(submission.client, 1)
    await builds.begin(BUILD)
    await grants.put(_grant("b7e20c5519fa", BUILD))
    return BuildQueries(
        grants, images, builds, logs, "https://wave.example.org", FirstStatus(grants, KnownEnds()), scan_status()
    )


def _grant(token: str, build_id: str | None) -> Grant:
    return Grant(
        token=token,
        image="registry.example.com/team/builds:c44968632f89dd6c",
        platform="linux/amd64",
        created=NOON,
        expires=NOON + timedelta(hours=36),
        build_id=build_id,
    )


async def test_a_request_is_building_and_then_done(queries: BuildQueries, builds: MemoryBuilds) -> None:
    """E11, the first two answers, byte by byte: clients want the Z and the decimal point."""
    before = msgspec.json.encode(await queries.container_status("b7e20c5519fa"))
    await builds.finish(BUILD, ended(succeeded=True))
    after = msgspec.json.encode(await queries.container_status("b7e20c5519fa"))

    start = '{"id":"b7e20c5519fa","status":"%s","creationTime":"2026-11-23T12:00:00Z","buildId":"%s"'
    assert before.decode() == start % ("BUILDING", BUILD) + "}"
    assert after.decode() == start % ("DONE", BUILD) + ',"succeeded":true,"duration":41.25}'


async def test_a_failed_request_says_why_and_where_to_look(queries: BuildQueries, builds: MemoryBuilds) -> None:
    """Clients print the reason and the URL of the log."""
    await builds.finish(BUILD, ended(succeeded=False, message="The step 'RUN false' ended with exit status 1."))

    status = await queries.container_status("b7e20c5519fa")

    assert (status.status, status.succeeded) == ("DONE", False)
    assert status.reason and "'RUN false' ended with exit status 1" in status.reason
    assert status.details_uri == f"https://wave.example.org/view/builds/{BUILD}"


async def test_a_plain_image_is_done_at_once(queries: BuildQueries, grants: MemoryGrants) -> None:
    """Without a build there is nothing to wait for."""
    await grants.put(_grant("3f9c0a71d2be", None))

    status = await queries.container_status("3f9c0a71d2be")

    assert (status.status, status.succeeded, status.duration) == ("DONE", True, 0.0)


async def test_a_record_grows_when_its_build_ends(queries: BuildQueries, builds: MemoryBuilds) -> None:
    """E15. The record does not contain the user or the address of the request."""
    before = msgspec.to_builtins(await queries.build_record(BUILD))
    await builds.finish(BUILD, ended(succeeded=True))
    after = msgspec.to_builtins(await queries.build_record(BUILD))

    assert before["dockerFile"] == "FROM alpine:3.20\nRUN apk add jq\n"
    assert after == before | {"duration": 41.25, "exitStatus": 0}
    assert not {"userName", "userEmail", "requestIp"} & after.keys()


async def test_a_signature_that_fails_is_in_the_record(queries: BuildQueries, builds: MemoryBuilds) -> None:
    """And the route of a missing statement says whether another attempt follows."""
    await builds.finish(BUILD, ended(succeeded=True))
    failed = Signing(state=SigningState.RETRYING, attempts=3, time=NOON, reason="the registry is full")
    await builds.put_signing(BUILD, failed)

    record = msgspec.to_builtins(await queries.build_record(BUILD))
    assert record["signature"] | {"time": ""} == {
        "status": "RETRYING",
        "attempts": 3,
        "time": "",
        "reason": "the registry is full",
    }
    with pytest.raises(NotFound, match="attempt 3 .* another one follows: the registry is full"):
        await queries.attestation(BUILD, Attestation.SBOM)

    await builds.put_signing(BUILD, Signing(state=SigningState.GIVEN_UP, attempts=9, time=NOON, reason="it is gone"))
    with pytest.raises(NotFound, match="was not signed: it is gone"):
        await queries.attestation(BUILD, Attestation.SBOM)


@pytest.mark.parametrize("scheme", ["oras://", ""])
async def test_builds_of_sif_files_are_listed_by_their_names(
    queries: BuildQueries, builds: MemoryBuilds, scheme: str
) -> None:
    """As the answer to the request has it, and as registries do."""
    name = "registry.example.com/team/sifs:07efaa2ed59c58a1"
    wanted = Submission(
        container_id="07efaa2ed59c58a1",
        target_image=f"oras://{name}",
        containerfile="FROM alpine:3.20\n",
        platform="linux/amd64",
        created=NOON,
        sif=True,
    )
    build_id, _ = await builds.submit(wanted)

    page = await queries.list_builds(f"{scheme}{name}", None, None)

    assert [each.build_id for each in page.builds] == [build_id]


async def test_a_builds_status_is_pending_until_it_ends(queries: BuildQueries, builds: MemoryBuilds) -> None:
    """Clients poll for these two values."""
    before = await queries.build_status(BUILD)
    await builds.finish(BUILD, ended(succeeded=False))
    after = await queries.build_status(BUILD)

    assert (before.status, before.succeeded, before.duration) == ("PENDING", None, None)
    assert (after.status, after.succeeded, after.duration) == ("COMPLETED", False, 41.25)


async def test_a_log_is_partial_first_and_whole_at_the_end(
    queries: BuildQueries, builds: MemoryBuilds, logs: MemoryLogs
) -> None:
    """A running build has its lines in the stream, an ended one in the store."""
    logs.lines[BUILD] = [b"STEP 1\n"]
    partial = [piece async for piece in await queries.build_log(BUILD)]
    await builds.finish(BUILD, ended(succeeded=True))
    logs.whole[BUILD] = [b"STEP 1\n", b"done\n"]
    whole = [piece async for piece in await queries.build_log(BUILD)]

    assert (partial, whole) == ([b"STEP 1\n"], [b"STEP 1\n", b"done\n"])


@pytest.mark.parametrize("method", ["build_record", "build_status", "build_log"])
async def test_an_unknown_build_is_not_found(queries: BuildQueries, method: str) -> None:
    """All queries about a build agree."""
    with pytest.raises(NotFound, match="bd-0_1"):
        await getattr(queries, method)("bd-0_1")


async def test_an_unknown_request_is_not_found(queries: BuildQueries) -> None:
    """An expired token has no status."""
    with pytest.raises(NotFound):
        await queries.container_status("ffffffffffff")


async def test_statements_about_a_build_are_read_from_the_store(queries: BuildQueries) -> None:
    """A build that is not signed, or has no lock file, has none of the kind; the message says when it gets one."""
    assert await queries.attestation(BUILD, Attestation.SIGNATURE) == {"kind": "signature"}
    with pytest.raises(NotFound, match="if the operator has images signed"):
        await queries.attestation(BUILD, Attestation.SBOM)
    with pytest.raises(NotFound, match="no build"):
        await queries.attestation("bd-unknown_1", Attestation.SIGNATURE)
