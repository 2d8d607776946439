"""Lock files and channels: texts of strangers that become addresses."""

import pytest

from builder.conda.model.channels import parse_request, subdir_of
from builder.conda.model.lock import LockedPackage, locked, read_lock, write_lock
from swell.errors import BadRequest
from swell.oci.platform import parse_platform

HASH = "0a" * 32
NAMES = "https://conda.example.org"
URL = f"{NAMES}/forge/linux-64/tool-1!2.0-h_0.conda"


def test_a_lock_is_read_as_it_was_written() -> None:
    """In one order, from input in any order; each package once."""
    packages = [locked(URL, HASH), locked(f"{NAMES}/forge/noarch/a-1-0.tar.bz2", HASH)]
    text = write_lock("linux-64", packages)
    assert text == write_lock("linux-64", reversed(packages))
    assert read_lock(text + text, "linux-64") == tuple(sorted(packages))
    assert read_lock(text, "linux-64")[1] == LockedPackage("tool-1!2.0-h_0.conda", f"{NAMES}/forge", "linux-64", HASH)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (URL, "md5 is not enough"),
        (f"{URL}#{'0' * 32}", "md5 is not enough"),
        (f"{URL}#sha256:{'0' * 63}", "not the URL of a package"),
        (f"https://user:secret@conda.example.org/forge/linux-64/a-1-0.conda#sha256:{HASH}", "not the URL"),
        (f"ftp://conda.example.org/linux-64/a-1-0.conda#sha256:{HASH}", "not the URL"),
        (f"{NAMES}/forge/linux-64/a.exe#sha256:{HASH}", "not the URL"),
        (f"{NAMES}/forge/linux-aarch64/a-1-0.conda#sha256:{HASH}", "not for linux-64"),
        ("samtools=1.17", "md5 is not enough"),
    ],
)
def test_a_line_that_cannot_be_checked_is_refused(line: str, message: str) -> None:
    """A package that cannot be verified is not downloaded."""
    with pytest.raises(BadRequest, match=message):
        read_lock(f"@EXPLICIT\n{line}\n", "linux-64")


def test_channels_are_found_by_name_or_address() -> None:
    """A channel that only a package names comes last; `nodefaults` removes the default channel."""
    requested_packages = parse_request(
        ["a", "bioconda::b=1", "https://x.example.org/c/::d", "numpy[build=py3*]"],
        ["forge", "nodefaults", "https://y.example.org/z/"],
        NAMES,
        "linux-64",
    )
    named = (f"{NAMES}/forge", "https://y.example.org/z", f"{NAMES}/bioconda", "https://x.example.org/c")
    assert requested_packages.channels == named
    assert requested_packages.specs == (
        "a",
        f"{NAMES}/bioconda::b 1.*",
        "https://x.example.org/c::d",
        'numpy[build="py3*"]',
    )


@pytest.mark.parametrize(
    ("spec", "solved", "channels"),
    [
        ("forge/linux-64::a", f'{NAMES}/forge::a[subdir="linux-64"]', (f"{NAMES}/forge",)),
        ("a[channel=bioconda]", f"{NAMES}/bioconda::a", (f"{NAMES}/forge", f"{NAMES}/bioconda")),
        (
            "a[channel='http://h.example.org/c',version='>1']",
            "http://h.example.org/c::a >1",
            (f"{NAMES}/forge", "http://h.example.org/c"),
        ),
        (
            "http://h.example.org/c/noarch::a=1",
            'http://h.example.org/c::a 1.*[subdir="noarch"]',
            (f"{NAMES}/forge", "http://h.example.org/c"),
        ),
        ("a[build_number=3,subdir=noarch]", 'a[build_number="==3", subdir="noarch"]', (f"{NAMES}/forge",)),
    ],
)
def test_a_spec_can_name_its_channel_and_platform_in_each_form(
    spec: str, solved: str, channels: tuple[str, ...]
) -> None:
    """The solver gets the URL of the channel, and the channel's list of packages is read."""
    request = parse_request([spec], ["forge"], NAMES, "linux-64")
    assert (request.specs, request.channels) == ((solved,), channels)


def test_a_spec_for_another_platform_is_refused() -> None:
    """Its programs would not run in the image."""
    with pytest.raises(BadRequest, match="a is requested from linux-64, but the image is for linux-aarch64"):
        parse_request(["forge/linux-64::a"], ["forge"], NAMES, "linux-aarch64")


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ("", "not a channel"),
        ("../x", "not a channel"),
        ("a b", "not a channel"),
        ("https://user:secret@conda.example.org/x", "with credentials"),
        ("https://conda.example.org/t/token/x", "with credentials"),
        ("ftp://conda.example.org/x", "not the URL of a channel"),
        ("https://conda.example.org/x?y=1", "not the URL of a channel"),
    ],
)
def test_what_is_no_channel_is_refused(channel: str, message: str) -> None:
    """The message says what is taken; credentials would end up in lock files."""
    with pytest.raises(BadRequest, match=message) as refused:
        parse_request(["a"], [channel], NAMES, "linux-64")
    assert "secret" not in str(refused.value)


def test_a_package_by_address_is_refused() -> None:
    """Its metadata would come from no channel."""
    with pytest.raises(BadRequest, match="must be named, not given by URL"):
        parse_request(["https://x.example.org/a-1-0.conda"], ["forge"], NAMES, "linux-64")


def test_a_request_needs_a_channel() -> None:
    """There is no default: whose packages they are is the user's choice."""
    with pytest.raises(BadRequest, match="channels is empty"):
        parse_request(["a"], [], NAMES, "linux-64")


def test_only_some_machines_have_packages() -> None:
    """The others are refused at once."""
    assert [subdir_of(parse_platform(name)) for name in ("amd64", "arm64")] == ["linux-64", "linux-aarch64"]
    with pytest.raises(BadRequest, match="not for linux/arm/v7"):
        subdir_of(parse_platform("linux/arm/v7"))
