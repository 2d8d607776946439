"""The vulnerability database: imported, replaced, checked; a database that cannot be used is named."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from scanner.adapters.database import VulnerabilityDatabase
from scanner.adapters.mirror import HttpMirror
from scanner.adapters.programs import Programs
from scanner.database_update import DatabaseUpdates, age_of
from scanner.domain.failure import ScanFailure
from scanner.tools.anchore import GrypeUnpacker
from scanner.tools.protocol import DatabaseCondition, DatabaseState
from swell.errors import UpstreamFailed
from swell.net.outbound import Policy, open_session
from swell.store.scans import ScanProblem
from swell.testing.vulnerabilities import Vulnerability, serve_database, write_database
from tests.integration.scanner.examples import VULNERABILITIES, YESTERDAY

AGE, LIMIT = timedelta(days=5), 1 << 30


@pytest.fixture
def database(programs: Programs, paths: tuple[Path, Path], tmp_path: Path) -> VulnerabilityDatabase:
    return VulnerabilityDatabase(tmp_path / "database", programs, GrypeUnpacker(paths[1]), AGE, LIMIT)


def database_of(path: Path, built: datetime, vulnerabilities: Iterable[Vulnerability] = VULNERABILITIES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_database(path, vulnerabilities, built)
    return path


def installed(tmp_path: Path) -> Path:
    """The file of the database in use."""
    return tmp_path / "database/current/6/vulnerability.db"


async def failure_of(database: VulnerabilityDatabase) -> ScanFailure:
    with pytest.raises(ScanFailure) as caught:
        async with database.usable():
            pass
    return caught.value


async def test_a_missing_database_is_named(database: VulnerabilityDatabase) -> None:
    """Nothing was scanned: that is no clean image."""
    failure = await failure_of(database)

    assert failure.problem is ScanProblem.DATABASE_MISSING
    assert str(failure).startswith("Not scanned: this server has no vulnerability database: ")


async def test_an_old_database_is_named_with_its_age(database: VulnerabilityDatabase, tmp_path: Path) -> None:
    """The limit is a setting."""
    await database.import_file(database_of(tmp_path / "old/a.db", datetime.now(UTC) - timedelta(days=9)), "old")

    failure = await failure_of(database)

    assert failure.problem is ScanProblem.DATABASE_OLD
    assert str(failure) == "Not scanned: the database is 9 days old; the limit is 5 days."


@pytest.mark.parametrize("damage", [b"", b"no database"])
async def test_a_damaged_database_is_named(
    database: VulnerabilityDatabase, database_file: Path, tmp_path: Path, damage: bytes
) -> None:
    """Also one that grype would open without an error: a changed byte may hide a vulnerability."""
    await database.import_file(database_file, "test")
    content = installed(tmp_path).read_bytes()
    installed(tmp_path).write_bytes(damage or content.replace(b"libdemo", b"libdemx"))

    failure = await failure_of(database)

    assert failure.problem is ScanProblem.DATABASE_DAMAGED
    assert (await database.state()).condition is DatabaseCondition.DAMAGED


async def test_a_file_that_is_no_database_replaces_nothing(
    database: VulnerabilityDatabase, database_file: Path, tmp_path: Path
) -> None:
    """The current one stays in use."""
    await database.import_file(database_file, "test")
    wrong = tmp_path / "wrong.db"
    wrong.write_bytes(b"no database")

    with pytest.raises(ScanFailure, match="cannot be imported"):
        await database.import_file(wrong, "wrong")

    assert (await database.state()).built == YESTERDAY
    assert await database.source() == "test"


async def test_a_match_keeps_its_database_until_it_ends(
    database: VulnerabilityDatabase, database_file: Path, tmp_path: Path
) -> None:
    """An update in the middle of a match does not remove the files that it reads; then they go."""
    await database.import_file(database_file, "test")
    async with database.usable() as folder:
        await database.import_file(database_of(tmp_path / "new/a.db", YESTERDAY + timedelta(hours=1)), "new")
        assert (folder / "6/vulnerability.db").exists()

    assert not folder.exists()
    assert (await database.state()).built == YESTERDAY + timedelta(hours=1)


class Seen(list[DatabaseState]):
    """The states that were observed, and how often the database changed."""

    changes = 0

    def changed(self) -> None:
        self.changes += 1


async def test_a_file_is_imported_when_it_changes(
    database: VulnerabilityDatabase, database_file: Path, tmp_path: Path
) -> None:
    """Air gap: the operator replaces one file; an unchanged one is not imported again, and a wrong one not twice."""
    seen, file = Seen(), tmp_path / "import.db"
    updates = DatabaseUpdates(database, None, file, tmp_path, seen.changed, seen.append)
    await updates.check()
    assert (seen.changes, seen[-1].condition, age_of(seen[-1])) == (0, DatabaseCondition.MISSING, float("inf"))

    file.write_bytes(database_file.read_bytes())
    await updates.check()
    await updates.check()
    assert (seen.changes, seen[-1].built) == (1, YESTERDAY)
    assert age_of(seen[-1], YESTERDAY + timedelta(hours=1)) == 3600

    file.write_bytes(b"no database")
    await updates.check()
    await updates.check()
    assert (seen.changes, seen[-1].built) == (1, YESTERDAY)


async def test_a_mirror_is_followed(database: VulnerabilityDatabase, database_file: Path, tmp_path: Path) -> None:
    """A newer database is downloaded and verified; an older listing, and a wrong archive, replace nothing."""
    folder, seen = tmp_path / "mirror", Seen()
    serve_database(folder, database_file, YESTERDAY)
    app = web.Application()
    app.router.add_static("/databases", folder)
    async with TestServer(app) as server:
        url = str(server.make_url("/databases"))
        allowed = Policy(frozenset({f"{server.host}:{server.port}"}))
        async with open_session(allowed) as session:
            mirror = HttpMirror(session, url, LIMIT)
            updates = DatabaseUpdates(database, mirror, None, tmp_path, seen.changed, seen.append)
            await updates.check()
            await updates.check()
            assert (seen.changes, seen[-1].built) == (1, YESTERDAY)

            serve_database(
                folder, database_of(tmp_path / "a/a.db", YESTERDAY - timedelta(days=1)), YESTERDAY - timedelta(days=1)
            )
            await updates.check()
            assert (seen.changes, seen[-1].built) == (1, YESTERDAY)

            newer = YESTERDAY + timedelta(hours=2)
            serve_database(folder, database_of(tmp_path / "b/b.db", newer), newer)
            archive = next(folder.glob(f"v6/*_{int(newer.timestamp())}.tar.gz"))
            good = archive.read_bytes()
            archive.write_bytes(good + b"more")
            await updates.check()
            assert (seen.changes, seen[-1].built) == (1, YESTERDAY)
            archive.write_bytes(good)
            await updates.check()
            assert (seen.changes, seen[-1].built) == (2, newer)
    assert not list(tmp_path.glob("download.*"))


@pytest.mark.parametrize("path", ["../other.tar.gz", "https://elsewhere.example/x.tar.gz", "/x.tar.gz", ".."])
async def test_a_listing_that_names_a_file_elsewhere_is_refused(path: str) -> None:
    """The mirror's operator vouches for the files beside the listing only."""

    async def listing(_: web.Request) -> web.Response:
        return web.json_response({"built": "2026-11-28T00:00:00Z", "path": path, "checksum": f"sha256:{'0' * 64}"})

    app = web.Application()
    app.router.add_get("/v6/latest.json", listing)
    async with TestServer(app) as server, open_session(Policy(frozenset({f"{server.host}:{server.port}"}))) as session:
        with pytest.raises(UpstreamFailed, match="no archive beside it"):
            await HttpMirror(session, str(server.make_url("")), LIMIT).latest()
