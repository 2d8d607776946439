"""Container ids: the same inputs give the same id, here and in Wave."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.api.containers import BuildCompression, BuildOptions, CompressionMode, ContainerConfig, ContainerLayer
from swell.errors import BadRequest
from swell.naming.build_id import BuildInputs, config_hash, hash_of

JQ = {
    "containerfile": "FROM alpine:3.20\nRUN apk add jq\n",
    "repository": "registry.example.com/team/builds",
}
UBUNTU: dict[str, Any] = {"containerfile": "FROM ubuntu:latest", "repository": "docker.io/wave"}
CONTEXT = ContainerLayer(location="https://x.org/context.tar.gz")
BASH = ContainerConfig(
    entrypoint=("bash", "-c"),
    cmd=("ls",),
    env=("A=1", "B=2"),
    working_dir="/w",
    layers=(ContainerLayer("https://x/l.tgz", "sha256:aa", 10, "sha256:bb"),),
)


def container_id(**inputs: Any) -> str:
    return BuildInputs(**inputs).container_id


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, "7efaa2ed59c58a16"),
        ({"platform": "linux/arm64"}, "be9ee6ac1eeff4b5"),
        ({"platform": "linux/arm64", "conda_file": "some::conda-recipe"}, "c6dac2e544419f71"),
        ({"containerfile": "FROM foo:latest", "repository": "foo.com/repo"}, "af15cb0a413a2d48"),
        ({"repository": "docker.io/wave", "context": CONTEXT}, "181ec22b26ae6d04"),
        ({"repository": "docker.io/wave", "context": CONTEXT, "containerfile": "From: foo"}, "d78ba9cb01188668"),
        (
            {"context": ContainerLayer("", tar_digest="sha256:" + "ab" * 32)},
            "3b8e812ef9d7a51c",
        ),
        ({"config": ContainerConfig(env=("FOO=one",))}, "c8e9403616b4e35c"),
        (UBUNTU, "33d3626c806a9022"),
        (UBUNTU | {"platform": "linux/amd64,linux/arm64"}, "19bc00e2e889a343"),
        ({"containerfile": "FROM foo\n# café"}, "9f3b978f4955fd9d"),
        (JQ, "c44968632f89dd6c"),
        (JQ | {"platform": "linux/arm64"}, "fee1a2c2e3164dd9"),
        (JQ | {"platform": "linux/amd64,linux/arm64"}, "7fecc4a4c9ea4802"),
    ],
)
def test_ids_equal_those_of_wave(inputs: dict[str, Any], expected: str) -> None:
    """Clients store image names for years; after a migration from Wave the names are the same."""
    common = {"containerfile": "FROM foo", "platform": "linux/amd64", "repository": "wave/build"}

    assert container_id(**(common | inputs)) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"foo": "one", "bar": "two"}, "28e758ec870964c8"),
        ({"image": "docker.io/foo/bar:latest"}, "057d44d43bb7f81c"),
        ({"image": "x", "digest": "y"}, "00769af315dcb1fe"),
        ({"image": "registry.example.com/team/builds:c44968632f89dd6c"}, "80b9e02a956aa954"),
        ({"image": "quay.io/acme/tool:2.1", "digest": "sha256:" + "ab" * 32}, "d700b75853d8096c"),
    ],
)
def test_scan_ids_come_from_the_same_hash(attributes: dict[str, str], expected: str) -> None:
    """The inputs are an image and its digest, if it is known."""
    assert hash_of(attributes) == expected


@pytest.mark.parametrize(("config", "expected"), [(ContainerConfig(env=("FOO=one",)), 1549538286), (BASH, -1080965164)])
def test_the_hash_of_a_config_equals_javas(config: ContainerConfig, expected: int) -> None:
    """It is a signed 32-bit number in the id."""
    assert config_hash(config) == expected


def test_an_empty_config_counts_as_none() -> None:
    """Clients send a config with empty lists if there is nothing to add."""
    inputs: dict[str, Any] = {"containerfile": "FROM foo", "platform": "linux/amd64", "repository": "wave/build"}

    assert container_id(**inputs, config=ContainerConfig(env=(), layers=())) == container_id(**inputs)


@given(st.text(st.characters(), max_size=50))
def test_any_text_has_an_id(text: str) -> None:
    """JSON can have any character, unpaired surrogates included."""
    computed = container_id(containerfile=text, platform=text, repository=text, config=ContainerConfig(cmd=(text,)))

    assert len(computed) == 16
    assert -(2**31) <= config_hash(ContainerConfig(working_dir=text)) < 2**31


def test_build_options_change_the_id() -> None:
    """They make another image; without options, the id equals Wave's."""
    plain = container_id(**UBUNTU, platform="linux/amd64")
    chosen = [
        BuildOptions(build_args={"A": "1"}),
        BuildOptions(build_args={"A": "2"}),
        BuildOptions(target="one"),
        BuildOptions(labels={"A": "1"}),
        BuildOptions(build_secrets={"A": "1"}),
    ]
    ids = {container_id(**UBUNTU, platform="linux/amd64", options=each) for each in chosen}
    assert len(ids | {plain}) == 6
    assert container_id(**UBUNTU, platform="linux/amd64", options=BuildOptions()) == plain
    swapped = [BuildOptions(build_args=dict(pairs)) for pairs in ((("A", "1"), ("B", "2")), (("B", "2"), ("A", "1")))]
    assert len({container_id(**UBUNTU, platform="linux/amd64", options=each) for each in swapped}) == 1


def test_a_compression_other_than_the_default_changes_the_id() -> None:
    """A request for zstd must not return an image with gzip layers."""
    plain = container_id(**UBUNTU, platform="linux/amd64")
    usual = container_id(**UBUNTU, platform="linux/amd64", compression=BuildCompression(mode=CompressionMode.GZIP))
    zstd = container_id(**UBUNTU, platform="linux/amd64", compression=BuildCompression(mode=CompressionMode.ZSTD))
    level = container_id(**UBUNTU, platform="linux/amd64", compression=BuildCompression(level=9))
    assert usual == plain
    assert len({plain, zstd, level}) == 3


def test_a_text_with_a_separator_of_the_inputs_has_no_fingerprint() -> None:
    """With one, the end of a container file could count as the beginning of another input, with the same id."""
    recipe, evil, rest = "FROM alpine\n#", "\nRUN evil\n", "\n@EXPLICIT\n"
    one = BuildInputs(
        **UBUNTU | {"containerfile": recipe, "conda_file": f"{evil}\x1econdaFile\x1c{rest}"}, platform="p"
    )
    two = BuildInputs(
        **UBUNTU | {"containerfile": f"{recipe}\x1econdaFile\x1c{evil}", "conda_file": rest}, platform="p"
    )

    assert one.container_id == two.container_id
    for inputs, member in ((one, "condaFile"), (two, "containerFile")):
        with pytest.raises(BadRequest, match=f"{member} contains the control character"):
            assert inputs.fingerprint
