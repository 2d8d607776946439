"""Inspections: what is requested from registries, and what is refused before."""

import pytest

from gateway.domain.access.identity import Reader
from gateway.inspect import Inspector, registry_of
from swell.api.inspect import CredentialsRequest, Inspection, InspectRequest
from swell.errors import BadRequest, TooLarge
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal


class Asked:
    """Registries that know every image and take the password `right`; remembers the questions."""

    def __init__(self) -> None:
        self.images: list[tuple[str, str | None]] = []
        self.registries: list[str] = []

    async def inspect(
        self, image: Reference, platform: Platform | None, principal: Principal, *, referrers: bool = False
    ) -> Inspection:
        self.images.append((str(image), str(platform) if platform else None))
        return Inspection()

    async def pull_principal(self, reader: Reader, image: Reference) -> Principal:
        return reader.principal

    async def accepts(self, registry: str, user_name: str, password: str) -> bool:
        self.registries.append(registry)
        return password == "right"


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def inspector(asked: Asked) -> Inspector:
    return Inspector(asked, asked, asked)


@pytest.mark.parametrize("platform", [None, ""])
async def test_an_image_is_looked_up_by_its_full_name(inspector: Inspector, asked: Asked, platform: str | None) -> None:
    """Without a platform, the response for an index is the index."""
    await inspector.image(InspectRequest("busybox"), platform)

    assert asked.images == [("docker.io/library/busybox:latest", None)]


async def test_a_platform_has_its_canonical_spelling(inspector: Inspector, asked: Asked) -> None:
    """Aliases such as `aarch64` select the same image."""
    await inspector.image(InspectRequest("quay.io/acme/tool:2.1"), "aarch64")

    assert asked.images == [("quay.io/acme/tool:2.1", "linux/arm64")]


@pytest.mark.parametrize(
    ("image", "platform", "words"),
    [
        (None, None, "containerImage is required"),
        (" ", None, "containerImage is required"),
        ("a", "amd64,arm64", "Only one platform is allowed here"),
        ("a", ",", "Only one platform is allowed here"),
        ("a", "sparc", "Architecture 'sparc' is not supported"),
        ("https://quay.io/acme/tool", None, "without a scheme"),
        ("Acme/Tool", None, "no image name"),
        ("a@sha256:beef", None, "no digest"),
    ],
)
async def test_what_cannot_be_meant_is_refused_at_once(
    inspector: Inspector, asked: Asked, image: str | None, platform: str | None, words: str
) -> None:
    """No registry is contacted for an invalid request."""
    with pytest.raises(BadRequest, match=words):
        await inspector.image(InspectRequest(image), platform)

    assert asked.images == []


@pytest.mark.parametrize("password", ["right", "wrong"])
async def test_the_registry_says_whether_it_takes_them(inspector: Inspector, password: str) -> None:
    """The result is the registry's own."""
    taken = await inspector.credentials(CredentialsRequest("ann", password, "quay.io"))

    assert taken is (password == "right")


@pytest.mark.parametrize("name", ["user_name", "password", "registry"])
@pytest.mark.parametrize("value", [None, "", "  "])
async def test_all_three_must_be_said(inspector: Inspector, asked: Asked, name: str, value: str | None) -> None:
    """And the answer says which one is missing."""
    fields = {"user_name": "ann", "password": "right", "registry": "quay.io", name: value}

    with pytest.raises(BadRequest, match=f"{name.replace('user_name', 'userName')} is required"):
        await inspector.credentials(CredentialsRequest(**fields))

    assert asked.registries == []


@pytest.mark.parametrize("name", ["user_name", "password", "registry"])
async def test_nothing_is_asked_for_megabytes(inspector: Inspector, asked: Asked, name: str) -> None:
    """Long values are refused before they are sent."""
    fields = {"user_name": "ann", "password": "right", "registry": "quay.io", name: "x" * 2**20}

    with pytest.raises(TooLarge, match=f"{name.replace('user_name', 'userName')} has more than"):
        await inspector.credentials(CredentialsRequest(**fields))
    with pytest.raises(TooLarge, match="containerImage has more than"):
        await inspector.image(InspectRequest("x" * 2**20), None)

    assert (asked.registries, asked.images) == ([], [])


@pytest.mark.parametrize(
    ("text", "registry"),
    [
        ("quay.io", "quay.io"),
        (" Quay.IO ", "quay.io"),
        ("docker.io/acme", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("http://localhost:5000/v2/", "localhost:5000"),
        ("[2001:db8::1]:5000", "[2001:db8::1]:5000"),
        ("registry", "registry"),
    ],
)
def test_a_registry_is_known_by_its_host(text: str, registry: str) -> None:
    """People write it as their tools do: as a URL, with the path of a team."""
    assert registry_of(text) == registry


@pytest.mark.parametrize("text", ["/acme", "https://", "ann@quay.io", "quay.io:99999", "quay io", "quay.io?x", "::1"])
def test_what_is_no_host_is_refused(text: str) -> None:
    """The message names the invalid value."""
    with pytest.raises(BadRequest, match="is no registry"):
        registry_of(text)


def test_a_password_is_not_shown() -> None:
    """In any log of the request."""
    assert "secret" not in repr(CredentialsRequest("ann", "secret", "quay.io"))
