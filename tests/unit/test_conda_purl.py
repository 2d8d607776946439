"""Package URLs of Conda packages."""

import pytest

from swell.conda.purl import conda_url


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        (
            {"build": "h1_0", "channel": "https://conda.anaconda.org/bioconda/linux-64", "file": "x-1-h1_0.tar.bz2"},
            "?build=h1_0&channel=bioconda&subdir=linux-64&type=tar.bz2",
        ),
        (
            {"channel": "https://repo.anaconda.com/pkgs/main/noarch", "subdir": "noarch", "file": "x.conda"},
            "?channel=pkgs%2Fmain&subdir=noarch&type=conda",
        ),
        ({"channel": "conda-forge"}, "?channel=conda-forge"),
        ({"channel": "https://host.example/t/tk-1/private/linux-64"}, "?channel=private&subdir=linux-64"),
        ({}, ""),
        ({"build": "7"}, "?build=7"),
    ],
)
def test_the_url_names_build_channel_and_platform(fields: dict[str, str], query: str) -> None:
    """purl-spec: the type conda has these qualifiers."""
    assert conda_url("Samtools", "1.17+x", **fields) == f"pkg:conda/samtools@1.17%2Bx{query}"
