"""Augmenting: an image and what to add to it make another image.

The first part holds the golden vectors: known bytes in, known digests out. They pin the serialisation, so that an
upgrade of a library cannot change the digests of images that clients have pinned.
"""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_proxy.domain.augment import augment
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.archives.layers import verify_layer
from swell.errors import ImageUnsupported, ManifestInvalid, TooLarge
from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
)
from swell.oci.mutate import MAX_LAYERS
from tests.unit.registry_proxy.golden import (
    ADDED,
    BASE_GZIP,
    BASE_TAR,
    GOLDEN_CONFIG,
    WANTED,
    encoded,
    golden_image,
    golden_index,
    hex_digest,
    image_running,
    make_image,
    run_fields,
)


def test_golden_inputs_are_the_ones_described() -> None:
    """Otherwise the vectors below would prove nothing."""
    amd64, arm64, docker = golden_image("amd64"), golden_image("arm64"), golden_image(docker=True)

    assert amd64.config.size == arm64.config.size == 419
    assert hex_digest(amd64.config) == "b90eb83c6e3e0a924095983f3ee02677fd236923cae4d3715df0ef24fcc6e6af"
    assert hex_digest(arm64.config) == "70c112306a969f388ca5a72bbe0469071b0ff26558942346b6d37420f4874516"
    assert hex_digest(docker.manifest) == "0e56e4357efaa7c4a9dcf37aab546ddeb050f0adad883daec47fd5ae70a3b57e"
    assert hex_digest(amd64.manifest) == "7bcdf9bf5080b412e6b41c1ea3db42308254abc2ba43ec54671a7a3423b4311d"
    assert hex_digest(arm64.manifest) == "467f1a8072e4580c468da499acf6e39353868651d791b12fdada7738f43ad124"
    assert hex_digest(golden_index()) == "9c4103ae121734761b20f4c9b74a6625e5917d78b8c42208992a3562b86f73da"


@pytest.mark.parametrize(
    ("packed", "layer"),
    [
        (
            "H4sIAAAAAAACA+3RMQqDQBAF0Kk9RU4gWxhznhSChRCIK+T47qYSewXxveYPf4opZhym6dPmX47jpKLvun8W+6zbzVz7V5+e8UhxgmXO"
            "7285Gfc01v83AQAAAAAAAAAAwMWspGdw9AAoAAA=",
            ContainerLayer("", BASE_GZIP, 107, BASE_TAR),
        ),
        (
            "H4sIAAAAAAACA+3SwQrCMBCE4T3nKSLem20x5HmqCClIV0x8/yZeBO9Kwf+7zDKXuazda6hmt6Fk+RZtUoyvbD5TdTq9796PqjGJV/mBZ6nz"
            "o83LfzoewnlZQ8nuesnm+ys4AQAAAAAAAAAAAAAAAADs3gYXkU8tACgAAA==",
            ADDED,
        ),
    ],
)
def test_golden_layers_are_the_ones_described(packed: str, layer: ContainerLayer) -> None:
    """The same measuring finds them right when a client sends them."""
    assert verify_layer(base64.b64decode(packed), layer) == layer


@pytest.mark.parametrize("docker", [False, True])
def test_golden_config(docker: bool) -> None:
    """Docker's configs and the OCI's are rewritten alike."""
    config = augment(golden_image(docker=docker), WANTED).config

    assert config.size == 776
    assert hex_digest(config) == "8ecbbcd3834f8c8f6f08883c9a5ed4c13e1e75b4050181bc6651be8ddf45bba4"
    assert config.media_type == (DOCKER_CONFIG if docker else OCI_CONFIG)


def test_golden_manifest() -> None:
    """The added layer has the OCI's media type, as every layer of an OCI manifest must for conversions."""
    manifest = augment(golden_image(), WANTED).manifest

    assert (manifest.size, manifest.media_type) == (555, OCI_MANIFEST)
    assert hex_digest(manifest) == "d5377700cb7f5eb791e5f8c08fa18ea180c5a75ea152547669f0e114be19f551"


