"""A small vulnerability database of grype's version 6, and a mirror folder that serves it.

The tables and columns are those of grype's models.
Source: grype, https://github.com/anchore/grype/blob/main/grype/db/v6/models.go
"""

import hashlib
import json
import sqlite3
import tarfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

_SCHEMA = """
CREATE TABLE blobs (id integer PRIMARY KEY, value text NOT NULL);
CREATE TABLE db_metadata (build_timestamp datetime NOT NULL, model integer NOT NULL, revision integer NOT NULL,
    addition integer NOT NULL);
CREATE TABLE providers (id text PRIMARY KEY, version text, processor text, date_captured datetime, input_digest text);
CREATE TABLE vulnerability_handles (id integer PRIMARY KEY, name text NOT NULL, status text NOT NULL,
    published_date datetime, modified_date datetime, withdrawn_date datetime, provider_id text NOT NULL,
    blob_id integer UNIQUE);
CREATE TABLE vulnerability_aliases (name text, alias text NOT NULL, PRIMARY KEY (name, alias));
CREATE TABLE affected_package_handles (id integer PRIMARY KEY, vulnerability_id integer NOT NULL,
    operating_system_id integer, package_id integer, blob_id integer);
CREATE TABLE unaffected_package_handles (id integer PRIMARY KEY, vulnerability_id integer NOT NULL,
    operating_system_id integer, package_id integer, blob_id integer);
CREATE TABLE operating_systems (id integer PRIMARY KEY, name text, release_id text, major_version text,
    minor_version text, label_version text, codename text, channel text, eol_date datetime, eoas_date datetime);
CREATE TABLE operating_system_specifier_overrides (alias text, version text, version_pattern text, codename text,
    channel text, replacement text, replacement_major_version text, replacement_minor_version text,
    replacement_label_version text, replacement_channel text, rolling numeric, applicable_client_db_schemas text);
CREATE TABLE packages (id integer PRIMARY KEY, ecosystem text, name text);
CREATE TABLE package_specifier_overrides (ecosystem text, replacement_ecosystem text);
CREATE TABLE architecture_aliases (alias text PRIMARY KEY, canonical text NOT NULL);
CREATE TABLE affected_cpe_handles (id integer PRIMARY KEY, vulnerability_id integer NOT NULL, cpe_id integer,
    blob_id integer);
CREATE TABLE unaffected_cpe_handles (id integer PRIMARY KEY, vulnerability_id integer NOT NULL, cpe_id integer,
    blob_id integer);
CREATE TABLE cpes (id integer PRIMARY KEY, part text NOT NULL, vendor text, product text NOT NULL, edition text,
    language text, software_edition text, target_hardware text, target_software text, other text);
CREATE TABLE package_cpes (cpe_id integer, package_id integer, PRIMARY KEY (cpe_id, package_id));
CREATE TABLE known_exploited_vulnerability_handles (id integer PRIMARY KEY, cve text NOT NULL, blob_id integer);
CREATE TABLE epss_handles (id integer PRIMARY KEY, cve text NOT NULL, epss real NOT NULL, percentile real NOT NULL);
CREATE TABLE epss_metadata (date datetime NOT NULL);
CREATE TABLE cwe_handles (id integer PRIMARY KEY, cve text NOT NULL, cwe text NOT NULL, source text, type text);
CREATE TABLE ssvc_handles (id integer PRIMARY KEY, cve text NOT NULL, source text, role text, version text,
    timestamp datetime, exploitation text, automatable text, technical_impact text);
"""
_MODEL, _REVISION, _ADDITION = 6, 1, 10


class Vulnerability(Struct, frozen=True, kw_only=True):
    """One entry: versions of *package* below *fixed* are affected; all versions, if *fixed* is empty.

    - `ecosystem` is a type of syft, such as `deb`, `python` or `conda`; `distribution` is for the first one, as
      `debian 12`.
    - `severity` is a word of the source; `cves` are the aliases of an advisory with another name.
    - `epss` is a probability; `exploited` says whether CISA lists it.
    - `fixed_on` is the day (`YYYY-MM-DD`) since which the fix is known.
    """

    id: str
    package: str
    fixed: str = ""
    severity: str = "high"
    ecosystem: str = "deb"
    distribution: str = ""
    cves: tuple[str, ...] = ()
    description: str = ""
    epss: float | None = None
    exploited: bool = False
    fixed_on: str = ""


