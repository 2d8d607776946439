"""Patterns of `.dockerignore` leave out what they leave out with Docker.

Source: moby/patternmatcher, patternmatcher_test.go (`TestMatches`, `matchTests`),
https://github.com/moby/patternmatcher/blob/v0.6.1/patternmatcher_test.go, and Docker's documentation,
https://docs.docker.com/build/concepts/context/#dockerignore-files
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from builder.buildkit.daemons.programs import Programs
from builder.buildkit.engine import BuildkitEngine
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.buildkit.test_features import archive
from tests.integration.builder.conftest import Output, Registry

__all__ = ["buildkit", "programs"]

SAMPLE = 30
"""Every thirtieth case is built in `make test`, all of them in `make test-full`."""

WHEEL = "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl"
CASES = (  # patterns, a file, and whether it is left out
    ("**", "file", True),
    ("**/", "file", True),
    ("**", "dir/file", True),
    ("**/", "dir/file", True),
    ("**/**", "dir/file", True),
    ("dir/**", "dir/file", True),
    ("dir/**", "dir/dir2/file", True),
    ("**/dir", "dir", True),
    ("**/dir", "dir/file", True),
    ("**/dir2/*", "dir/dir2/file", True),
    ("**/dir2/**", "dir/dir2/dir3/file", True),
    ("**file", "file", True),
    ("**file", "dir/file", True),
    ("**/file", "dir/file", True),
    ("**file", "dir/dir/file", True),
    ("**/file", "dir/dir/file", True),
    ("**/file*", "dir/dir/file", True),
    ("**/file*", "dir/dir/file.txt", True),
    ("**/file*txt", "dir/dir/file.txt", True),
    ("**/file*.txt*", "dir/dir/file.txt", True),
    ("**/**/*.txt", "dir/dir/file.txt", True),
    ("**/**/*.txt2", "dir/dir/file.txt", False),
    ("**/*.txt", "file.txt", True),
    ("**/**/*.txt", "file.txt", True),
    ("a**/*.txt", "a/file.txt", True),
    ("a**/*.txt", "a/dir/file.txt", True),
    ("a**/*.txt", "a/dir/dir/file.txt", True),
    ("a/*.txt", "a/dir/file.txt", False),
    ("a/*.txt", "a/file.txt", True),
    ("a/*.txt**", "a/file.txt", True),
    ("a[b-d]e", "ae", False),
    ("a[b-d]e", "ace", True),
    ("a[b-d]e", "aae", False),
    ("a[^b-d]e", "aze", True),
    (".*", ".foo", True),
    (".*", "foo", False),
    ("abc.def", "abcdef", False),
    ("abc.def", "abc.def", True),
    ("abc?def", "abcZdef", True),
    ("abc?def", "abcdef", False),
    ("a\\\\", "a\\", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "ab", False),
    ("**/foo/bar", "foo/bar", True),
    ("**/foo/bar", "dir/dir2/foo/bar", True),
    ("abc/**", "abc", False),
    ("abc/**", "abc/def/ghi", True),
    ("**/.foo", ".foo", True),
    ("**/.foo", "bar.foo", False),
    ("a(b)c/def", "a(b)c/def", True),
    ("a(b)c/def", "a(b)c/xyz", False),
    ("a.|)$(}+{bc", "a.|)$(}+{bc", True),
    (WHEEL, WHEEL, True),
    ("dist/*.whl", WHEEL, True),
    ("a*", "ab/c", True),
    ("a*/b", "abc/b", True),
    ("a*/b", "a/c/b", False),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
    ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
    ("a*b?c*x", "abxbbxdbxebxczzx", True),
    ("a*b?c*x", "abxbbxdbxebxczzy", False),
    ("ab[^e-g]", "abc", True),
    ("a?b", "a☺b", True),
    ("a???b", "a☺b", False),
    ("[a-ζ]*", "α", True),
    ("a?b", "a/b", False),
    # several patterns: the last one that matches counts
    ("!fileutils.go\n*.go", "fileutils.go", True),
    ("*.go\n!fileutils.go", "fileutils.go", False),
    ("docs\n!docs/README.md", "docs/README.md", False),
    ("docs/\n!docs/README.md", "docs/README.md", False),
    ("docs/*\n!docs/README.md", "docs/README.md", False),
    ("docs\n  !docs/README.md  ", "docs/README.md", False),
    ("**\n!util/docker/web", "util/docker/web/foo", False),
    ("**\n!util/docker/web\nutil/docker/web/foo", "util/docker/web/foo", True),
    (f"**\n!{WHEEL}", WHEEL, False),
    ("**\n!dist/*.whl", WHEEL, False),
    ("**\n!**/*.go", "cmd/main.go", False),
    ("*\n!**/go.mod", "cmd/main.go", True),
    ("*\n!**/go.mod", "go.mod", False),
    # Docker's documentation
    ("# comment\n*/temp*", "somedir/temporary.txt", True),
    ("*/*/temp*", "somedir/subdir/temporary.txt", True),
    ("*/*/temp*", "somedir/temporary.txt", False),
    ("temp?", "tempa", True),
    ("/foo/bar", "foo/bar", True),
    ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
    ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
)


@pytest.fixture(scope="module")
async def daemons(
    registry: Registry, programs: Programs, base: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BuildkitEngine]:
    """One engine for all cases."""
    async with Buildkit(registry, programs, base).open(tmp_path_factory.mktemp("ignored")) as engine:
        yield engine


def parameters() -> list[object]:
    """All cases; those outside of the sample run in `make test-full`."""
    return [
        pytest.param(*case, id=f"{case[0]!r}-{case[1]}", marks=() if number % SAMPLE == 0 else (pytest.mark.full,))
        for number, case in enumerate(CASES)
    ]


@pytest.mark.parametrize(("patterns", "file", "is_ignored"), parameters())
async def test_a_file_is_in_the_context_as_with_docker(
    daemons: BuildkitEngine,
    buildkit: Buildkit,
    registry: Registry,
    tmp_path: Path,
    patterns: str,
    file: str,
    is_ignored: bool,
) -> None:
    """A pattern that leaves out too little publishes a secret; one that leaves out too much breaks the build."""
    context = archive(tmp_path / "context.tar.gz", {file: b"x", ".dockerignore": f"{patterns}\n".encode()})
    recipe = structs.replace(
        buildkit.recipe("", made="ignored/made:1"), containerfile="FROM scratch\nCOPY . /\n", context=context
    )
    digest = await daemons.build(recipe, Output())
    with registry.last_layer("ignored/made", digest) as layer:
        assert (file not in layer.getnames()) is is_ignored
