"""The Conda environment of a request becomes the environment file that Wave would write."""

from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from swell.errors import BadRequest
from swell.naming.image_name import Tool, tools_of
from swell.recipes.conda import Environment, from_entries, from_file

LOCK_URL = "https://locks.example.org/samtools.lock"
EXPLICIT = "# platform: linux-64\n@EXPLICIT\nhttps://conda.example.org/linux-64/zlib-1.tar.bz2\n"


def text_of(*entries: str, channels: tuple[str, ...] = ()) -> str:
    environment = from_entries(entries, channels)
    assert environment.text is not None
    return environment.text


def merged(text: str, *channels: str) -> str:
    environment = from_file(text, channels)
    assert environment.text is not None
    return environment.text


def test_entries_become_dependencies_and_channels_come_first() -> None:
    """The container id depends on every byte of this text."""
    text = text_of("bioconda::samtools=1.17", "bwa", channels=("conda-forge", "bioconda"))
    assert text == "channels:\n- conda-forge\n- bioconda\ndependencies:\n- bioconda::samtools=1.17\n- bwa\n"


def test_pip_packages_come_last_after_pip() -> None:
    """Conda installs pip, and pip installs the others."""
    assert text_of("pip:numpy", "bwa", "pip:pandas==2.2.2") == (
        "dependencies:\n- bwa\n- pip\n- pip:\n  - numpy\n  - pandas==2.2.2\n"
    )


@pytest.mark.parametrize(
    ("entry", "specs"),
    [
        ("samtools bwa", ["samtools", "bwa"]),
        ("numpy >=1.2", ["numpy>=1.2"]),
        ("numpy >= 1.2, <2 bwa", ["numpy>=1.2,<2", "bwa"]),
        ("python >= 3.8 | <3", ["python>=3.8|<3"]),
        ("numpy[version='>=1.2, <2', build=py*] bwa", ["numpy[version='>=1.2,<2',build=py*]", "bwa"]),
        ("bioconda/linux-64::bwa", ["bioconda/linux-64::bwa"]),
        ("bwa[channel=bioconda]", ["bwa[channel=bioconda]"]),
        ("http://conda.example.org/c::bwa", ["http://conda.example.org/c::bwa"]),
        ("https://conda.example.org/c/noarch/bwa-1-0.conda", ["https://conda.example.org/c/noarch/bwa-1-0.conda"]),
        ("'samtools'", ["samtools"]),
        ("''\"bwa\"''", ["bwa"]),
        ("  bwa  ", ["bwa"]),
    ],
)
def test_blanks_separate_packages_except_around_operators(entry: str, specs: list[str]) -> None:
    """Wave splits at every blank, also in `numpy >=1.2`."""
    assert yaml.safe_load(text_of(entry)) == {"dependencies": specs}


def test_one_url_is_a_lock_file_with_channels() -> None:
    """Micromamba downloads the URL itself."""
    assert from_entries([LOCK_URL], ("conda-forge",)) == Environment(url=LOCK_URL, channels=("conda-forge",))


@pytest.mark.parametrize(
    ("entry", "requirement"),
    [
        ("pip:numpy; python_version<'3.9'", "numpy; python_version<'3.9'"),
        (
            "pip:numpy >= 2 ; python_version < '3.9' and os_name == 'posix'",
            "numpy>=2; python_version < '3.9' and os_name == 'posix'",
        ),
        ("pip:numpy @ https://example.org/numpy.whl", "numpy@https://example.org/numpy.whl"),
        ("pip:git+https://example.org/a.git@v1", "git+https://example.org/a.git@v1"),
        ("pip:--extra-index-url https://example.org/simple", "--extra-index-url https://example.org/simple"),
        ("pip:-r https://example.org/requirements.txt", "-r https://example.org/requirements.txt"),
    ],
)
def test_a_pip_entry_is_a_line_of_a_requirements_file(entry: str, requirement: str) -> None:
    """Markers and options have blanks; they stay whole, as in an environment file."""
    assert yaml.safe_load(text_of(entry)) == {"dependencies": ["pip", {"pip": [requirement]}]}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([LOCK_URL, "bwa"], "must be the only entry"),
        (["bwa", LOCK_URL], "must be the only entry"),
        (["pip::numpy"], "write packages of pip as pip:NAME"),
        (["pip:"], "write packages of pip as pip:NAME"),
        (["-c bioconda bwa"], "'-c bioconda bwa' is an option.*name the channels in 'channels'"),
        (["-r requirements.txt"], "'-r requirements.txt' is an option.*list the packages of that file here"),
        (["-e ."], "'-e .' is an option"),
        (["./x.conda"], "is a file, and a build cannot read"),
        (["x-1-0.tar.bz2"], "is a file, and a build cannot read"),
        (["./channel::x"], "is a file, and a build cannot read"),
        (["pip:-r requirements.txt"], "names another requirements file of your machine"),
        (["pip:-e ."], "names a folder of your machine"),
        (["pip:./x.whl"], "is a file of your machine"),
        (["pip:x @ ./x.whl"], "is a file of your machine"),
        (["samtools 1.17"], "'1.17' is a version, not a package.*in the entry 'samtools 1.17'"),
        (["python: 3.11"], "write the name and the version as NAME=VERSION"),
        (["samtools=>1"], "'samtools=>1' is not a package"),
        (["sam*"], "only exact package names"),
        (["''"], "no packages"),
    ],
)
def test_entries_that_are_no_packages_are_refused(entries: list[str], message: str) -> None:
    """In Wave these are internal errors, or builds that fail."""
    with pytest.raises(BadRequest, match=rf"packages\.entries.*{message}"):
        from_entries(entries, ())


