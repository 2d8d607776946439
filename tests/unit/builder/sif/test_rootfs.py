"""Layers upon each other: the resulting files, for members of a layer in any order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.sif.rootfs import Attributes, LayerInvalid, Origin, Rootfs

DIRECTORY = None
Layer = dict[str, str | None]
"""Names and what they are: a file, a directory (None), or with `=target` a hard link."""


def rootfs(*layers: Layer) -> Rootfs:
    made = Rootfs()
    for layer in layers:
        made.begin_layer()
        for number, (name, what) in enumerate(layer.items()):
            if what is None:
                made.directory(name, Attributes())
            elif what.startswith("="):
                made.hard_link(name, what[1:])
            else:
                made.file(name, number)
    return made


def files(*layers: Layer) -> set[str]:
    return {name for names in rootfs(*layers).names().values() for name in names}


def directories(*layers: Layer) -> set[str]:
    return {name for name, _ in rootfs(*layers).directories() if name}


def test_the_upper_layer_wins() -> None:
    """A file of an upper layer replaces the one below."""
    assert rootfs({"a": "x", "b": "x"}, {"b": "y"}).names() == {Origin(0, 0): ["a"], Origin(1, 0): ["b"]}


def test_a_whiteout_removes_entries_of_lower_layers() -> None:
    """OCI image-spec: a `.wh.` entry removes the name in lower layers."""
    assert files({"d/a": "x", "d/b/c": "x"}, {"d/.wh.a": "", "d/.wh.b": ""}) == set()


def test_a_whiteout_spares_its_own_layer() -> None:
    """In any order: a directory that was removed and made anew has only what is new."""
    lower: Layer = {"d": DIRECTORY, "d/old": "x"}
    upper: list[tuple[str, str | None]] = [(".wh.d", ""), ("d", DIRECTORY), ("d/new", "x")]

    assert files(lower, dict(upper)) == files(lower, dict(reversed(upper))) == {"d/new"}


def test_an_opaque_directory_shows_its_own_layer_only() -> None:
    """OCI image-spec: an opaque whiteout hides all entries of lower layers."""
    lower: Layer = {"d/a": "x", "d/deep/b": "x", "e": "x"}

    assert files(lower, {"d/c": "y", "d/.wh..wh..opq": ""}) == {"d/c", "e"}
    assert files(lower, {"d/.wh..wh..opq": "", "d/c": "y"}) == {"d/c", "e"}


def test_a_removed_file_can_be_added_again() -> None:
    """A whiteout affects only the layers below it."""
    assert files({"a": "x"}, {".wh.a": ""}, {"a": "y"}) == {"a"}


def test_a_file_replaces_a_directory_and_vice_versa() -> None:
    """A layer may change the type of an entry."""
    assert files({"a/b": "x"}, {"a": "y"}) == {"a"}
    assert files({"a": "x"}, {"a/b": "y"}) == {"a/b"}


def test_aufs_metadata_is_ignored() -> None:
    """AUFS metadata must not appear in the image."""
    assert files({".wh..wh.plnk": "", ".wh..wh.aufs": "", "a": "x"}) == {"a"}


def test_a_name_does_not_lead_through_a_link() -> None:
    """The link to /etc makes place for a directory of the name: nothing of /etc is written to."""
    made = rootfs({"etc/passwd": "x", "link": "a symbolic link"}, {"link/passwd": "y"})

    assert made.names() == {Origin(0, 0): ["etc/passwd"], Origin(1, 0): ["link/passwd"]}


def test_hard_links_outlive_the_name_that_they_were_made_of() -> None:
    """The bytes stay with the file; the first name that is left has them."""
    assert rootfs({"a": "x", "b": "=a", "c": "=./b"}, {".wh.a": ""}).names() == {Origin(0, 0): ["b", "c"]}


@pytest.mark.parametrize("target", ["nowhere", "d", "../x", ""])
def test_hard_links_to_other_entries_are_refused(target: str) -> None:
    """The target of a hard link must be a file of the image."""
    with pytest.raises(LayerInvalid):
        rootfs({"d": DIRECTORY, "a": f"={target}"})


@pytest.mark.parametrize("name", ["../a", "a/../../b", "a/..", "x" * 5000])
def test_names_that_lead_outside_are_refused(name: str) -> None:
    """`..` in a layer must not reach a path outside the image."""
    with pytest.raises(LayerInvalid, match="not a valid file name"):
        rootfs({name: "x"})


@pytest.mark.parametrize("name", ["/etc/passwd", "./etc//passwd", "etc/./passwd"])
def test_all_names_are_relative_to_the_root_of_the_image(name: str) -> None:
    """`/a`, `./a` and `a` are the same file."""
    assert files({name: "x"}) == {"etc/passwd"}


def test_missing_parents_are_created_and_come_first() -> None:
    """A tar reader needs a directory before its entries."""
    made = [name for name, _ in rootfs({"b/c/d": "x", "a": DIRECTORY}).directories()]

    assert made == ["", "a", "b", "b/c"]


names = st.lists(st.sampled_from(["a", "b", ".wh.a", ".wh.b", ".wh..wh..opq"]), min_size=1, max_size=4).map("/".join)
layers = st.lists(st.dictionaries(names, st.sampled_from([None, "x"]), max_size=6), max_size=4)


@given(layers)
def test_every_name_is_one_thing_and_stands_in_a_directory(made: list[Layer]) -> None:
    """Of any layers, the result can be packed: no name twice, no file below a file."""
    found = rootfs(*made)
    paths = [name for names in found.names().values() for name in names]
    folders = [name for name, _ in found.directories()]

    assert len({*paths, *folders}) == len(paths) + len(folders)
    assert {name.rpartition("/")[0] for name in paths} <= set(folders)
