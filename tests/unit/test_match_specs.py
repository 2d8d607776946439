"""Match specifications: what names a package, and with what requirements."""

import pytest

from swell.conda.match_specs import MAX_SPEC, PackageSpec, is_package_url, parse_spec
from swell.errors import BadRequest

PACKAGE_URL = "https://conda.example.org/noarch/a-1-0.conda"


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("samtools=1.17", PackageSpec(name="samtools", rest="samtools 1.17.*")),
        ("R-Base>=4,<5", PackageSpec(name="r-base", rest="r-base >=4,<5")),
        ("bioconda::a", PackageSpec(name="a", rest="a", channel="bioconda")),
        ("forge/label/dev::a", PackageSpec(name="a", rest="a", channel="forge/label/dev")),
        ("forge/linux-64::a", PackageSpec(name="a", rest="a", channel="forge", subdir="linux-64")),
        ("a[channel=forge]", PackageSpec(name="a", rest="a", channel="forge")),
        (
            "a[channel='http://h:8080/c', version='>1', license=MIT, subdir=noarch]",
            PackageSpec(name="a", rest='a >1[license="MIT"]', channel="http://h:8080/c", subdir="noarch"),
        ),
        ("http://h/c::a", PackageSpec(name="a", rest="a", channel="http://h/c")),
        (
            "https://conda.anaconda.org/forge::a",
            PackageSpec(name="a", rest="a", channel="https://conda.anaconda.org/forge"),
        ),
        ("file:///c::a", PackageSpec(name="a", rest="a", channel="file:///c")),
        (PACKAGE_URL, PackageSpec(name="a", rest=f'a[url="{PACKAGE_URL}"]', url=PACKAGE_URL)),
    ],
)
def test_a_specification_has_a_name_a_channel_and_the_rest(text: str, spec: PackageSpec) -> None:
    """A channel stays what it is in the text, a name or a URL: named channels can be on a mirror."""
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    "text",
    ["", "a b c d", "python:3.11", "1.2", "-c x", "~/a.conda", "list.txt", "file:///a.conda", "a[when='b']", "x=>1"],
)
def test_a_text_that_names_no_package_is_refused(text: str) -> None:
    """Rattler alone takes an option for the name of a package, and a version too."""
    with pytest.raises(BadRequest):
        parse_spec(text)


@pytest.mark.parametrize(
    "text",
    [
        "a[channel=one, channel=two]",
        "one::a[channel=two]",
        "one::a[ channel = two]",
        f"one::a[url={PACKAGE_URL}]",
        f"a[url={PACKAGE_URL},channel=one]",
    ],
)
def test_a_channel_is_named_once(text: str) -> None:
    """Of two, rattler takes the first and micromamba the last: a policy would check another one than is used."""
    with pytest.raises(BadRequest, match="names its channel twice"):
        parse_spec(text)


@pytest.mark.parametrize("text", ["a[version='" + "(" * 40_000 + "1" + ")" * 40_000 + "']", "a" * (MAX_SPEC + 1)])
def test_a_long_or_deep_text_is_not_parsed(text: str) -> None:
    """Rattler overflows its stack on the first one, which would end the process."""
    with pytest.raises(BadRequest, match="too long or too deeply nested"):
        parse_spec(text)


def test_the_url_of_a_package_is_not_that_of_a_lock_file() -> None:
    """Of an entry that is a URL, only its ending says what it is."""
    assert is_package_url(PACKAGE_URL)
    assert is_package_url(f"{PACKAGE_URL}#{'0' * 32}")
    assert not is_package_url("https://conda.example.org/lock.txt")
    assert not is_package_url("https://conda.example.org/a.conda::b")
