"""Any text of a client leaves the instructions and commands of a recipe unchanged.

Each recipe is generated twice, with hostile texts and with plain ones; only these words may differ.
"""

import json
import re
from collections.abc import Iterator
from functools import partial

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from swell.api.packages import CondaOpts, CranOpts, Packages, PackageType, PixiOpts
from swell.errors import BadRequest
from swell.recipes.packages import Template, make_recipe

NASTY = "ab-=:/.,@~*?!%^# '\"`$\\&|;<>(){}[]\nRUN\t\0é\u2028"
hostile = st.one_of(
    st.text(st.sampled_from(NASTY), min_size=1, max_size=20),
    st.text(min_size=1, max_size=10),
    st.sampled_from(["&& id", "$(id)", "`id`", "'; id; '", "x \\", "<<EOF", "{{x}}", "--mount=x", "%post", "\\\\'"]),
)
Token = tuple[str, str]

_SHELL = re.compile(
    r"""(?P<blank>(?:[ \t\n]|\\\n)+)|(?P<operator>[&|;<>()]+)|'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|"""
    r"""\\(?P<escaped>.)|(?P<plain>[^\s'"\\&|;<>()]+)""",
    re.DOTALL,
)


def tokens(command: str) -> list[Token]:
    """The words and operators of a shell *command*; a word that the shell would expand is marked."""
    result: list[Token] = [("", "")]
    for match in _SHELL.finditer(command):
        kind, text = match.lastgroup or "", match[match.lastgroup or 0]
        if kind in {"blank", "operator"}:
            result += [("operator", text), ("", "")] if kind == "operator" else [("", "")]
            continue
        expands = kind in {"plain", "double"} and re.search(r"[$`]" + (r"|[*?#{}~!]" if kind == "plain" else ""), text)
        result[-1] = ("expands" if expands or result[-1][0] == "expands" else "word", result[-1][1] + text)
    assert "".join(match[0] for match in _SHELL.finditer(command)) == command, "a quote is open"
    return [token for token in result if token != ("", "")]


def instructions(dockerfile: str) -> Iterator[tuple[str, list[Token]]]:
    """The instructions as a builder parses them: without comments, lines joined, RUN parsed by the shell."""
    text = re.sub(r"(?m)^[ \t]*#.*\n", "", dockerfile)
    for line in re.sub(r"\\[ \t]*\n", " ", text).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, tokens(rest)


def sections(definition: str) -> Iterator[tuple[str, list[Token]]]:
    head, *parts = re.split(r"(?m)^[ \t]*%(?=\w)", definition)
    yield "head", tokens(head)
    for part in parts:
        name, _, body = part.partition("\n")
        yield name, tokens(body)


def shape(packages: Packages, template: Template, sif: bool) -> list[tuple[str, list[Token]]]:
    recipe = make_recipe(packages, template, sif).containerfile
    assert set(re.findall(r"\{\{.*", recipe)) <= {"{{wave_context_dir}}/conda.yml /scratch/conda.yml"}
    return list((sections if sif else instructions)(recipe))


def with_words(actual: list[tuple[str, list[Token]]], words: dict[str, str]) -> list[tuple[str, list[Token]]]:
    """Replace the plain words in the shape with the words that they stand for."""
    return [(name, [(kind, words.get(text, text)) for kind, text in line]) for name, line in actual]


def assert_same_shape(make: partial[Packages], texts: list[str], template: Template, sif: bool) -> None:
    try:
        actual = shape(make(texts), template, sif)
    except BadRequest:
        return
    plain = [f"https://plain.example.org/a-{number}-0.conda" for number in range(len(texts))]
    assert actual == with_words(shape(make(plain), template, sif), dict(zip(plain, texts, strict=True)))


def conda(texts: list[str], *, base_image: str = "debian:12") -> Packages:
    """Base packages."""
    base = " ".join(texts)
    opts = CondaOpts(base_packages=base, base_image=base_image)
    return Packages(type=PackageType.CONDA, entries=("bwa",), conda_opts=opts, pixi_opts=PixiOpts(base_packages=base))


def locked(texts: list[str]) -> Packages:
    """The URL of a lock file, and channels."""
    return Packages(type=PackageType.CONDA, entries=(f"https://x/{texts[0]}",), channels=tuple(texts[1:]))


def cran(texts: list[str]) -> Packages:
    """Debian packages."""
    return Packages(type=PackageType.CRAN, entries=("dplyr",), cran_opts=CranOpts(base_packages=" ".join(texts)))


conda_templates = st.sampled_from([Template.MICROMAMBA_V1, Template.MICROMAMBA_V2, Template.PIXI_V1])


@given(st.lists(hostile, min_size=1, max_size=4), conda_templates, st.booleans())
def test_base_packages_are_words_of_one_command(texts: list[str], template: Template, sif: bool) -> None:
    """Only blanks separate them; no other character is special."""
    texts = " ".join(texts).split(" ")
    assume(all(texts) and all(text == text.strip() for text in texts))
    assert_same_shape(partial(conda), texts, template, sif)


