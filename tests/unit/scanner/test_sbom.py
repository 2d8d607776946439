"""Conda packages in SBOMs get package URLs."""

from typing import Any

import msgspec
import pytest

from scanner.domain.failure import ScanFailure
from scanner.domain.sbom import conda_url, count_packages, with_conda_urls


@pytest.mark.parametrize(
    ("metadata", "query"),
    [
        (
            {"build": "h1_0", "channel": "https://conda.anaconda.org/bioconda/linux-64", "fn": "x-1-h1_0.tar.bz2"},
            "?build=h1_0&channel=bioconda&subdir=linux-64&type=tar.bz2",
        ),
        (
            {"channel": "https://repo.anaconda.com/pkgs/main/noarch", "subdir": "noarch", "fn": "x.conda"},
            "?channel=pkgs%2Fmain&subdir=noarch&type=conda",
        ),
        ({"channel": "conda-forge"}, "?channel=conda-forge"),
        ({"channel": "https://host.example/t/tk-1/private/linux-64"}, "?channel=private&subdir=linux-64"),
        ({}, ""),
        ({"channel": None, "build": 7}, "?build=7"),
    ],
)
def test_the_url_names_build_channel_and_platform(metadata: dict[str, Any], query: str) -> None:
    """purl-spec: the type conda has these qualifiers."""
    assert conda_url("Samtools", "1.17+x", metadata) == f"pkg:conda/samtools@1.17%2Bx{query}"


def test_only_conda_packages_without_a_url_change() -> None:
    """Every other byte stays: grype reads what syft wrote."""
    deb = b'{"name": "a", "purl": "pkg:deb/a@1" , "n": 1.50}'
    conda = b'{"name":"b","version":"1","purl":"","metadataType":"conda-metadata-entry","metadata":{"build":"0"}}'
    sbom = b'{"artifacts": [' + deb + b", " + conda + b'], "source": {"x":  1.0}}'

    named = with_conda_urls(sbom)

    assert deb in named and b'{"x":  1.0}' in named
    artifacts = msgspec.json.decode(named)["artifacts"]
    assert artifacts[1]["purl"] == "pkg:conda/b@1?build=0" and count_packages(named) == 2


@pytest.mark.parametrize(
    "sbom", [b"", b"[]", b'"conda-metadata-entry"', b'{"artifacts": 1, "x": "conda-metadata-entry"}']
)
def test_an_sbom_that_cannot_be_read_is_a_failure(sbom: bytes) -> None:
    """A program wrote it; the scan says so."""
    with pytest.raises(ScanFailure, match="cannot be read"):
        count_packages(with_conda_urls(sbom))
