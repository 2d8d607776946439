"""Scans with the real syft and grype, from the request to the record, as a client sees them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bcrypt
import msgspec
import pytest

from swell.jobs import streams
from swell.jobs.messages import ScanAffected
from swell.testing import rootfs
from swell.testing.images import Layer
from swell.testing.vulnerabilities import Vulnerability, write_database
from swell_embedded.stack import Stack
from tests.e2e.busybox import push
from tests.e2e.client import Fields, Swell, client_of, until
from tests.e2e.command_line.test_cli_doctor import swell_of
from tests.e2e.engines import pull
from tests.e2e.environment import gateway_beside
from tests.e2e.raw import LOGIN, ask
from tests.e2e.stacks import VULNERABILITIES, OpenStack
from tests.e2e.upstreams import Upstreams, image_of, running

PACKAGES = {
    **rootfs.debian({"libdemo": "1.0-1", "tiny": "2.0"}),
    **rootfs.conda("opt/conda", "samtools", "1.17"),
}


@pytest.fixture
async def image(upstreams: Upstreams) -> str:
    """An image with packages, in a registry without password."""
    return await push(f"{upstreams.open}/acme/packages:1", Layer(*rootfs.layer_of(PACKAGES)))


async def ended(swell: Swell, scan_id: str) -> Fields:
    """Wait for the end of a scan and return its record."""

    async def look() -> Fields | None:
        _, record = await swell.get(f"/v1alpha1/scans/{scan_id}")
        return record if record["status"] != "PENDING" else None

    return await until(look, seconds=120)


async def done(swell: Swell, request_id: str) -> Fields:
    """Wait until the status of a request is DONE and return it."""

    async def look() -> Fields | None:
        _, status = await swell.get(f"/v1alpha2/container/{request_id}/status")
        return status if status["status"] == "DONE" else None

    return await until(look, seconds=120)


async def test_an_image_is_scanned(swell: Swell, image: str) -> None:
    """The record has the findings, and the SBOMs have each package."""
    answer = await swell.submit(containerImage=image, scanMode="async")
    assert (answer.get("succeeded"), answer.get("warnings")) == (None, None)

    record = await ended(swell, answer["scanId"])

    assert (record["status"], record["containerImage"]) == ("SUCCEEDED", image)
    assert (record["counts"], record["packages"]) == ({"HIGH": 1, "LOW": 1}, 3)
    found = record["vulnerabilities"][0]
    assert (found["id"], found["pkgName"], found["fixedVersion"]) == ("CVE-2026-0001", "libdemo", "1.1")
    path = f"/v1alpha1/scans/{answer['scanId']}"
    spdx, cyclonedx = [json.loads(await swell.bytes(f"{path}/{name}")) for name in ("spdx", "cyclonedx")]
    assert {"libdemo", "tiny", "samtools"} <= {package["name"] for package in spdx["packages"]}
    assert "pkg:conda/samtools@1.17" in json.dumps(cyclonedx)
    assert json.loads(await swell.bytes(f"{path}/report"))["descriptor"]["name"] == "grype"
    assert b"3 packages" in await swell.bytes(f"{path}/logs")


async def test_a_private_image_is_read_with_the_logins_of_its_request(swell: Swell, upstreams: Upstreams) -> None:
    """The scanner uses them by the rules of pulls: a registry that is not shared needs a scope."""
    image = image_of(upstreams.basic)
    answer = await swell.submit(containerImage=image, scanMode="async")

    record = await ended(swell, answer["scanId"])

    assert (record["status"], record["containerImage"]) == ("SUCCEEDED", image)


async def test_a_required_scan_decides(swell: Swell, image: str) -> None:
    """The status has the counts, the reason and the address of the record; tolerated levels are allowed."""
    strict = await swell.submit(containerImage=image, scanMode="required")
    tolerant = await swell.submit(containerImage=image, scanMode="required", scanLevels=["LOW", "HIGH"])
    assert strict["scanId"] == tolerant["scanId"]

    refused, allowed = await done(swell, strict["requestId"]), await done(swell, tolerant["requestId"])

    assert (refused["succeeded"], refused["vulnerabilities"]) == (False, {"HIGH": 1, "LOW": 1})
    assert "HIGH, LOW" in refused["reason"]
    assert allowed["succeeded"] is True
    status, _ = await swell.read(refused["detailsUri"].removeprefix(swell.url))
    assert status == 200


async def test_a_built_image_is_scanned_after_its_build(swell: Swell, image: str) -> None:
    """BUILDING, then SCANNING, then the result; the packages are those of the built image."""
    answer = await swell.build(f"FROM {image}\nENV BUILT=1\n", scanMode="required", scanLevels=["LOW", "HIGH"])

    status = await done(swell, answer["requestId"])

    assert (status["succeeded"], status["scanId"]) == (True, answer["scanId"])
    record = await ended(swell, answer["scanId"])
    assert (record["buildId"], record["packages"]) == (answer["buildId"], 3)
    _, built = await swell.get(f"/v1alpha1/builds/{answer['buildId']}")
    assert built["scanId"] == answer["scanId"] and record["platforms"][0]["digest"] == built["digest"]


async def test_a_sif_file_is_scanned(swell: Swell, upstreams: Upstreams, image: str) -> None:
    """A required scan of it decides, as of an image."""
    answer = await swell.build(
        f"FROM {image}\nENV BUILT=sif\n",
        format="sif",
        freeze=True,
        buildRepository=f"{upstreams.basic}/sif",
        scanMode="required",
        scanLevels=["LOW", "HIGH"],
    )

    status = await done(swell, answer["requestId"])

    record = await ended(swell, answer["scanId"])
    assert (record["status"], record["packages"], record["counts"]) == ("SUCCEEDED", 3, {"HIGH": 1, "LOW": 1})
    assert status["succeeded"] is True
    spdx = json.loads(await swell.bytes(f"/v1alpha1/scans/{answer['scanId']}/spdx"))
    assert {"libdemo", "tiny", "samtools"} <= {package["name"] for package in spdx["packages"]}


async def test_a_mirror_is_scanned_after_its_copy(swell: Swell, upstreams: Upstreams, image: str) -> None:
    """The copy is what is scanned; in Wave, scans of mirrors always fail."""
    answer = await swell.submit(
        containerImage=image, mirror=True, buildRepository=f"{upstreams.basic}/mirrors", scanMode="required"
    )

    status = await done(swell, answer["requestId"])

    record = await ended(swell, answer["scanId"])
    assert (record["mirrorId"], record["packages"]) == (status["mirrorId"], 3)
    assert record["containerImage"] == answer["targetImage"]
    assert (status["succeeded"], status["vulnerabilities"]) == (False, {"HIGH": 1, "LOW": 1})


async def test_a_failed_build_ends_its_scan(swell: Swell, upstreams: Upstreams) -> None:
    """The status has the reason of the build."""
    answer = await swell.build(f"FROM {upstreams.image()}\nRUN false\n", scanMode="required")

    status = await done(swell, answer["requestId"])

    assert status["succeeded"] is False and "build" in status["reason"]
    assert (await ended(swell, answer["scanId"]))["problem"] == "build"


async def test_an_image_without_packages_is_not_clean(swell: Swell, upstreams: Upstreams) -> None:
    """A required scan of it fails closed."""
    empty = await push(f"{upstreams.open}/acme/empty:1", Layer(*rootfs.layer_of({"hello.txt": b"hello"})))
    answer = await swell.submit(containerImage=empty, scanMode="required")

    status = await done(swell, answer["requestId"])

    assert status["succeeded"] is False and "No packages were found" in status["reason"]


async def test_unknown_scans_are_not_found(swell: Swell) -> None:
    """Also their files."""
    for name in ("", "/logs", "/spdx", "/cyclonedx", "/report"):
        assert (await swell.read(f"/v1alpha1/scans/sc-0000000000000000_1{name}"))[0] == 404


async def test_the_gate_is_closed_for_a_refused_image(stack: Stack, image: str, tmp_path: Path) -> None:
    """The client's pull shows the counts and the address of the scan; an allowed request pulls."""
    url, program = gateway_beside(stack, "gate", SCAN_GATE="pull")
    async with running(program, tmp_path), client_of(url) as gated:
        strict = await gated.submit(containerImage=image, scanMode="required")
        tolerant = await gated.submit(containerImage=image, scanMode="required", scanLevels=["LOW", "HIGH"])

        refused, allowed = [
            await pull(each["targetImage"], tmp_path / each["requestId"]) for each in (strict, tolerant)
        ]

    assert refused.status != 0 and "1 HIGH, 1 LOW" in refused.output and strict["scanId"] in refused.output
    assert allowed.status == 0, allowed.output


