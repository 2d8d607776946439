"""Changing an image: layers, run-time fields, history and the entry chain."""

from typing import Any

import pytest

from swell.api.containers import ContainerConfig
from swell.errors import ManifestInvalid, TooLarge
from swell.oci.digest import digest_of
from swell.oci.image import Image
from swell.oci.media_types import OCI_LAYER
from swell.oci.mutate import MAX_LAYERS, AddedLayer, append_layers, check_layers
from swell.oci.run_fields import ChainStyle, entry_chain, merge_environment, override_run_fields, run_fields
from swell.testing.images import make_image

LAYER = AddedLayer(OCI_LAYER, digest_of(b"gzip"), 4, digest_of(b"tar"), "tool")
JSON, WORDS = ChainStyle.JSON, ChainStyle.WORDS


def base(**config: Any) -> Image:
    made = make_image("base", layers=2)
    return Image(made.manifest, made.config.changed(**config))


@pytest.mark.parametrize(
    ("entrypoint", "json", "words"),
    [
        (None, (), ()),
        ([], (), ()),
        ("", (), ()),
        ("run --fast", ("WAVE_ENTRY_CHAIN=run --fast",), ("WAVE_ENTRY_CHAIN=run --fast",)),
        (["run"], ("WAVE_ENTRY_CHAIN=run",), ("WAVE_ENTRY_CHAIN=run",)),
        (["/bin/tini", "--"], ('WAVE_ENTRY_CHAIN=["/bin/tini","--"]',), ("WAVE_ENTRY_CHAIN=/bin/tini --",)),
        (["a", "b c"], ('WAVE_ENTRY_CHAIN=["a","b c"]',), ("WAVE_ENTRY_CHAIN=a b c",)),
    ],
)
def test_the_entry_chain_has_two_forms(entrypoint: Any, json: tuple[str, ...], words: tuple[str, ...]) -> None:
    """Wave writes JSON at the pull and words in a frozen image; clients parse what they know."""
    assert (entry_chain(entrypoint, JSON), entry_chain(entrypoint, WORDS)) == (json, words)


def test_the_chain_stands_behind_the_variables_of_a_pull_and_before_those_of_a_freeze() -> None:
    """At the pull it always names the image's own entrypoint; a frozen recipe may set it again."""
    config = ContainerConfig(env=("WAVE_ENTRY_CHAIN=mine",))

    pulled = override_run_fields({"Entrypoint": ["/init"]}, config, JSON)
    frozen = override_run_fields({"Entrypoint": ["/init"]}, config, WORDS)

    assert pulled["Env"] == ["WAVE_ENTRY_CHAIN=/init"]
    assert frozen["Env"] == ["WAVE_ENTRY_CHAIN=mine"]


def test_run_time_fields_that_are_not_named_stay() -> None:
    """`Cmd` stays when only the entrypoint is replaced, as Wave does it and unlike in a Dockerfile."""
    fields = {"Cmd": ["hello"], "Env": ["A=1", "A=2"], "User": "me"}

    changed = override_run_fields(fields, ContainerConfig(entrypoint=("/wave",), working_dir="/w"), JSON)

    assert changed == {**fields, "Entrypoint": ("/wave",), "WorkingDir": "/w"}


def test_an_environment_has_each_name_once() -> None:
    """Runtimes differ in which of two values they use."""
    assert merge_environment(["A=1", "B=2", "A=3", "C"]) == ["A=3", "B=2", "C"]


def test_every_layer_has_a_history_entry() -> None:
    """`buildah commit` refuses an image whose history describes fewer layers than it has."""
    image = append_layers(base(history=[{"created_by": "one"}], config={}), [LAYER], {}, "test")

    created_by = [entry["created_by"] for entry in image.config.fields["history"]]
    assert created_by == ["one", f"test: base layer {image.manifest.layers[1].digest}", "test: tool"]
    assert len(image.manifest.layers) == len(image.config.fields["rootfs"]["diff_ids"]) == 3
    assert image.manifest.config.digest == image.config.digest


def test_changed_run_time_fields_have_an_entry_without_a_layer() -> None:
    """Unchanged ones have none, so that adding layers alone is one step."""
    image = append_layers(base(), [], {"Cmd": ["other"]}, "test")

    assert image.config.fields["history"][-1] == {
        "created": "1970-01-01T00:00:00Z",
        "created_by": "test: config",
        "empty_layer": True,
    }


def test_equal_inputs_give_equal_digests() -> None:
    """A lost image can be made again under its digest."""
    first, second = (append_layers(base(), [LAYER], {}, "test") for _ in range(2))

    assert first.manifest.digest == second.manifest.digest


def test_an_image_has_at_most_127_layers() -> None:
    """Overlay file systems of container engines stack no more."""
    made = make_image("full", layers=MAX_LAYERS)

    with pytest.raises(TooLarge, match="has 127 layers and 1 are added"):
        append_layers(Image(made.manifest, made.config), [LAYER], {}, "test")


def test_a_config_with_another_number_of_layers_is_refused() -> None:
    """The appended `diff_id` would describe another layer."""
    with pytest.raises(ManifestInvalid, match="2 layers, but its config 0 diff_ids"):
        check_layers(base(rootfs={"type": "layers", "diff_ids": None}))


@pytest.mark.parametrize("config", [[], {"Env": "A=1"}, {"Entrypoint": 1}])
def test_malformed_run_time_fields_are_refused(config: Any) -> None:
    """The config comes from a registry, so any JSON is possible."""
    with pytest.raises(ManifestInvalid):
        run_fields(base(config=config).config)