@given(hostile, st.lists(hostile, max_size=3), st.booleans(), st.booleans())
def test_urls_and_channels_are_arguments(address: str, channels: list[str], second: bool, sif: bool) -> None:
    """Each is exactly one argument."""
    assume(all(channel.strip() for channel in channels) and " " not in address)
    template = Template.MICROMAMBA_V2 if second else Template.MICROMAMBA_V1
    plain_address, plain = "plain", [f"channel{number}" for number in range(len(channels))]
    try:
        actual = shape(locked([address, *channels]), template, sif)
        recipe = make_recipe(locked([address, *channels]), template, sif).containerfile
    except BadRequest:
        return
    assert "-f" in recipe
    expected = shape(locked([plain_address, *plain]), template, sif)
    normalized = re.sub(r" *([<>=!~,@]+) *", r"\1", address)
    words = dict(zip(plain, (channel.strip() for channel in channels), strict=True))
    assert actual == with_words(expected, words | {"https://x/plain": f"https://x/{normalized}"})


@given(st.lists(hostile, min_size=1, max_size=4), st.booleans())
def test_debian_packages_are_words_of_one_command(texts: list[str], sif: bool) -> None:
    """The same for apt-get."""
    texts = " ".join(texts).split(" ")
    assume(all(texts) and all(text == text.strip() for text in texts))
    assert_same_shape(partial(cran), texts, Template.INSTALLR_V1, sif)


@given(st.lists(hostile, min_size=1, max_size=4), st.lists(hostile, max_size=3), conda_templates, st.booleans())
def test_entries_and_channels_are_in_the_environment_only(
    entries: list[str], channels: list[str], template: Template, sif: bool
) -> None:
    """The recipe is the same for all of them."""
    assume(not any("http" in entry for entry in entries))
    try:
        recipe = make_recipe(
            Packages(type=PackageType.CONDA, entries=tuple(entries), channels=tuple(channels)), template, sif
        )
    except BadRequest:
        return
    assert (
        recipe.containerfile
        == make_recipe(Packages(type=PackageType.CONDA, entries=("bwa",)), template, sif).containerfile
    )
    assert yaml.safe_load(recipe.environment or "").keys() <= {"channels", "dependencies"}


r_entries = st.one_of(
    hostile, st.from_regex(r"[A-Za-z.]{1,5}(=[0-9.]{1,3})?|[a-z]/[a-z@#]{1,4}|https?://[!-~]{1,9}", fullmatch=True)
)
r_channels = st.one_of(hostile, st.from_regex(r"https?://[!-~]{1,12}", fullmatch=True))


@given(st.lists(r_entries, min_size=1, max_size=4), st.lists(r_channels, max_size=3), st.booleans())
def test_r_code_differs_only_in_repository_urls(entries: list[str], channels: list[str], sif: bool) -> None:
    """Package names are arguments of R, repositories are string literals."""
    packages = Packages(type=PackageType.CRAN, entries=tuple(entries), channels=tuple(channels))
    try:
        actual = shape(packages, Template.INSTALLR_V1, sif)
    except BadRequest:
        return
    (run,) = [line for name, line in actual if name in {"RUN", "post"}]
    for command in commands(run):
        for program in (command[at + 1] for at, word in enumerate(command) if word == "-e"):
            assert _STRING.sub("S", program) in SHAPES
            assert all(json.loads(literal).isprintable() for literal in _STRING.findall(program))
    assert [text for kind, text in run if kind == "expands"] == ["/tmp/*.rds", "/var/lib/apt/lists/*"]


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def commands(run: list[Token]) -> list[list[str]]:
    """The commands that `&&` joins, as words."""
    result: list[list[str]] = [[]]
    for kind, text in run:
        if kind == "operator":
            assert text == "&&"
            result.append([])
        else:
            result[-1].append(text)
    assert {command[0] for command in result} <= {"apt-get", "Rscript", "rm"}
    return result


SHAPES = {
    *(f"options(repos = c(CRAN = S{more}), BioC_mirror = S)" for more in ("", ", R1 = S", ", R1 = S, R2 = S")),
    "if (!requireNamespace(S, quietly = TRUE)) install.packages(S)",
    "for (spec in strsplit(commandArgs(TRUE), S)) remotes::install_version(spec[1], spec[2], upgrade = S)",
    "install.packages(commandArgs(TRUE))",
    "absent <- setdiff(commandArgs(TRUE), rownames(installed.packages())); "
    "if (length(absent)) stop(S, toString(absent))",
    "BiocManager::install(commandArgs(TRUE), ask = FALSE, update = FALSE)",
    "remotes::install_github(commandArgs(TRUE), upgrade = S)",
    "remotes::install_url(commandArgs(TRUE), upgrade = S)",
}


@pytest.mark.parametrize("text", ["$(id)", "`id`", "a*", "a;b"])
def test_the_tokenizer_of_these_tests_agrees_with_a_shell(text: str) -> None:
    """The other tests depend on it."""
    assert tokens(f"echo {text}") != [("word", "echo"), ("word", text)]
    assert tokens(f"echo '{text}'") == [("word", "echo"), ("word", text)]
