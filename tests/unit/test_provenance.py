"""The stored provenance: its form, and its bounds."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from swell.api.containers import BuildOptions
from swell.oci.digest import digest_of
from swell.provenance import MAX_SIZE, Evidence, Inputs, Material, Provenance, parse_provenance

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
BASE = Material("docker.io/library/debian:12", digest_of(b"base"))
FACTS = Provenance(
    build_id="bd-1_1",
    image="r.example/x:1",
    digest=digest_of(b"image"),
    inputs=Inputs(containerfile="FROM a\n", platform="linux/amd64", options=BuildOptions(build_secrets={"a": "npm"})),
    evidence=Evidence(engine="buildkit 0.34.2", materials=(BASE,), definition={"steps": [1, 2]}),
    started=NOON,
    ended=NOON,
)


def test_what_is_stored_can_be_read() -> None:
    """By a service of the same version; other bytes are no provenance."""
    assert parse_provenance(FACTS.encoded()) == FACTS
    assert parse_provenance(b"{}") is None
    assert parse_provenance(b"no JSON") is None


def test_newer_fields_are_ignored() -> None:
    """The builder and its reader can have different versions during an upgrade."""
    content = FACTS.encoded().replace(b'{"build_id"', b'{"newer":[1],"build_id"')
    assert parse_provenance(content) == FACTS


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ({"definition": {"steps": "x" * MAX_SIZE}}, (True, False)),
        ({"materials": (Material("x" * MAX_SIZE),)}, (False, False)),
        ({}, (True, True)),
    ],
)
def test_a_large_provenance_loses_what_matters_least(evidence: dict[str, Any], expected: tuple[bool, bool]) -> None:
    """First the engine's definition, then the materials; the inputs and the engine stay."""
    large = replace(FACTS, evidence=replace(FACTS.evidence, **evidence))
    content = large.encoded()
    read = parse_provenance(content)
    assert read and len(content) <= MAX_SIZE
    assert (bool(read.evidence.materials), bool(read.evidence.definition)) == expected
    assert (read.inputs, read.evidence.engine) == (FACTS.inputs, "buildkit 0.34.2")
