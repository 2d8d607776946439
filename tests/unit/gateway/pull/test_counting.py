"""A pull as it is counted."""

from datetime import timedelta

import msgspec
import pytest

from gateway.domain.grant import Grant
from gateway.pull.counting import MOST_BYTES, Architectures, content_size, has_fusion
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX, OCI_MANIFEST
from tests.unit.gateway.doubles import NOON

GRANT = Grant(
    token="t", image="docker.io/library/ubuntu:22.04", platform="linux/arm64", created=NOON, expires=NOON + timedelta(1)
)


def manifest(content: str) -> Document:
    return Document(OCI_MANIFEST, msgspec.json.encode({"config": {}, "layers": [], "content": content}))


def index(*entries: tuple[Document, object]) -> Document:
    described = [{"digest": image.digest, "size": image.size, "platform": platform} for image, platform in entries]
    return Document(OCI_INDEX, msgspec.json.encode({"manifests": described}))


@pytest.fixture
def architectures() -> Architectures:
    return Architectures()


def test_an_image_is_for_what_its_index_says(architectures: Architectures) -> None:
    """The machine that pulls may have another platform than the one that was requested."""
    intel, arm = manifest("intel"), manifest("arm")
    architectures.learn(
        index((intel, {"os": "linux", "architecture": "x86_64"}), (arm, {"os": "linux", "architecture": "arm64"}))
    )

    assert [architectures.of(image, GRANT) for image in (intel, arm)] == ["amd64", "arm64"]


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm64,linux/amd64", "linux/arm64/v9"])
def test_an_image_without_an_index_is_for_what_was_asked(architectures: Architectures, platform: str) -> None:
    """For the first, where several were."""
    assert architectures.of(manifest("one"), msgspec.structs.replace(GRANT, platform=platform)) == "arm64"


@pytest.mark.parametrize("platform", [None, {}, {"architecture": 7}, {"architecture": "x" * 10_000}, {"os": "linux"}])
def test_what_an_index_makes_up_is_another_architecture(architectures: Architectures, platform: object) -> None:
    """Not the one that was asked for; and strangers do not choose what we count by."""
    image = manifest("one")
    architectures.learn(index((image, platform)))

    assert architectures.of(image, GRANT) == "other"


def test_an_index_that_makes_no_sense_teaches_nothing(architectures: Architectures) -> None:
    """It was served well, and counting must not change that."""
    architectures.learn(Document(OCI_INDEX, b'{"manifests": 7}'))

    assert architectures.of(manifest("one"), GRANT) == "arm64"


def test_the_cache_is_bounded(architectures: Architectures, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are unlimited in number; memory is not."""
    monkeypatch.setattr("gateway.pull.counting._MAX_CACHED", 10)
    for number in range(100):
        architectures.learn(index((manifest(str(number)), {"architecture": "amd64"})))

    assert architectures.of(manifest("99"), GRANT) == "amd64"
    assert architectures.of(manifest("0"), GRANT) == "arm64"


@pytest.mark.parametrize(
    ("location", "is_fusion"),
    [
        ("https://fusionfs.seqera.io/releases/pkg/2/4/0/fusion-amd64.tar.gz", True),
        ("http://mirror.example.org/fusion-arm64.tar.gz", True),
        ("https://fusionfs.seqera.io/releases/v2.4.0-amd64.json", False),
        ("https://example.org/fusion-amd64.tar.gz?really=no", False),
        ("https://example.org/confusion-amd64.tar.gz", False),
        ("", False),
    ],
)
def test_fusion_is_known_by_its_name(location: str, is_fusion: bool) -> None:
    """On any host: operators mirror it."""
    other = ContainerLayer(location="https://example.org/layer.tar.gz")

    assert has_fusion(ContainerConfig(layers=(other, ContainerLayer(location=location)))) is is_fusion


@pytest.mark.parametrize("config", [None, ContainerConfig(), ContainerConfig(env=("A=b",))])
def test_without_layers_there_is_no_fusion(config: ContainerConfig | None) -> None:
    """A config without layers, or no config, is counted without Fusion."""
    assert not has_fusion(config)


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (b'{"config": {"size": 5}, "layers": [{"size": 7}, {"size": 8}]}', 20),
        (b'{"config": {"size": 5}, "layers": null}', 5),
        (b'{"config": {"size": 5}, "layers": [{"size": -7}]}', 5),
        (b'{"config": {"size": 5}, "layers": [{"size": 9223372036854775807}]}', MOST_BYTES),
        (b'{"config": {"size": "5"}}', 0),
        (b'{"layers": []}', 0),
        (b"[" * 100_000, 0),
        (b"\xff", 0),
    ],
)
def test_the_size_of_an_image_is_bounded(content: bytes, size: int) -> None:
    """A stranger's manifest can name any sizes; their sum over all pulls has to stay a number of 64 bits."""
    assert content_size(content) == size
