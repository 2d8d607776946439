"""Conda packages in SBOMs get package URLs, and the URLs and digests of their archives."""

import msgspec
import pytest

from scanner.domain.failure import ScanFailure
from scanner.domain.sbom import count_packages, with_conda_archives, with_conda_urls


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


def test_conda_packages_have_their_archive_and_its_digest() -> None:
    """The URL is without the token of a private channel; other packages are unchanged."""
    purl, sha256 = "pkg:conda/b@1?build=0", "a" * 64
    metadata = {"url": "https://user:word@host.example/t/tk-1/private/noarch/b-1-0.conda", "sha256": sha256}
    artifact = {"purl": purl, "metadataType": "conda-metadata-entry", "metadata": metadata}
    native = msgspec.json.encode({"artifacts": [artifact]})
    deb = {"name": "a", "purl": "pkg:deb/a@1"}
    spdx = {"packages": [deb, {"name": "b", "externalRefs": [{"referenceLocator": purl}]}], "x": 1}
    cyclonedx = {"components": [deb, {"name": "b", "purl": purl}]}

    made = with_conda_archives(native, msgspec.json.encode(spdx), msgspec.json.encode(cyclonedx))
    packages, components = (
        msgspec.json.decode(each)[name] for each, name in zip(made, ("packages", "components"), strict=True)
    )

    url = "https://host.example/private/noarch/b-1-0.conda"
    assert packages[0] == components[0] == deb
    assert packages[1]["downloadLocation"] == url
    assert packages[1]["checksums"] == [{"algorithm": "SHA256", "checksumValue": sha256}]
    assert components[1]["hashes"] == [{"alg": "SHA-256", "content": sha256}]
    assert components[1]["externalReferences"] == [{"type": "distribution", "url": url}]


def test_hostile_records_of_conda_add_nothing() -> None:
    """An image can write any text into conda-meta."""
    metadata = {"url": "javascript:alert(1)", "sha256": "x" * 64, "md5": ["a"]}
    artifact = {"purl": "pkg:conda/b@1", "metadataType": "conda-metadata-entry", "metadata": metadata}
    spdx = msgspec.json.encode({"packages": [{"externalRefs": [{"referenceLocator": "pkg:conda/b@1"}]}]})
    cyclonedx = b'{"components":[{"purl":"pkg:conda/b@1"}]}'

    made = with_conda_archives(msgspec.json.encode({"artifacts": [artifact]}), spdx, cyclonedx)

    assert made == (spdx, cyclonedx)