async def test_nothing_is_allowed_until_there_is_a_database(new_stack: OpenStack, image: str, tmp_path: Path) -> None:
    """The status and the record name the state of the database; there are never 0 findings. The next request is scanned
    with the database that has arrived, although its scanner is killed: there is one result, and the SBOM is used again.
    What a newer database finds in it is an event, and an entry of the operator's list; no image is read.
    """
    database, levels = tmp_path / "database.db", ["LOW", "HIGH"]
    accounts = tmp_path / "accounts"
    accounts.write_bytes(b"ops:" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)) + b"\n")
    settings = {"SCAN_DATABASE_FILE": str(database), "JOB_LEASE": "PT2S", "ACCOUNTS_FILE": str(accounts)}
    async with new_stack(tmp_path / "stack", **settings) as stack, client_of(stack.url) as swell:
        answer = await swell.submit(containerImage=image, scanMode="required", scanLevels=levels)
        status = await done(swell, answer["requestId"])
        record = await ended(swell, answer["scanId"])

        assert status["succeeded"] is False and "no vulnerability database" in status["reason"]
        assert (record["status"], record["problem"]) == ("FAILED", "database-missing")
        assert "counts" not in record and "vulnerabilities" not in record
        assert (await swell.read(f"/v1alpha1/scans/{answer['scanId']}/spdx"))[0] == 200

        write_database(database, VULNERABILITIES, datetime.now(UTC) - timedelta(days=1))
        again = await swell.submit(containerImage=image, scanMode="required", scanLevels=levels)
        stack.kill("scanner")
        await stack.restart("scanner")

        assert again["scanId"] == answer["scanId"].removesuffix("1") + "2"
        assert (await done(swell, again["requestId"]))["succeeded"] is True
        assert "stored SBOM" in (await swell.bytes(f"/v1alpha1/scans/{again['scanId']}/logs")).decode()

        new = Vulnerability(id="CVE-2026-0009", package="tiny", severity="critical", distribution="debian 12")
        database.unlink()
        write_database(database, (*VULNERABILITIES, new), datetime.now(UTC))
        stack.kill("scanner")
        await stack.restart("scanner")

        entry = await until(lambda: affected(swell), seconds=120)
        assert (entry["scanId"], entry["added"]) == (again["scanId"], {"CRITICAL": 1})
        assert entry["vulnerabilities"] == ["CVE-2026-0009"]
        assert (await swell.read("/v1alpha1/scans/affected"))[0] == 401
        assert await events_of(stack) == [entry["scanId"]]
        later = await ended(swell, again["scanId"])
        assert later["counts"] == {"CRITICAL": 1, "HIGH": 1, "LOW": 1}