def test_layers_of_a_docker_image_have_dockers_media_type() -> None:
    """A manifest that mixes the two families does not survive `skopeo copy`."""
    manifest = augment(golden_image(docker=True), WANTED).manifest

    assert {layer.media_type for layer in manifest.layers} == {DOCKER_LAYER}


@pytest.mark.parametrize(
    "media_type", ["application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.oci.image.layer.v1.tar"]
)
def test_layers_of_other_images_keep_their_compression(media_type: str) -> None:
    """They are served as they are; a runtime that inflates zstd as gzip fails. Docker's manifests cannot say it."""
    wanted = ContainerConfig(layers=(msgspec.structs.replace(ADDED, media_type=media_type),))

    assert [layer.media_type for layer in augment(golden_image(), wanted).manifest.layers] == [OCI_LAYER, media_type]
    with pytest.raises(ImageUnsupported, match="Docker's format"):
        augment(golden_image(docker=True), wanted)


def test_an_image_without_media_types_keeps_none() -> None:
    """`mediaType` is optional in OCI manifests; then the type comes from the registry's `Content-Type`."""
    image = golden_image()
    fields = {name: value for name, value in image.manifest.fields.items() if name != "mediaType"}

    made = augment(Image(Document(OCI_MANIFEST, encoded(fields)), image.config), WANTED).manifest

    assert (made.media_type, "mediaType" in made.fields) == (OCI_MANIFEST, False)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.from_regex(r"[A-Z]{1,3}", fullmatch=True)
envs = st.lists(st.builds("{}={}".format, names, texts), max_size=5)
layers = st.lists(
    st.builds(
        ContainerLayer,
        location=st.sampled_from(["", "https://x.org/l.tar.gz", "https://x.org/fusion-amd64.tar.gz"]),
        gzip_digest=st.binary(max_size=2).map(digest_of),
        gzip_size=st.integers(1, 2**40),
        tar_digest=st.binary(max_size=2).map(digest_of),
    ),
    max_size=4,
)
container_configs = st.builds(
    ContainerConfig,
    entrypoint=st.none() | st.lists(texts, max_size=3).map(tuple),
    cmd=st.none() | st.lists(texts, max_size=3).map(tuple),
    env=st.none() | envs.map(tuple),
    working_dir=st.none() | texts,
    layers=st.none() | layers.map(tuple),
)
history_entries = st.sampled_from([{"created_by": "x"}, {"created_by": "y", "empty_layer": True}])


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Images with none to three layers, and at most as many in their history."""
    count = draw(st.integers(0, 3))
    history = draw(st.none() | st.lists(history_entries, max_size=count))
    run = {
        "Env": draw(st.none() | envs),
        "Entrypoint": draw(st.none() | texts | st.lists(texts, max_size=3)),
        "Cmd": draw(st.none() | st.lists(texts, max_size=3)),
        "Labels": draw(st.dictionaries(texts, texts, max_size=3)),
    }
    config = {
        "architecture": draw(st.sampled_from(["amd64", "arm64"])),
        "config": draw(st.just(run) | st.none()),
        "rootfs": {"type": "layers", "diff_ids": [BASE_TAR] * count},
        "x-unknown": draw(texts),
    }
    base = {"mediaType": OCI_LAYER, "size": 107, "digest": BASE_GZIP, "annotations": {"x": draw(texts)}}
    return make_image(config if history is None else config | {"history": history}, layers=[base] * count)


@given(images(), container_configs)
def test_equal_inputs_give_equal_digests(image: Image, wanted: ContainerConfig) -> None:
    """No input depends on the time, so a lost document can be created again while a client pulls."""
    assert augment(image, wanted) == augment(image, wanted)


@given(images(), container_configs)
def test_every_descriptor_matches_its_content(image: Image, wanted: ContainerConfig) -> None:
    """Sizes are of bytes, not of characters; converters demand a history entry for each layer."""
    made = augment(image, wanted)

    assert (made.manifest.config.digest, made.manifest.config.size) == (made.config.digest, len(made.config.content))
    assert len(made.manifest.layers) == len(made.config.fields["rootfs"]["diff_ids"])
    if made != image:
        history = made.config.fields["history"]
        assert sum(not entry.get("empty_layer") for entry in history) == len(made.manifest.layers)


@given(images(), container_configs)
def test_what_is_not_asked_for_stays(image: Image, wanted: ContainerConfig) -> None:
    """Labels, unknown fields and the base image's layers with their annotations."""
    made = augment(image, wanted)

    assert made.config.fields["x-unknown"] == image.config.fields["x-unknown"]
    assert (made.config.fields["config"] or {}).get("Labels") == (image.config.fields["config"] or {}).get("Labels")
    base = image.manifest.fields["layers"]
    assert made.manifest.fields["layers"][: len(base)] == base


