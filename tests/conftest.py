"""Settings of Hypothesis for every test, and `--part`, with which several processes share the test files."""

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is not a failure, so examples have no deadline.
# `quick` keeps `make check` short: Hypothesis takes a quarter of its time. `make test-full` runs `thorough`.
settings.register_profile("quick", deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=1000)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", default="1/1", help="run a part of the test files: 1/2, or 2/2")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files of other parts. They are dealt out by size, to and fro, so that parts take equal time."""
    part, parts = map(int, config.getoption("part").split("/"))
    if parts == 1 or not collection_path.name.startswith("test_"):
        return None
    if FILES not in config.stash:
        folders = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
        files = {file for folder in folders for file in folder.rglob("test_*.py")}
        config.stash[FILES] = sorted(files, key=lambda file: (file.stat().st_size, file), reverse=True)
    place = config.stash[FILES].index(collection_path) % (2 * parts)
    return min(place, 2 * parts - 1 - place) != part - 1 or None


FILES = pytest.StashKey[list[Path]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Collect garbage less often in the processes of `--part`: modules are most of their memory, and stay."""
    if session.config.getoption("part") != "1/1":
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
