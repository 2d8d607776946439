"""The duration of a scan beside bare syft and grype, and of matching a stored SBOM again."""

import asyncio
import json
import os
import tarfile
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from scanner.adapters.database import VulnerabilityDatabase
from scanner.adapters.programs import Programs
from scanner.domain.matched_sbom import without_files
from scanner.settings import Settings
from scanner.tools.anchore import Anchore, GrypeUnpacker, find_programs
from swell.jobs.consume import subscribe
from swell.jobs.messages import ScanDone
from swell.jobs.settings import NatsSettings
from swell.store.connections.settings import RedisSettings, S3Settings
from swell.testing.vulnerabilities import Vulnerability, write_database
from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.place import Place
from tests.bench.process import CannotMeasure

ROUNDS, MATCHES = 3, 5
LARGE = 170 << 20  # bytes of files of this machine
REPOSITORY = "library/scanned"
_TIME_LIMIT = 300.0
_FOLDERS = ("/var/lib/dpkg/status", "/etc/os-release", "/usr/lib/os-release", "/var/lib/dpkg/info", "/usr/lib")

SCAN = Bar(
    name="scan of a 170 MB image, request to result",
    unit="ms",
    must=1.25,
    aim=1.1,
    compared=Compared.RATIO,
    peer="syft (three formats) and grype",
)
AGAIN = Bar(name="match its stored SBOM again, p50", unit="ms", must=1000, aim=1000)


async def scans(place: Place) -> list[Result]:
    """Scan images that differ in an annotation, alternately with bare programs; then match an SBOM again."""
    paths = find_programs()
    if paths is None:
        raise CannotMeasure("syft and grype are missing: run `make scanners`")
    database = place.home / "grype"
    await _prepare(place, database, paths[1])
    ends: dict[str, asyncio.Future[float]] = defaultdict(asyncio.get_running_loop().create_future)
    await subscribe(place.nats, ScanDone, lambda event: ends[event.id].set_result(time.perf_counter()))
    rounds = list[Round]()
    await _ours(place, ends)
    for _ in range(ROUNDS):
        rounds.append(Round(await _ours(place, ends), await _bare(place, database, paths)))
    again = [Round(median(await _matches(place, paths))) for _ in range(ROUNDS)]
    return [judge(SCAN, rounds), judge(AGAIN, again)]


async def _prepare(place: Place, database: Path, grype: Path) -> None:
    """Push an image with packages of this machine, and give the scanner and grype a database."""
    await asyncio.to_thread(_archive, place.bare.context / "scanned.tar")
    await place.bare.build_and_push(place.image(REPOSITORY), "FROM scratch\nADD scanned.tar /\n")
    (place.bare.context / "scanned.tar").unlink()
    file = Path(place.stack.env["SWELL_SCAN_DATABASE_FILE"])
    names = ("bash", "coreutils", "libc6", "openssl", "zlib1g")
    entries = [Vulnerability(id=f"CVE-2026-{at:04}", package=name) for at, name in enumerate(names)]
    write_database(file, entries, datetime.now(UTC) - timedelta(hours=1))
    await _program((str(grype), "db", "import", str(file)), database)
    await place.stack.restart("scanner")


async def _matches(place: Place, paths: tuple[Path, Path]) -> list[float]:
    """The milliseconds of matches of an SBOM as it is stored, each in a sandbox of its own, as the scanner does it."""
    sbom = without_files((place.home / "bare.json").read_bytes())
    unused = {"redis": RedisSettings(url=""), "nats": NatsSettings(url=""), "s3": S3Settings(endpoint="")}
    settings = Settings(scan_workspace=place.home / "again", **unused)  # type: ignore[arg-type]
    with Programs.open(settings) as programs:
        folder, unpacker = place.home / "again/database", GrypeUnpacker(paths[1])
        database = VulnerabilityDatabase(folder, programs, unpacker, timedelta(days=5), 1 << 30)
        await database.import_file(Path(place.stack.env["SWELL_SCAN_DATABASE_FILE"]), "bench")
        tool = Anchore(programs, *paths, database, "")
        return [await _timed(tool, sbom) for _ in range(MATCHES)]


async def _timed(tool: Anchore, sbom: bytes) -> float:
    started = time.perf_counter()
    await tool.match(sbom)
    return (time.perf_counter() - started) * 1000


def _archive(path: Path) -> None:
    """Write files of this machine, the package database first, up to `LARGE` bytes."""
    size = 0
    with tarfile.open(path, "w") as tar:
        for folder in map(Path, _FOLDERS):
            for file in [folder] if folder.is_file() else sorted(folder.rglob("*")):
                with suppress(OSError):
                    if file.is_file() and not file.is_symlink() and size < LARGE:
                        tar.add(file, str(file).lstrip("/"))
                        size += file.stat().st_size


async def _tagged(place: Place) -> str:
    """Push another manifest of the image, which has no SBOM yet; return its name."""
    tag = uuid.uuid4().hex
    fields = json.loads(await place.manifest(REPOSITORY))
    content = json.dumps(fields | {"annotations": {"tag": tag}}).encode()
    headers = {"Content-Type": fields["mediaType"]} | place.login
    url = place.path(place.registry, "manifests", REPOSITORY, tag)
    async with place.http.put(url, data=content, headers=headers):
        return place.image(REPOSITORY, tag)


async def _ours(place: Place, ends: dict[str, asyncio.Future[float]]) -> float:
    image = await _tagged(place)
    started = time.perf_counter()
    scan_id = str((await place.submit(containerImage=image, scanMode="async"))["scanId"])
    end = await asyncio.wait_for(ends[scan_id], _TIME_LIMIT)
    record = json.loads(await place.get(f"{place.gateway}/v1alpha1/scans/{scan_id}"))
    if record["status"] != "SUCCEEDED" or not record["packages"]:
        raise CannotMeasure(f"the scan failed: {record}")
    return (end - started) * 1000


async def _bare(place: Place, database: Path, paths: Sequence[Path]) -> float:
    image, sbom = await _tagged(place), place.home / "bare.json"
    outputs = (f"syft-json={sbom}", f"spdx-json@2.3={sbom}.spdx", f"cyclonedx-json={sbom}.cdx")
    started = time.perf_counter()
    flags = [part for output in outputs for part in ("--output", output)]
    await _program((str(paths[0]), "scan", f"registry:{image}", *flags), database, place)
    await _program((str(paths[1]), f"sbom:{sbom}", "--output", "json", "--file", f"{sbom}.report"), database)
    return (time.perf_counter() - started) * 1000


async def _program(command: Sequence[str], database: Path, place: Place | None = None) -> None:
    environment = os.environ | {
        "SYFT_CHECK_FOR_APP_UPDATE": "false",
        "GRYPE_CHECK_FOR_APP_UPDATE": "false",
        "GRYPE_DB_AUTO_UPDATE": "false",
        "GRYPE_DB_CACHE_DIR": str(database),
        "SYFT_REGISTRY_INSECURE_USE_HTTP": "true",
    }
    if place:
        known = place.stack.registry
        environment |= {
            "SYFT_REGISTRY_AUTH_AUTHORITY": known.address,
            "SYFT_REGISTRY_AUTH_USERNAME": known.username,
            "SYFT_REGISTRY_AUTH_PASSWORD": known.password,
        }
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, error = await process.communicate()
    if process.returncode:
        raise CannotMeasure(f"{command[0]} failed: {error.decode(errors='replace')[-500:]}")