@given(images())
def test_an_empty_container_config_leaves_the_bytes_unchanged(image: Image) -> None:
    """Without additions, clients get the published image under its own digest."""
    assert augment(image, ContainerConfig(env=(), layers=())) is image


def test_environment_is_replaced_by_name() -> None:
    """With a name twice, some runtimes take the first value and others the last."""
    image = image_running(Env=["A=1", "B=2", "A=3", "EMPTY"])

    made = augment(image, ContainerConfig(env=("B=x=y", "C=4")))

    assert run_fields(made)["Env"] == ["A=3", "B=x=y", "EMPTY", "C=4"]


@pytest.mark.parametrize(
    ("entrypoint", "chain"),
    [
        (None, []),
        ([], []),
        ("", []),
        ("run", ["WAVE_ENTRY_CHAIN=run"]),
        (["run"], ["WAVE_ENTRY_CHAIN=run"]),
        (["a", "b c"], ['WAVE_ENTRY_CHAIN=["a","b c"]']),
        (["/bin/sh", "-c", '"echo Holà"'], ['WAVE_ENTRY_CHAIN=["/bin/sh","-c","\\"echo Holà\\""]']),
    ],
)
def test_the_new_entrypoint_receives_the_replaced_one(entrypoint: object, chain: list[str]) -> None:
    """Wave's launcher does its own work and then runs what the image would have run."""
    made = augment(image_running(Entrypoint=entrypoint), ContainerConfig(env=("A=1",)))

    assert run_fields(made)["Env"] == ["A=1", *chain]


def test_cmd_stays_when_only_the_entrypoint_is_replaced() -> None:
    """Unlike in a Dockerfile; Wave's clients count on it."""
    made = augment(golden_image(), ContainerConfig(entrypoint=("/usr/bin/wave",)))

    assert (run_fields(made)["Entrypoint"], run_fields(made)["Cmd"]) == (["/usr/bin/wave"], ["run"])


@pytest.mark.parametrize("config", [{"config": None}, {}])
def test_a_config_without_run_time_fields_gets_them(config: dict[str, Any]) -> None:
    """They are optional in the specification."""
    rest = {name: value for name, value in GOLDEN_CONFIG.items() if name != "config"}

    made = augment(make_image(rest | config), ContainerConfig(cmd=("x",)))

    assert run_fields(made) == {"Cmd": ["x"]}


def test_adding_only_layers_changes_no_run_time_field() -> None:
    """The history then has an entry for the layer, and none for the config."""
    made = augment(image_running(Cmd=["run"]), ContainerConfig(layers=(ADDED,)))

    assert run_fields(made) == {"Cmd": ["run"]}
    assert [entry["created_by"] for entry in made.config.fields["history"]][1:] == [
        f"wave augment: layer {ADDED.gzip_digest}"
    ]


