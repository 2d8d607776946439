"""The message of a failed build contains the cause, with each engine."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from builder.buildah.engine import BuildahEngine
from builder.buildkit.daemons.programs import Programs
from builder.buildkit.engine import BuildkitEngine
from builder.engine import Engine
from swell.recipes.packages import make_recipe
from swell.store.records import Reason
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.conda.test_packages import TOOLS, conda
from tests.integration.builder.contract import failure_of
from tests.integration.builder.harness import Output, Registry, gzipped_tar

__all__ = ["buildkit", "programs"]

MICROMAMBA = b"""#!/bin/sh
echo 'error    libmamba Could not solve for environment specs' >&2
echo '    The following package could not be installed' >&2
echo '    \xe2\x94\x94\xe2\x94\x80 no-such-package does not exist (perhaps a typo or a missing channel).' >&2
echo 'critical libmamba Could not solve for environment specs' >&2
exit 1
"""
PIXI = b"""#!/bin/sh
test "$1" != init || exit 0
echo 'Error:   \xc3\x97 failed to solve the environment' >&2
echo '  \xe2\x95\xb0\xe2\x94\x80\xe2\x96\xb6 Cannot solve the request because of: '\
'No candidates were found for no-such-package *.' >&2
exit 1
"""


@pytest.fixture(scope="module")
async def daemons(
    registry: Registry, programs: Programs, base: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BuildkitEngine]:
    async with Buildkit(registry, programs, base).open(tmp_path_factory.mktemp("causes")) as engine:
        yield engine


@pytest.fixture(params=["buildkit", "buildah"])
def either(request: pytest.FixtureRequest, daemons: BuildkitEngine, engine: BuildahEngine) -> Engine:
    return daemons if request.param == "buildkit" else engine


async def message_of(engine: Engine, buildkit: Buildkit, steps: str) -> str:
    failure = await failure_of(engine, buildkit.recipe(steps))
    assert failure.reason is Reason.RECIPE
    return str(failure.explained(lambda text: text.replace("hunter2", "***")))


async def test_a_step_that_fails_is_shown_with_its_last_words(either: Engine, buildkit: Buildkit) -> None:
    """Of its standard error, also if it writes more to standard output behind it."""
    steps = "RUN echo fine >&2\nRUN echo out; echo hunter2 boom >&2; echo more; exit 3\n"

    message = await message_of(either, buildkit, steps)

    assert message.startswith(("The step 'RUN ", "The step '/bin/sh -c "))
    assert message.endswith("' ended with exit status 3: *** boom")


async def test_a_step_without_standard_error_is_shown_with_its_output(either: Engine, buildkit: Buildkit) -> None:
    """Test programs report on standard output. What an earlier step has written does not count."""
    message = await message_of(either, buildkit, "RUN echo warning >&2\nRUN echo FAILED test_seven; exit 1\n")

    assert message.endswith("ended with exit status 1: FAILED test_seven")


async def test_a_refused_connection_is_named(either: Engine, buildkit: Buildkit) -> None:
    """The most frequent cause of a failed download in a step."""
    message = await message_of(either, buildkit, "RUN wget -q -O /x http://127.0.0.1:1/x\n")

    assert "connection refused" in message.lower()


@pytest.mark.parametrize("template", ["conda/micromamba:v1", "conda/micromamba:v2", "conda/pixi:v1"])
async def test_packages_that_cannot_be_solved_are_named(
    either: Engine, buildkit: Buildkit, registry: Registry, base: str, template: str, tmp_path: Path
) -> None:
    """As `conda/direct` names them: the template's own commands say nothing to the user."""
    tool = PIXI if "pixi" in template else MICROMAMBA
    files = {"tool": tool, "passwd": b"root:x:0:0::/:/bin/sh\nmambauser:x:1000:1000::/:/bin/sh\n"}
    files["group"] = b"root:x:0:\nmambauser:x:1000:\n"
    context = await asyncio.to_thread(gzipped_tar, tmp_path / "context.tar.gz", files)
    image = f"{registry.address}/unsolvable:{template.replace('/', '-').replace(':', '-')}"
    tools = buildkit.recipe("", made=image.removeprefix(f"{registry.address}/"))
    await either.build(msgspec.structs.replace(tools, containerfile=TOOLS.format(base=base), context=context), Output())
    recipe = make_recipe(conda(image, base, "no-such-package"), template, False)
    build = msgspec.structs.replace(
        buildkit.recipe("RUN true\n"), containerfile=recipe.containerfile, environment=recipe.environment
    )

    failure = (await failure_of(either, build)).explained(str)

    assert str(failure).startswith("The packages cannot be installed together: ")
    assert "no-such-package" in str(failure)
    assert "libmamba" not in str(failure)
