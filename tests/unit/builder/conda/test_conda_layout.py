"""The layout of an environment: every path in one layer, and no more layers than an image may have."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.conda.model.layout import directory_symlinks, group, settle
from builder.conda.model.package import Link, Malformed, PackagePath

_names = st.text(string.ascii_lowercase, min_size=1, max_size=2)
_sizes = st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=4), st.integers(0, 1000), max_size=60)
_paths = st.lists(_names, min_size=1, max_size=3).map("/".join)


def file(path: str) -> Link:
    return Link(path, PackagePath(path))


def softlink(path: str) -> Link:
    return Link(path, PackagePath(path, "softlink"))


@given(_sizes, st.integers(1, 20), st.integers(0, 1000))
def test_each_package_is_in_one_layer(sizes: dict[str, int], most: int, worth: int) -> None:
    """The largest are alone, the others together in the last; no small package is alone."""
    layers = group(sizes, worth=worth, most=most)
    assert sorted(name for layer in layers for name in layer) == sorted(sizes)
    assert 1 <= len(layers) <= most
    alone = [sizes[name] for layer in layers[:-1] for name in layer]
    assert alone == sorted(alone, reverse=True)
    assert all(size >= worth for size in alone)
    if layers[:-1] and len(layers) == most:
        assert min(alone) >= max((sizes[name] for name in layers[-1]), default=0)


@given(st.dictionaries(_names, st.lists(_paths, max_size=8, unique=True), max_size=5))
def test_each_path_has_one_owner(wanted: dict[str, list[str]]) -> None:
    """The first package by name; what cannot be both a file and a folder is no layout at all."""
    files = {name: [file(path) for path in paths] for name, paths in wanted.items()}
    every = {path for paths in wanted.values() for path in paths}
    clash = any(other.startswith(f"{path}/") for path in every for other in every)
    if clash:
        with pytest.raises(Malformed):
            settle(files, {})
        return
    layout = settle(files, {})
    owned = [link.target for links in layout.files.values() for link in links]
    assert sorted(owned) == sorted(every)
    for name, links in layout.files.items():
        assert all(name == min(owner for owner, paths in wanted.items() if link.target in paths) for link in links)
    assert set(layout.contested) == {path for path in every if sum(path in paths for paths in wanted.values()) > 1}


def test_a_path_through_a_link_goes_where_the_link_leads() -> None:
    """As it would when it is written to a disk; else its folder would take the place of the link."""
    files = {"a": [softlink("lib64")], "b": [file("lib64/x"), file("lib/y")], "c": [softlink("other")]}
    assert directory_symlinks(files) == {"lib64": "a"}
    layout = settle(files, {"lib64": "lib"})
    assert [link.target for link in layout.files["b"]] == ["lib/y", "lib/x"]


@pytest.mark.parametrize("leads_to", ["../../etc", "/etc", "loop"])
def test_a_link_that_leads_out_is_refused(leads_to: str) -> None:
    """What would be written through it would be written elsewhere; a circle leads nowhere."""
    with pytest.raises(Malformed, match="leaves the prefix"):
        settle({"a": [softlink("loop")], "b": [file("loop/x")]}, {"loop": leads_to})
