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
from tests.fixtures.docker_ignore import CASES
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.buildkit.test_features import archive
from tests.integration.builder.harness import Output, Registry

__all__ = ["buildkit", "programs"]

SAMPLE = 30
"""Every thirtieth case is built in `make test`, all of them in `make test-full`."""


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