@pytest.mark.parametrize(("architecture", "kept"), [("amd64", 2), ("x86_64", 2), ("arm64", 2), ("riscv64", 1), ("", 3)])
def test_fusion_is_added_for_the_images_own_architecture(architecture: str, kept: int) -> None:
    """Clients send Fusion's layers for all architectures; the image knows which it is of."""
    fusion = [
        msgspec.structs.replace(ADDED, location=f"https://x.org/pkg/2/4/fusion-{name}.tar.gz")
        for name in ("amd64", "arm64")
    ]

    made = augment(golden_image(architecture), ContainerConfig(layers=(*fusion, ADDED)))

    assert len(made.manifest.layers) == 1 + kept


def test_an_embedded_copy_of_the_old_config_goes() -> None:
    """Clients may use a descriptor's `data` instead of asking for the blob; it must not be stale."""
    image = golden_image()
    config = image.manifest.fields["config"] | {"data": "e30=", "annotations": {"x": "y"}}

    made = augment(Image(image.manifest.changed(config=config), image.config), WANTED).manifest.fields["config"]

    assert ("data" in made, made["annotations"]) == (False, {"x": "y"})


def test_an_image_cannot_grow_without_end() -> None:
    """Container engines stack 127 layers and fail on more, long after the pull."""
    exactly = augment(golden_image(), ContainerConfig(layers=(ADDED,) * (MAX_LAYERS - 1)))

    assert len(exactly.manifest.layers) == MAX_LAYERS
    with pytest.raises(TooLarge):
        augment(golden_image(), ContainerConfig(layers=(ADDED,) * MAX_LAYERS))


@pytest.mark.parametrize(
    "image",
    [
        make_image({}),
        Image(golden_index(), golden_image().config),
        Image(Document("application/vnd.docker.distribution.manifest.v1+prettyjws", b"{}"), golden_image().config),
    ],
    ids=["SIF file", "index", "schema 1"],
)
def test_what_is_no_container_image_is_not_augmented(image: Image) -> None:
    """Registries have charts and SIF files too; an error is better than ignoring the container config."""
    with pytest.raises(ImageUnsupported):
        augment(image, WANTED)


@pytest.mark.parametrize(
    "changes",
    [
        {"rootfs": None},
        {"rootfs": {"diff_ids": [1]}},
        {"rootfs": {"diff_ids": []}},
        {"config": []},
        {"config": {"Env": "A=1"}},
        {"config": {"Entrypoint": [1]}},
        {"history": {}},
        {"history": [None]},
        {"architecture": 1},
    ],
)
def test_a_malformed_config_is_the_images_fault(changes: dict[str, Any]) -> None:
    """The client learns that the image is broken, not that the server is."""
    with pytest.raises(ManifestInvalid):
        augment(make_image(GOLDEN_CONFIG | changes), WANTED)


@pytest.mark.parametrize("rootfs", [{"type": "layers"}, {"type": "layers", "diff_ids": None}])
@pytest.mark.parametrize("wanted", [WANTED, ContainerConfig(env=("A=1",))], ids=["layers", "env"])
def test_an_image_of_no_layers_can_be_added_to(rootfs: dict[str, Any], wanted: ContainerConfig) -> None:
    """Made of scratch; its config says so in one of the two ways in which Go writes an empty list."""
    made = augment(make_image({"architecture": None, "rootfs": rootfs}, layers=[]), wanted)

    added = [layer.tar_digest for layer in wanted.layers or ()]
    assert made.config.fields["rootfs"] == {"type": "layers", "diff_ids": added}
    assert [layer.digest for layer in made.manifest.layers] == [layer.gzip_digest for layer in wanted.layers or ()]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts | st.just(BASE_TAR),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["diff_ids", "Env", "Entrypoint", "empty_layer", "created"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*GOLDEN_CONFIG]), json_values))
def test_any_config_is_augmented_or_refused(changes: dict[str, Any]) -> None:
    """Images are untrusted; only Swell's own errors may result."""
    try:
        made = augment(make_image(GOLDEN_CONFIG | changes), WANTED)
    except ManifestInvalid:
        return
    assert len(made.manifest.layers) == len(made.config.fields["rootfs"]["diff_ids"])
