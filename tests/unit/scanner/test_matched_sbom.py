"""SBOMs are stored without the files of their packages, because grype does not need them."""

from typing import Any

import msgspec
import pytest

from scanner.domain.failure import ScanFailure
from scanner.domain.matched_sbom import without_files


def stored(**fields: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(without_files(msgspec.json.encode(fields)))
    return decoded


def package(name: str, kind: str, files: list[Any], *locations: str) -> dict[str, Any]:
    places = [{"path": path, "accessPath": path} for path in locations]
    return {"id": name, "metadataType": kind, "metadata": {"files": files, "source": "x"}, "locations": places}


def test_lists_of_files_are_removed_and_everything_else_stays() -> None:
    """They are nine tenths of an SBOM; the time of a match follows its size."""
    deb = package("a", "dpkg-db-entry", [{"path": "/bin/a"}, {"path": "/bin/b"}], "/var/lib/dpkg/status")
    conda = package("b", "conda-metadata-entry", ["bin/c"], "/opt/conda/conda-meta/b.json")
    conda["metadata"]["paths_data"] = {"paths": [{"_path": "bin/c"}]}

    made = stored(artifacts=[deb, conda], files=[{"id": "f"}], distro={"id": "debian"})

    assert [each["metadata"] for each in made["artifacts"]] == [{"files": [], "source": "x"}] * 2
    assert made["distro"] == {"id": "debian"} and "files" not in made


def test_a_file_that_is_the_location_of_a_package_stays() -> None:
    """grype leaves out a Python package that a Debian package owns: its findings are those of the Debian package."""
    owned = "/usr/lib/python3/dist-packages/b/METADATA"
    deb = package("a", "dpkg-db-entry", [{"path": "/bin/a"}, {"path": owned}], "/var/lib/dpkg/status")
    python = package("b", "python-package", [{"path": "b/__init__.py"}], owned)

    made = stored(artifacts=[deb, python])

    assert [each["metadata"]["files"] for each in made["artifacts"]] == [[{"path": owned}], []]


def test_relationships_of_packages_stay() -> None:
    """Those with a file, or with the image, have no meaning for a match."""
    packages = [package("a", "dpkg-db-entry", []), package("b", "apk-db-entry", [{"path": "/b"}])]
    kept = {"parent": "a", "child": "b", "type": "ownership-by-file-overlap"}
    others = [
        {"parent": "a", "child": "f", "type": "evident-by"},
        {"parent": "image", "child": "a", "type": "contains"},
    ]

    made = stored(artifacts=packages, artifactRelationships=[kept, *others])

    assert made["artifactRelationships"] == [kept] and made["artifacts"] == packages


@pytest.mark.parametrize("sbom", [b"", b"[]", b"{}", b'{"artifacts": [1]}', b'{"artifacts": [{"name": "a"}]}'])
def test_an_sbom_that_cannot_be_read_is_a_failure(sbom: bytes) -> None:
    """A program wrote it; the scan says so."""
    with pytest.raises(ScanFailure, match="cannot be read"):
        without_files(sbom)
