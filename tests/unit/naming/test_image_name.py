"""Names of built images."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.api.containers import NameStrategy
from swell.errors import BadRequest
from swell.naming.image_name import Tool, build_repository, effective_strategy, is_within, target_name, tools_of
from swell.oci.reference import parse_reference

R = "quay.io/org/img"
P = "community.wave.seqera.io"
D = "registry.example.com/builds"
ID = "7efaa2ed59c58a16"
NONE, TAG, SUFFIX = NameStrategy.NONE, NameStrategy.TAG_PREFIX, NameStrategy.IMAGE_SUFFIX

NAMED = "name: RNAseq NF/v2\ndependencies: [samtools=1.17]\n"
LONG = [f"a-rather-long-conda-package-name-{number}=10.20.30" for number in range(4)]


def conda(*dependencies: str, pip: tuple[str, ...] = ()) -> str:
    lines = [f"- '{dependency}'" for dependency in dependencies]
    if pip:
        lines += ["- pip:", *(f"  - '{spec}'" for spec in pip)]
    return "\n".join(["channels:", "- conda-forge", "dependencies:", *lines])


def name(
    repository: str,
    environment: str | None,
    strategy: NameStrategy | None = None,
    *,
    sif: bool = False,
    public: str = P,
) -> str:
    """The name of the image of a request, computed as in the gateway."""
    return target_name(
        build_repository(repository, strategy=strategy, public=public),
        ID,
        strategy=effective_strategy(strategy, repository, public),
        sif=sif,
        tools=tools_of(environment) if environment else (),
    )


SAMTOOLS = conda("samtools=1.17")
TWO = conda("bioconda::samtools=1.17", "bcftools=1.17")
SIX = conda("a=1", "b=2", "c=3", "d=4", "e=5", "f=6")


@pytest.mark.parametrize(
    ("repository", "strategy", "environment", "expected"),
    [
        (R, None, None, f"{R}:{ID}"),  # 1
        (R, TAG, None, f"{R}:{ID}"),
        (R, SUFFIX, None, f"{R}:{ID}"),
        (R, NONE, None, f"{R}:{ID}"),
        (R, None, SAMTOOLS, f"{R}:samtools-1.17--{ID}"),  # 3
        (R, TAG, SAMTOOLS, f"{R}:samtools-1.17--{ID}"),  # 4
        (R, NONE, SAMTOOLS, f"{R}:{ID}"),  # 5
        (R, SUFFIX, SAMTOOLS, f"{R}/samtools:1.17--{ID}"),  # 6
        (R, None, conda("samtools"), f"{R}:samtools--{ID}"),  # 9
        (R, SUFFIX, conda("samtools"), f"{R}/samtools:{ID}"),  # 10
        (R, None, TWO, f"{R}:samtools-1.17_bcftools-1.17--{ID}"),  # 11
        (R, SUFFIX, TWO, f"{R}/samtools_bcftools:1.17--{ID}"),  # 12
        (R, SUFFIX, conda("samtools=1.17", "bwa"), f"{R}/samtools_bwa:{ID}"),  # 13
        (R, None, conda("a=1", "b=2", "c=3", "d=4", "e=5"), f"{R}:a-1_b-2_c-3_d-4_e-5--{ID}"),  # 14
        (R, None, SIX, f"{R}:a-1_b-2_c-3_d-4_pruned--{ID}"),  # 15
        (R, SUFFIX, SIX, f"{R}/a_b_c_d_pruned:{ID}"),  # 16
        (R, None, conda("salmon>=1.6.0,<2"), f"{R}:salmon-1.6.0--{ID}"),  # 17
        (R, None, conda("numpy=1.26=py311h64a7726_0"), f"{R}:numpy-1.26--{ID}"),  # 18
        (R, None, conda("pip", pip=("pandas==2.2.2", "numpy~=1.26")), f"{R}:pip_pandas-2.2.2_numpy-1.26--{ID}"),  # 19
        (R, SUFFIX, conda("pip", pip=("pandas==2.2.2",)), f"{R}/pip_pandas:{ID}"),  # 20
        (R, None, conda("bwa", "pip", pip=("https://x.org/a.zip",)), f"{R}:bwa_pip--{ID}"),  # 21
        (
            R,
            None,
            conda("pip", pip=("git+https://github.com/a/b.git@v1",)),
            f"{R}:pip_githttpsgithub.comab.gitv1--{ID}",
        ),  # 22
        (R, None, NAMED, f"{R}:RNAseqNFv2--{ID}"),  # 23
        (R, SUFFIX, NAMED, f"{R}/rnaseqnf/v2:{ID}"),  # 24
        (R, SUFFIX, conda("R-Base=4.3", "Bioconductor-DESeq2=1.42"), f"{R}/r-base_bioconductor-deseq2:{ID}"),  # 25
        (
            R,
            None,
            conda(*LONG),
            f"{R}:a-rather-long-conda-package-name-0-10.20.30_a-rather-long-conda-package-name-1-1--{ID}",
        ),  # 26
        (R, None, conda("foo[version=1.2]"), f"{R}:fooversion-1.2--{ID}"),  # 27
        (P, None, SAMTOOLS, f"{P}/library/samtools:1.17--{ID}"),  # 28
        (P, TAG, SAMTOOLS, f"{P}/library/build:samtools-1.17--{ID}"),  # 29
        (P, NONE, SAMTOOLS, f"{P}/library/build:{ID}"),  # 30
        (D, None, SAMTOOLS, f"{D}:samtools-1.17--{ID}"),  # 32
    ],
)
def test_names_equal_those_of_wave(
    repository: str, strategy: NameStrategy | None, environment: str | None, expected: str
) -> None:
    """Clients look for existing images by these names."""
    assert name(repository, environment, strategy) == expected
    parse_reference(expected)


@pytest.mark.parametrize(
    ("repository", "strategy", "environment", "expected"),
    [
        (R, None, None, f"oras://{R}:{ID}"),  # 2
        (R, None, SAMTOOLS, f"oras://{R}:samtools-1.17--{ID}"),  # 7
        (R, SUFFIX, SAMTOOLS, f"oras://{R}/samtools:1.17--{ID}"),  # 8
        (f"{P}/foo", None, SAMTOOLS, f"oras://{P}/foo/samtools:1.17--{ID}"),  # 31
    ],
)
def test_names_of_sif_files_begin_with_oras(
    repository: str, strategy: NameStrategy | None, environment: str | None, expected: str
) -> None:
    """Singularity pulls them by this scheme."""
    assert name(repository, environment, strategy, sif=True) == expected


def test_without_a_public_repository_a_host_is_unchanged() -> None:
    """Only the public repository has reserved words."""
    assert build_repository(P, strategy=None, public=None) == P


def test_the_public_repository_is_not_matched_by_prefix() -> None:
    """`quay.io.example.com` is another registry."""
    assert is_within(f"{P}/a", P)
    assert not is_within(f"{P}.example.com/a", P)
    assert not is_within(f"{P}/a", None)
    assert effective_strategy(None, f"{P}.example.com/a", P) is TAG


@pytest.mark.parametrize("repository", [f"{P}/library", f"{P}/foo/build"])
def test_reserved_words_are_refused_in_the_public_repository(repository: str) -> None:
    """Only the server may push to its `library`."""
    reserved = frozenset({"library", "build"})

    with pytest.raises(BadRequest, match=r"reserved word: (library|build)$"):
        build_repository(repository, strategy=None, public=P, reserved=reserved)
    assert build_repository(f"{R}/library", strategy=None, public=P, reserved=reserved) == f"{R}/library"
    assert build_repository(P, strategy=None, public=P, reserved=reserved) == f"{P}/library"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ("", ()),
        ("dependencies:\n- a=1.10\n", (Tool("a", "1.10"),)),
        ("name: 1.10\n", (Tool("1.10"),)),
        ("name:\ndependencies: [pip:b==2, 'c = 3']", (Tool("b", "2"), Tool("c", "3"))),
        ("name: whole\ndependencies: [{other: [x]}]", (Tool("whole"),)),
        ("dependencies: [a, {other: [x]}]", ()),
        ("dependencies: [a, {pip: [x], other: [y]}]", ()),
        ("dependencies: {a: b}", ()),
        ("dependencies: [[a]]", ()),
        ("dependencies: ['==', 'http://x.org/a', '']", ()),
        ("@EXPLICIT\nhttps://x.org/a.conda\n", ()),
        ("- a", ()),
        ("name: [", ()),
        ('name: "\\UFFFFFFFF"', ()),
        ("[" * 5000, ()),
        ("- " * 5000, ()),
        ("a: !!python/object/apply:os.system [x]", ()),
    ],
)
def test_tools_come_from_the_environment_file(environment: str, expected: tuple[Tool, ...]) -> None:
    """A version is text, not a number; an unreadable file has no tools and is no error."""
    assert tools_of(environment) == expected


@pytest.mark.parametrize("tool", ["===", "'~'", "名前", "--", "."])
def test_a_tool_without_valid_characters_is_left_out(tool: str) -> None:
    """A name without tools is better than an invalid one."""
    for strategy in NameStrategy:
        assert name(R, conda(tool.strip("'")), strategy) == f"{R}:{ID}"


@pytest.mark.parametrize("tool", ["a//b", "a..b", "a/-b", "a_-b"])
def test_an_invalid_suffix_is_left_out(tool: str) -> None:
    """The OCI grammar of repositories is narrower than its set of characters."""
    assert name(R, conda(tool), SUFFIX) == f"{R}:{ID}"


@given(
    st.lists(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9:=<>_./-]{0,99}"), max_size=8),
    st.sampled_from(NameStrategy),
)
def test_every_name_is_a_valid_reference(dependencies: list[str], strategy: NameStrategy) -> None:
    """Otherwise the push would fail after the build."""
    environment = "dependencies: " + "".join(f"\n- {json.dumps(dependency)}" for dependency in dependencies)

    reference = parse_reference(name(R, environment, strategy))

    assert str(reference.tag).endswith(ID)