def test_defaults_are_expanded_in_their_place() -> None:
    """A file's own channels and those of the request are treated alike; a channel is named once."""
    text = from_file("channels: [defaults, a]\ndependencies: [x]\n", ("b",), defaults=("m", "a")).text
    assert text == "channels:\n- m\n- a\n- b\ndependencies:\n- x\n"
    assert from_entries([LOCK_URL], ("defaults",), defaults=("m",)).channels == ("m",)
    assert from_entries(["x"], ("defaults",)).text == "channels:\n- defaults\ndependencies:\n- x\n"


def test_channels_of_the_request_come_after_those_of_the_file() -> None:
    """The author of the file chose their order; duplicates are left out."""
    text = "channels: [bioconda]\n# a comment\ndependencies: ['samtools']\n"
    assert (
        merged(text, "conda-forge", "bioconda") == "channels:\n- bioconda\n- conda-forge\ndependencies:\n- samtools\n"
    )


def test_a_file_without_channels_gets_them_at_its_end() -> None:
    """The order of the other fields is unchanged."""
    assert merged("dependencies:\n- bwa\n", "bioconda") == "dependencies:\n- bwa\nchannels:\n- bioconda\n"


def test_an_explicit_list_is_unchanged() -> None:
    """It names exact files. Wave supports such a list only by its URL."""
    environment = from_file(EXPLICIT, ("conda-forge",))
    assert environment == Environment(text=EXPLICIT)
    assert environment.is_explicit


@pytest.mark.parametrize(
    "text",
    [
        *("@EXPLICIT\n", "@EXPLICIT\nsamtools=1.17\n"),
        *("", "- samtools\n", "samtools", "a: [", "@EXPLICITLY", "channels: bioconda\n", "a: &a {<<: *a}"),
        *(
            "a: !!bool x",
            "a: !!int ''",
            "a: !!timestamp x",
            "a: !!python/name:os.system x",
            "a: 2020-99-99",
            "? [a]\n: b",
        ),
        *("[" * 37_000, "a: {" * 9_000, "- " * 18_000 + "x"),
    ],
)
def test_an_invalid_environment_is_refused(text: str) -> None:
    """With a message, before the build."""
    with pytest.raises(BadRequest, match=r"packages\.environment"):
        from_file(text, ("conda-forge",))


def test_merge_keys_cannot_double_a_document() -> None:
    """Forty lines of YAML could become a mapping of a terabyte."""
    bomb = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    with pytest.raises(BadRequest):
        from_file(bomb, ())


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), min_size=1))
def test_any_entry_is_one_string_of_the_file(entries: list[str]) -> None:
    """YAML has many special forms: quotes, tags, anchors, numbers."""
    try:
        environment = from_entries(entries, ())
    except BadRequest:
        return
    if environment.text is None:
        return
    for dependency in yaml.safe_load(environment.text)["dependencies"]:
        assert isinstance(dependency, str) or list(dependency) == ["pip"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("entry", ["'" * 50_000, '"' * 25_000 + "x", "a" + " " * 50_000 + "b", "=" * 50_000])
def test_a_long_entry_is_parsed_quickly(entry: str) -> None:
    """One process serves all clients; a name of this length is refused."""
    with suppress(BadRequest):
        assert len(text_of(entry, "bwa")) < 50_100


def test_the_image_name_comes_from_the_file() -> None:
    """Two modules parse the same specs."""
    assert tools_of(text_of("bioconda::samtools = 1.17", "pip:numpy")) == (
        Tool("samtools", "1.17"),
        Tool("pip"),
        Tool("numpy"),
    )
