"""Direct dependencies are on a reviewed list, and no locked name looks like one of them."""

import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from tools.dependencies import LIST, allowed, direct, indirect, locked, look_alikes, problems

ROOT = Path(__file__).parents[3]
PYPROJECTS = [ROOT / "pyproject.toml", *ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")]
OWN = {tomllib.loads(path.read_text())["project"]["name"] for path in PYPROJECTS}


def addresses_of(name: str) -> set[str]:
    """The addresses in the metadata of an installed package, without a slash at the end."""
    try:
        found = metadata(name)
    except PackageNotFoundError:  # for another platform
        return set()
    labelled = [line.split(", ", 1)[1] for line in found.get_all("Project-URL") or []]
    return {address.rstrip("/") for address in [*(found.get_all("Home-page") or []), *labelled]}


def test_the_dependencies_are_the_reviewed_ones() -> None:
    """A new name needs a line in tools/dependencies.toml, which a reviewer compares with the project's own pages."""
    listed, similar = allowed(LIST.read_text()), indirect(LIST.read_text())
    required = set[str]().union(*(direct(path.read_text()) for path in PYPROJECTS)) - OWN
    installed = {name: found for name in [*listed, *similar] if (found := addresses_of(name))}

    pinned = locked((ROOT / "requirements.txt").read_text())
    assert problems(required, pinned, listed, installed, similar) == []
    assert similar.keys() <= pinned


def test_each_rule_finds_its_violation() -> None:
    """Otherwise the check of the real list would pass for any list."""
    found = problems(
        required={"aiohttp", "reddis"},
        pinned={"aiohttp", "aiohtttp"},
        listed={"aiohttp": "https://aio.example", "unused": "https://unused.example"},
        addresses={"aiohttp": {"https://other.example"}},
    )

    assert found == [
        "reddis is required and not in tools/dependencies.toml",
        "unused is in tools/dependencies.toml and not required",
        "aiohttp says that its project is ['https://other.example'], tools/dependencies.toml says https://aio.example",
        "aiohtttp looks like aiohttp: check both names",
    ]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("reqests", "requests"),
        ("requestss", "requests"),
        ("requezts", "requests"),
        ("reqeusts", "requests"),
        ("python-requests", "requests"),
        ("requests3", "requests"),
        ("msg-spec", "msgspec"),
        ("py-yaml", "pyyaml"),
    ],
)
def test_a_look_alike_is_found(name: str, known: str) -> None:
    """These are the shapes of typosquatting: a letter more, less, other or swapped, hyphens, prefixes, digits."""
    assert look_alikes([name], [known]) == [(name, known)]


@pytest.mark.parametrize(
    ("name", "known"), [("requests", "requests"), ("aiohttp", "httpx"), ("six", "uv"), ("h2", "h11")]
)
def test_other_names_are_not_look_alikes(name: str, known: str) -> None:
    """A check that finds too much is switched off by its users."""
    assert look_alikes([name], [known]) == []


def test_requirements_are_read_from_every_table() -> None:
    """A name that only a build requirement or an extra has is installed as well."""
    text = """
    [project]
    dependencies = ["A_b.c>=1"]
    [project.optional-dependencies]
    x = ["d[e]"]
    [dependency-groups]
    dev = ["f; python_version > '3'"]
    [build-system]
    requires = ["g"]
    """
    assert direct(text) == {"a-b-c", "d", "f", "g"}
