"""The operator's file of Platforms: which endpoints are accepted, in which spellings."""

import hashlib

import pytest

from gateway.domain.platform import parse_platforms
from swell.settings import SettingsInvalid

DIGEST = hashlib.sha256(b"secret").hexdigest()
ENDPOINT = "https://platform.example.org/api"


def file_of(*tables: str) -> bytes:
    return "".join(f"[[platform]]\n{table}\n" for table in tables).encode()


PAIRED = f'endpoint = "{ENDPOINT}"\nsecrets = ["{DIGEST}"]'


@pytest.mark.parametrize(
    "spelling", [ENDPOINT, f"{ENDPOINT}/", "https://PLATFORM.example.org/api", "https://platform.example.org:443/api"]
)
def test_an_endpoint_is_found_in_any_spelling(spelling: str) -> None:
    """Clients may write a slash at the end."""
    found = parse_platforms(file_of(PAIRED)).find(spelling)

    assert found is not None
    assert found.endpoint == ENDPOINT


@pytest.mark.parametrize(
    "other",
    [
        "https://platform.example.org",
        "https://platform.example.org/api/more",
        "http://platform.example.org/api",
        "https://user@platform.example.org/api",
        "https://platform.example.org.evil.example/api",
        "https://platform.example.org/api?x=1",
        "ftp://platform.example.org/api",
        "https://[/api",
        "x" * 10_000,
    ],
)
def test_no_other_endpoint_is_found(other: str) -> None:
    """A token is sent to the named endpoint only."""
    assert parse_platforms(file_of(PAIRED)).find(other) is None


def test_former_host_names_mean_the_current_ones() -> None:
    """As in Wave."""
    platforms = parse_platforms(file_of(f'endpoint = "https://api.cloud.seqera.io"\nsecrets = ["{DIGEST}"]'))

    assert platforms.find("https://api.tower.nf/") is platforms.find("https://api.cloud.seqera.io")


def test_without_an_endpoint_the_first_platform_is_meant() -> None:
    """Wave has a default, too; without Platforms the result is None."""
    found = parse_platforms(file_of(PAIRED)).find(None)

    assert found is not None
    assert found.endpoint == ENDPOINT
    assert parse_platforms(b"").find(None) is None


def test_a_platform_opens_with_its_own_secret_only() -> None:
    """Also with the second one, while the secret is changed."""
    former = hashlib.sha256(b"former").hexdigest()
    platform = parse_platforms(file_of(f'endpoint = "{ENDPOINT}"\nsecrets = ["{former}", "{DIGEST}"]')).find(ENDPOINT)

    assert platform is not None
    assert platform.opens("secret")
    assert platform.opens("former")
    assert not any(map(platform.opens, ("", "Secret", DIGEST, "secret ")))


@pytest.mark.parametrize(
    "tables",
    [
        ['endpoint = "platform"'],
        [f'endpoint = "{ENDPOINT}"'],
        [PAIRED, PAIRED],
        [PAIRED, PAIRED.replace("/api", "/other")],
        [f'endpoint = "{ENDPOINT}"\nsecrets = ["secret"]'],
        ['endpoint = "http://platform.example.org/api"\ndirect = true'],
        [f"{PAIRED}\nunknown = 1"],
    ],
)
def test_an_invalid_file_stops_the_gateway(tables: list[str]) -> None:
    """A Platform without a secret could be claimed; tokens are not sent without TLS; users of one host share names."""
    with pytest.raises(SettingsInvalid):
        parse_platforms(file_of(*tables))
