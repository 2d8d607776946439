"""Which registries on this machine's loopback a build reaches."""

import pytest

from builder.domain.loopback import Address, allowed_registries, proxies


@pytest.mark.parametrize(
    ("allowed", "images", "reached"),
    [
        (["localhost:9500"], [], [("127.0.0.1", 9500)]),
        (["127.0.0.1:5000", "[::1]:5000"], [], [("127.0.0.1", 5000), ("::1", 5000)]),
        (["registry.example.org:443", "10.0.0.1:5000"], ["10.0.0.1:5000/a"], []),
        (["localhost"], ["localhost:5000/a:1", "localhost:5001/b@sha256:0"], [80, 5000, 5001]),
        ([], ["localhost:5000/a"], []),
        (["localhost:5000"], ["localhost:8333/a"], [("127.0.0.1", 5000)]),
        (["localhost:99999", "localhost:"], [], []),
        (["127.0.0.1:5000", "localhost:5000"], [], [("127.0.0.1", 5000)]),
    ],
)
def test_only_the_operator_allows(allowed: list[str], images: list[str], reached: list[tuple[str, int] | int]) -> None:
    """An image name alone opens nothing; a host that is allowed with all its ports is open at those that are named."""
    expected = [Address("127.0.0.1", each) if isinstance(each, int) else Address(*each) for each in reached]
    assert allowed_registries(allowed, images) == expected


def test_proxies_on_loopback_are_reached_without_being_allowed() -> None:
    """The operator has configured these addresses; others are ordinary hosts."""
    urls = ["http://ada:secret@localhost:3128", "http://127.0.0.1", "http://[::1]:8080", "http://proxy.example:3128"]
    assert proxies(urls) == [Address("127.0.0.1", 3128), Address("127.0.0.1", 80), Address("::1", 8080)]