async def affected(swell: Swell) -> Fields | None:
    """The newest image that became affected, as an operator reads it."""
    listed = await ask(swell, "GET", "/v1alpha1/scans/affected", **LOGIN)
    assert listed.status == 200
    return next(iter(listed.json["images"]), None)


async def events_of(stack: Stack) -> list[str]:
    """The scans of the events about images that became affected."""
    async with streams.connect(stack.env["SWELL_NATS_URL"], "test") as nats:
        source = await nats.stream.subscribe(ScanAffected.subject, ordered_consumer=True)
        pending, scans = 1, list[str]()
        while pending:
            message = await source.next_msg(timeout=30)
            pending = message.metadata.num_pending
            scans.append(msgspec.json.decode(message.data, type=ScanAffected).scan_id)
        return scans


async def test_the_command_line_shows_findings_and_files(swell: Swell, image: str, tmp_path: Path) -> None:
    """Findings alone are no error; a severity that is not allowed is."""
    code, table, err = await swell_of(swell.url, tmp_path, "scan", image)
    assert code == 0, err
    assert [line.split()[:3] for line in table.splitlines()[:2]] == [
        ["SEVERITY", "ID", "PACKAGE"],
        ["HIGH", "CVE-2026-0001", "libdemo"],
    ]
    strict, shown, _ = await swell_of(swell.url, tmp_path, "scan", image, "--allow", "LOW", "-o", "json", "-q")
    record = json.loads(shown)
    _, sbom, _ = await swell_of(swell.url, tmp_path, "scan", record["id"], "--file", "spdx")

    assert (strict, record["counts"]) == (1, {"HIGH": 1, "LOW": 1})
    assert "samtools" in {package["name"] for package in json.loads(sbom)["packages"]}
