"""The steps of a build with BuildKit: as events, and as lines of the log."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from builder.buildkit.daemons.programs import Programs
from builder.buildkit.engine import BuildkitEngine
from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from swell.api.builds import BuildStep
from tests.bench.builds.bare_buildkit import open_buildctl
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.harness import Output, Registry, gzipped_tar

__all__ = ["buildkit", "programs"]


@pytest.fixture(scope="module")
async def daemons(
    registry: Registry, programs: Programs, base: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BuildkitEngine]:
    async with Buildkit(registry, programs, base).open(tmp_path_factory.mktemp("steps")) as engine:
        yield engine


class Steps(list[BuildStep]):
    """The events of a build."""

    async def __call__(self, step: BuildStep) -> None:
        self.append(step)

    def last(self, part: str) -> BuildStep:
        """The last event of the step whose name contains *part*."""
        (last,) = {step.number: step for step in self if part in step.name}.values()
        return last


async def steps_of(engine: BuildkitEngine, recipe: Recipe) -> tuple[Steps, Output]:
    steps, output = Steps(), Output()
    await engine.build(recipe, output, steps)
    return steps, output


async def test_each_step_has_events_with_its_number_in_the_log(
    daemons: BuildkitEngine, buildkit: Buildkit, tmp_path: Path
) -> None:
    """From its start to its end, with what it downloaded; a second build finds it in the cache."""
    context = gzipped_tar(tmp_path / "context.tar.gz", {"large": b"x" * 300_000})
    recipe = structs.replace(buildkit.recipe("COPY large /large\nRUN echo these ste''ps; sleep 0.1\n"), context=context)
    steps, output = await steps_of(daemons, recipe)
    run = steps.last("RUN echo")
    first = next(step for step in steps if step.number == run.number)
    assert first.ended is None
    assert run.ended
    assert 0.1 <= (run.ended - run.started).total_seconds() < 60
    assert not run.cached
    assert f"#{run.number} {run.name}\n" in output.text
    assert re.search(rf"^#{run.number} \d+\.\d+ these steps$", output.text, re.MULTILINE)
    assert steps.last("load build context").transferred >= 300_000
    assert all({step.number: step for step in steps}[step.number].ended for step in steps)

    steps, _ = await steps_of(daemons, structs.replace(recipe, build_id="bd-second_1"))
    assert steps.last("RUN echo").cached


async def test_a_failed_step_has_its_error(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """A page can mark the step that failed; no event has the name of the push gateway."""
    steps = Steps()
    with pytest.raises(BuildFailure):
        await daemons.build(buildkit.recipe("RUN exit 7\n"), Output(), steps)
    assert "exit code: 7" in steps.last("RUN exit").error
    assert not any("127.0.0.2" in step.name + step.error for step in steps)


async def test_lines_are_those_of_plain_progress(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry, programs: Programs, base: str, tmp_path: Path
) -> None:
    """Each step has the same lines as in `buildctl build --progress=plain`; only times and blank lines differ."""
    body = (
        f"FROM {base} AS one\nRUN for n in 1 2 3; do echo line $n; done; printf rest\nRUN <<EOF\necho here\nEOF\n"
        f"FROM {base}\nCOPY --from=one /bin/busybox /copy\nRUN printf 'a\\rb\\n\\n\\033[1mbold\\033[0m\\n'; echo end\n"
    )
    recipe = structs.replace(buildkit.recipe("", made="steps/plain:1"), containerfile=body)
    _, ours = await steps_of(daemons, recipe)
    async with open_buildctl(tmp_path / "bare", registry.address, str(registry.auth_file)) as bare:
        theirs = await bare.build_and_push(f"{registry.address}/steps/bare:1", body)
    expected = by_step(re.sub(r"\x1b\[[0-9;:]*m", "", theirs.decode()))
    assert len(expected) == 4
    assert by_step(ours.text) == expected


def by_step(text: str) -> dict[str, list[str]]:
    """The lines of each instruction by its name, without their times."""
    names: dict[str, str] = {}
    lines = defaultdict[str, list[str]](list)
    for line in text.split("\n"):
        number, _, rest = line.partition(" ")
        if not re.fullmatch(r"#\d+", number) or rest == "...":
            continue
        if number not in names:
            names[number] = rest
        elif rest != names[number]:
            lines[names[number]].append(re.sub(r"^\d+\.\d{3} |(?<= )\d+\.\ds", "", rest))
    return {name: each for name, each in lines.items() if re.match(r"\[.*\] (RUN|COPY)", name)}
