"""What an archive says of itself, read carefully."""

import json
from typing import Any

import pytest

from builder.conda.model import package
from builder.conda.model.package import Malformed, Python, read_package

PYTHON = Python("3.12", "lib/python3.12/site-packages")


def info(*paths: dict[str, Any], **index: Any) -> dict[str, bytes]:
    described = {"name": "tool", "version": "1", "build": "0"} | index
    return {
        "info/index.json": json.dumps(described).encode(),
        "info/paths.json": json.dumps({"paths_version": 1, "paths": paths}).encode(),
    }


def test_packages_for_any_python_go_into_this_one() -> None:
    """Modules where it looks for them, scripts where the shell does, and a program for each entry point."""
    said = info({"_path": "site-packages/x.py"}, {"_path": "python-scripts/y"}, {"_path": "share/z"}, noarch="python")
    said["info/link.json"] = json.dumps(
        {"noarch": {"type": "python", "entry_points": ["go = x.main:run.now"]}}
    ).encode()
    links = read_package(said).links(PYTHON)
    assert [link.target for link in links] == ["lib/python3.12/site-packages/x.py", "bin/y", "share/z", "bin/go"]
    program = links[-1].content.decode()
    assert program.startswith("#!/opt/conda/bin/python3.12\n")
    assert "from x.main import run\n" in program
    assert "sys.exit(run.now())" in program
    compile(program, "go", "exec")


def test_packages_for_any_python_need_one() -> None:
    """There is nowhere to put them."""
    with pytest.raises(Malformed, match="has none"):
        read_package(info(noarch="python")).links(None)


@pytest.mark.parametrize("entry", ["no entry", "a = b", "a/../b = m:f", "a = m:f\nimport os", "a = m;import os:f"])
def test_what_is_no_entry_point_is_refused(entry: str) -> None:
    """It would become a program."""
    said = info(noarch="python")
    said["info/link.json"] = json.dumps({"noarch": {"type": "python", "entry_points": [entry]}}).encode()
    with pytest.raises(Malformed):
        read_package(said).links(PYTHON)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a/./b", "", "a\0b"])
def test_paths_stay_below_the_prefix(path: str) -> None:
    """An archive is a stranger's."""
    with pytest.raises(Malformed, match="not a path below a prefix"):
        read_package(info({"_path": path})).links(None)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"info/index.json": b"{}"},
        {"info/index.json": b"no JSON", "info/files": b""},
        {"info/index.json": b'{"name": "../x", "version": "1", "build": "0"}', "info/files": b""},
        info() | {"info/paths.json": b'{"paths": [{"_path": 1}]}'},
        info() | {"info/paths.json": b"[" * 100_000},
    ],
)
def test_what_is_no_package_is_refused(said: dict[str, bytes]) -> None:
    """And never with another error."""
    with pytest.raises(Malformed):
        read_package(said)


def test_older_packages_say_it_in_other_files() -> None:
    """Some of them are twelve years old, and still in use."""
    said = info()
    del said["info/paths.json"]
    said["info/files"] = b"bin/x\nbin/y z\nlib/w\n"
    said["info/has_prefix"] = b'bin/x\n"/old/place" binary "bin/y z"\n'
    paths = {path.path: (path.prefix_placeholder, path.file_mode) for path in read_package(said).paths}
    assert paths == {
        "bin/x": ("/opt/anaconda1anaconda2anaconda3", "text"),
        "bin/y z": ("/old/place", "binary"),
        "lib/w": (None, None),
    }


def test_scripts_that_must_run_are_seen() -> None:
    """Those of another name are but files."""
    assert read_package(info({"_path": "bin/.tool-post-link.sh"})).runs_at_install
    assert read_package(info({"_path": "bin/.tool-pre-link.sh"})).runs_at_install
    assert not read_package(info({"_path": "bin/.other-post-link.sh"}, {"_path": "bin/tool"})).runs_at_install


def test_a_python_package_has_the_path_of_its_packages() -> None:
    """The version in two parts, unless the package says otherwise."""
    assert read_package(info(name="python", version="3.12.1")).python == PYTHON
    free = read_package(
        info(name="python", version="3.13.0", python_site_packages_path="lib/python3.13t/site-packages")
    )
    assert free.python == Python("3.13", "lib/python3.13t/site-packages")


@pytest.mark.parametrize(
    "hostile",
    [
        {"info/index.json": b'{"name":"a","version":"1","build":"0","x":[' + b"[]," * 400_000 + b"1]}"},
        {"info/paths.json": b'{"paths":[' + b"{}," * 100_000 + b"{}]}"},
        {"info/paths.json": b"", "info/files": b"a\n" * 10_001},
        {"info/paths.json": b"", "info/files": b"a", "info/has_prefix": b"a\n" * 10_001},
    ],
    ids=["index", "paths", "files", "prefixes"],
)
def test_metadata_of_very_many_objects_is_refused(hostile: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of a hostile channel has some megabytes; its lists would take gigabytes in the builder."""
    monkeypatch.setattr(package, "MAX_FILES", 10_000)  # a thirtieth of the real limit, so that the tests are quick
    with pytest.raises(Malformed, match="more than"):
        read_package(info() | hostile)