def write_database(path: Path, vulnerabilities: Iterable[Vulnerability], built: datetime) -> None:
    """Write a database that was built at *built* as the new file *path*."""
    connection = sqlite3.connect(path)
    with connection:
        connection.executescript(_SCHEMA)
        moment = built.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S+00:00")
        connection.execute("INSERT INTO db_metadata VALUES (?, ?, ?, ?)", (moment, _MODEL, _REVISION, _ADDITION))
        connection.execute("INSERT INTO epss_metadata VALUES (?)", (moment,))
        connection.execute("INSERT INTO providers VALUES ('test', '1', 'swell', ?, 'sha256:0')", (moment,))
        for number, each in enumerate(vulnerabilities, 1):
            _insert(connection, number, each)
    connection.close()


def serve_database(folder: Path, database: Path, built: datetime) -> None:
    """Make *folder* a mirror of *database*: `v6/latest.json` and an archive, as grype's own listing has them."""
    target = folder / "v6"
    target.mkdir(parents=True, exist_ok=True)
    archive = target / f"vulnerability-db_{int(built.timestamp())}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(database, "vulnerability.db")
    listing = {
        "status": "active",
        "schemaVersion": f"v{_MODEL}.{_REVISION}.{_ADDITION}",
        "built": built.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "path": archive.name,
        "checksum": f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}",
    }
    (target / "latest.json").write_text(json.dumps(listing))


def _insert(connection: sqlite3.Connection, number: int, each: Vulnerability) -> None:
    blob = {
        "id": each.id,
        "description": each.description,
        "refs": [{"url": f"https://vulnerabilities.example/{each.id}"}],
        "aliases": list(each.cves),
        "severities": [{"scheme": "CHMLN", "value": each.severity, "rank": 1}],
    }
    constraint = f"< {each.fixed}" if each.fixed else ""
    fix: dict[str, object] = {"version": each.fixed, "state": "fixed"} if each.fixed else {"state": "not-fixed"}
    if each.fixed_on:
        fix["detail"] = {"available": {"date": each.fixed_on, "kind": "first-observed"}}
    version_type = {"deb": "dpkg", "python": "python"}.get(each.ecosystem, "fuzzy")
    ranges = [{"version": {"type": version_type, "constraint": constraint}, "fix": fix}]
    affected = {"cves": list(each.cves), "ranges": ranges}
    vulnerability_blob, affected_blob = _blob(connection, blob), _blob(connection, affected)
    connection.execute(
        "INSERT INTO vulnerability_handles (id, name, status, provider_id, blob_id) VALUES (?, ?, 'active', 'test', ?)",
        (number, each.id, vulnerability_blob),
    )
    for cve in each.cves:
        connection.execute("INSERT INTO vulnerability_aliases VALUES (?, ?)", (each.id, cve))
    package = _row(connection, "packages", ecosystem=each.ecosystem, name=each.package)
    system = None
    if each.distribution:
        name, _, release = each.distribution.partition(" ")
        major, _, minor = release.partition(".")
        system = _row(
            connection, "operating_systems", name=name, release_id=name, major_version=major, minor_version=minor
        )
    connection.execute(
        "INSERT INTO affected_package_handles VALUES (?, ?, ?, ?, ?)", (number, number, system, package, affected_blob)
    )
    for cve in each.cves or (each.id,):
        if each.epss is not None:
            connection.execute("INSERT INTO epss_handles (cve, epss, percentile) VALUES (?, ?, 0.5)", (cve, each.epss))
        if each.exploited:
            exploited = _blob(connection, {"cve": cve})
            connection.execute(
                "INSERT INTO known_exploited_vulnerability_handles (cve, blob_id) VALUES (?, ?)", (cve, exploited)
            )


def _blob(connection: sqlite3.Connection, content: object) -> int:
    return connection.execute("INSERT INTO blobs (value) VALUES (?)", (json.dumps(content),)).lastrowid or 0


def _row(connection: sqlite3.Connection, table: str, **columns: str) -> int:
    """The id of the row with *columns* in *table*, which is inserted if it is missing."""
    where = " AND ".join(f"{name} = ?" for name in columns)
    found = connection.execute(f"SELECT id FROM {table} WHERE {where}", tuple(columns.values())).fetchone()  # noqa: S608  (names of this module)
    if found:
        return int(found[0])
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    inserted = connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608  (names of this module)
    return inserted.lastrowid or 0
