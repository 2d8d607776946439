"""The image of an environment: its base, and what comes on top."""

from typing import Any

import pytest

from builder.conda.model.image import Added, base_layers, empty_image, on_top, variables_of
from builder.domain.failure import BuildFailure
from swell.api.containers import ContainerConfig
from swell.errors import ManifestInvalid
from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from swell.oci.mutate import MAX_LAYERS, check_layers
from swell.oci.platform import parse_platform
from swell.testing.images import make_image

ADDED = Added(digest_of(b"packed"), digest_of(b"tar"), 6, "tool-1-0")


@pytest.mark.parametrize("docker", [True, False])
def test_layers_come_on_top_and_the_rest_stays(docker: bool) -> None:
    """The base keeps its layers and its command; all types are the OCI's, which may not be mixed with Docker's."""
    made = make_image("base", layers=2, docker=docker)
    image = on_top(Image(made.manifest, made.config), [ADDED], ["A=1"])
    assert [layer.digest for layer in image.manifest.layers] == [*(layer.digest for layer in made.layers), ADDED.digest]
    assert {layer.media_type for layer in image.manifest.layers} == {OCI_LAYER}
    assert image.manifest.fields["config"] == {
        "mediaType": OCI_CONFIG,
        "digest": image.config.digest,
        "size": image.config.size,
    }
    assert image.config.fields["config"] == {"Env": ["A=1"], "Cmd": ["hello"]}
    assert image.config.fields["rootfs"]["diff_ids"][2:] == [ADDED.diff_id]
    assert image.config.fields["history"][-2]["created_by"] == "conda/direct:v1: tool-1-0"
    check_layers(image)


def test_a_frozen_config_comes_over_the_rest() -> None:
    """As at the pull: each variable once, the command stays unless it is named, and the entrypoint can be called."""
    made = make_image("base")
    base = Image(made.manifest, made.config.changed(config={"Entrypoint": ["/init", "--"], "Cmd": ["hello"]}))
    frozen = ContainerConfig(entrypoint=("/wave",), env=("A=2", "B=3"), working_dir="/work")
    image = on_top(base, [ADDED], ["A=1", "PATH=/bin"], frozen)
    assert image.config.fields["config"] == {
        "Entrypoint": ["/wave"],
        "Cmd": ["hello"],
        "WorkingDir": "/work",
        "Env": ["A=2", "PATH=/bin", "WAVE_ENTRY_CHAIN=/init --", "B=3"],
    }


def test_the_history_has_every_layer() -> None:
    """Else tools that walk both would print the wrong ones."""
    made = make_image("base", layers=2)
    history = [{"created_by": "one"}, {"created_by": "ENV", "empty_layer": True}]
    image = on_top(Image(made.manifest, made.config.changed(history=history)), [ADDED], [])
    commands = [entry["created_by"] for entry in image.config.fields["history"]]
    assert commands == [
        "one",
        "ENV",
        f"conda/direct:v1: base layer {made.layers[1].digest}",
        "conda/direct:v1: tool-1-0",
        "conda/direct:v1: config",
    ]


def test_nothing_is_a_base_as_well() -> None:
    """For programs that need nothing else."""
    base = empty_image(parse_platform("linux/arm64"))
    image = on_top(base, [ADDED], [])
    assert (base_layers(base), variables_of(base)) == ((), ())
    assert (image.config.fields["architecture"], len(image.manifest.layers)) == ("arm64", 1)


@pytest.mark.parametrize(
    "config",
    [
        {"rootfs": []},
        {"rootfs": {"diff_ids": ["sha256:" + "0" * 64]}},
        {"rootfs": {"diff_ids": "x"}},
        {"config": []},
        {"config": {"Env": "A=1"}},
        {"history": [1]},
    ],
)
def test_a_base_that_contradicts_itself_is_refused(config: dict[str, Any]) -> None:
    """An image on it could not run."""
    base = Image(
        Document(OCI_MANIFEST, b'{"layers": [], "config": null}'), Document(OCI_CONFIG, b"{}").changed(**config)
    )
    with pytest.raises(ManifestInvalid):
        check_layers(Image(make_image("x", layers=0).manifest, base.config))


def test_a_base_that_is_full_or_odd_is_refused() -> None:
    """An image has so many layers and no more; some kinds may not be copied."""
    full = make_image("full", layers=MAX_LAYERS)
    with pytest.raises(BuildFailure, match="has 127 layers"):
        base_layers(Image(full.manifest, full.config))
    odd = make_image("odd")
    foreign = [
        odd.manifest.fields["layers"][0] | {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}
    ]
    with pytest.raises(BuildFailure, match="which cannot be copied"):
        base_layers(Image(odd.manifest.changed(layers=foreign), odd.config))
