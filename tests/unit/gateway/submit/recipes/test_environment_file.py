"""Environment files: what a package list may be, and what empty values mean."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from swell.api.packages import Packages, PackageType
from swell.errors import BadRequest
from swell.naming.image_name import tools_of
from swell.recipes.conda import from_file
from swell.recipes.environment_file import read_environment
from swell.recipes.packages import Template, make_recipe
from tests.unit.gateway.submit.recipes.test_packages import encoded

CONDA_LOCK = "version: 1\nmetadata:\n  channels: []\npackage:\n- name: zlib\n  version: '1'\n"
PIXI_LOCK = "version: 6\nenvironments:\n  default: {}\npackages:\n- conda: https://conda.example.org/zlib-1-0.conda\n"
NO_LISTS = [
    (CONDA_LOCK, "line 5: it is a lock file of conda-lock, which is not supported; send an environment file"),
    (PIXI_LOCK, "line 5: it is a lock file of pixi, which is not supported; send an environment file"),
    ("name: a\n", "line 1: it has no list of dependencies"),
    ("name: a\ndependencies: {python: 3.11}\n", "line 2: dependencies must be a list; write '- python=3.11'"),
    ("name: a\ndependencies:\n  python: 3.11\n", "line 3: dependencies must be a list; write '- python=3.11'"),
    ("dependencies:\n- a\n- python: 3.11\n", "line 3: a package is not a mapping; write '- python=3.11'"),
    ("dependencies:\n- a\n- 3.11\n", "line 3: '3.11' is not the name of a package: write '- NAME=3.11'"),
    ("dependencies:\n- a\n- '3.11'\n", "line 3: '3.11' is a version, not a package"),
    ("dependencies:\n-\n", "line 2: the list of dependencies is empty"),
    ("channels: [a]\ndependencies: []\n", "line 2: the list of dependencies is empty"),
    ("channels: [a]\ndependencies: ~\n", "line 2: the list of dependencies is empty"),
    ("dependencies:\n- pip:\n  -\n", "line 2: the list of dependencies is empty"),
    ("dependencies: samtools\n", "line 1: dependencies must be a list"),
    ("dependencies:\n- a\n- [b]\n", "line 3: a list inside the list"),
    ("dependencies:\n- a\n- pip: b\n", "line 3: pip must be a list"),
    ("dependencies:\n- a\n- pip: [b]\n  conda: [c]\n", "line 3: a package is not a mapping"),
    ("dependencies:\n- a\n- pip:\n  - b\n  - 1\n", "line 5: an entry of pip is not a text"),
    ("dependencies:\n- a\n- pip:\n  - -r requirements.txt\n", "line 4: the pip option '-r requirements.txt' names"),
    ("dependencies:\n- a\n- pip:b\n", "line 3: 'pip:b' is not a package of Conda; list packages of pip"),
    ("dependencies:\n- -c bioconda a\n", "line 2: '-c bioconda a' is an option"),
    ("dependencies:\n- ./a.conda\n", "line 2: './a.conda' is a file"),
    ("channels: conda-forge\ndependencies: [a]\n", "line 1: channels must be a list"),
    ("channels:\n- 1\ndependencies: [a]\n", "line 2: channels must be a list"),
    ("numpy==1.2\npandas\n", "line 1: it is not an environment file"),
    ("- samtools\n", "line 1: it is not an environment file"),
    ("@EXPLICIT\n", "line 1: the explicit list has no packages"),
    ("@EXPLICIT\nsamtools=1.17\n", "line 2: 'samtools=1.17' is not the URL of a package"),
]


@pytest.mark.parametrize(("text", "message"), NO_LISTS)
def test_a_file_without_a_package_list_is_refused_with_the_line(text: str, message: str) -> None:
    """Without the check, the build fails minutes later, or makes an image without the packages."""
    with pytest.raises(BadRequest) as refused:
        from_file(text, ())
    assert message in str(refused.value)


@pytest.mark.parametrize("template", [each for each in Template if each.type is PackageType.CONDA])
@pytest.mark.parametrize("text", [CONDA_LOCK, "dependencies: {python: 3.11}", "dependencies:\n-\n"])
def test_every_template_refuses_such_a_file(template: Template, text: str) -> None:
    """The rule does not depend on the tool."""
    packages = Packages(type=PackageType.CONDA, environment=encoded(text))
    with pytest.raises(BadRequest, match=r"packages\.environment: line \d"):
        make_recipe(packages, template, False)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("dependencies: [a, ~, null, '', ' ', [], {}]\n", {"dependencies": ["a"]}),
        ("dependencies:\n- a\n-\n", {"dependencies": ["a"]}),
        ("name: ~\nchannels:\ndependencies: [a]\n", {"dependencies": ["a"]}),
        ("channels: [~, b, '']\ndependencies: [a]\n", {"channels": ["b"], "dependencies": ["a"]}),
        ("channels: ' '\ndependencies: [a]\n", {"dependencies": ["a"]}),
        ("dependencies: [a, pip: ~]\n", {"dependencies": ["a"]}),
        ("dependencies: [a, pip: [~, '', [], {}]]\n", {"dependencies": ["a"]}),
        ("dependencies: [a, pip: {}]\n", {"dependencies": ["a"]}),
        ("dependencies: [a, pip: [b, ~]]\n", {"dependencies": ["a", {"pip": ["b"]}]}),
        ("dependencies: [a]\nvariables: {A: ~, B: 1}\n", {"dependencies": ["a"], "variables": {"B": 1}}),
        ("dependencies: [a]\nprefix: ~\n", {"dependencies": ["a"], "prefix": None}),
    ],
)
def test_empty_values_are_like_absent_ones(text: str, fields: dict[str, object]) -> None:
    """Tools read them as the text `null`, or fail. A member that all tools leave out stays: the id depends on it."""
    assert read_environment(text) == fields


EMPTY: st.SearchStrategy[object] = st.sampled_from([None, "", " ", [], {}])
ITEMS = EMPTY | st.sampled_from(["a", "a=1", 3.11, True, "-e ."])
PIPS = st.fixed_dictionaries({"pip": EMPTY | st.lists(ITEMS, max_size=3)})
NESTED = st.recursive(
    ITEMS, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each), max_leaves=4
)


@given(st.lists(ITEMS | PIPS | NESTED, max_size=4), EMPTY | st.lists(ITEMS, max_size=3))
def test_any_list_is_refused_or_has_packages_only(dependencies: list[object], channels: object) -> None:
    """An empty mapping among the packages once was an internal error, and an empty list reached the tools."""
    text = yaml.safe_dump({"channels": channels, "dependencies": dependencies})
    try:
        fields = read_environment(text)
    except BadRequest as refused:
        assert str(refused).startswith("line ")
        return
    names = [item for item in fields["dependencies"] if not isinstance(item, dict)]
    names += [each for item in fields["dependencies"] if isinstance(item, dict) for each in item["pip"]]
    assert names
    assert all(isinstance(name, str) and name.strip() for name in (*names, *(fields.get("channels") or ())))


@pytest.mark.parametrize("name", ["null", "~", "Null", "''"])
def test_an_empty_name_is_no_part_of_the_image_name(name: str) -> None:
    """The name of an environment takes the place of its packages."""
    text = from_file(f"name: {name}\ndependencies: [samtools=1.17]\n", ()).text or ""
    assert [str(tool) for tool in tools_of(text)] == ["samtools-1.17"]
