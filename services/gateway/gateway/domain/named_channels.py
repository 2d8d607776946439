"""The Conda channels that a request, or the record of a build, names."""

from collections.abc import Iterable, Iterator
from typing import Any

from swell.conda.match_specs import parse_spec
from swell.recipes.conda import Environment
from swell.recipes.environment_file import read_yaml
from swell.store.records import Submission


def channels_in(environment: str | None = None, base_packages: Iterable[str] = (), lock: str = "") -> Iterator[str]:
    """The channels in an environment file, in specs of packages, and the URLs of packages in a lock file."""
    yield from _of_specs(base_packages)
    yield from _urls(lock)
    if environment is None:
        return
    if Environment(text=environment).is_explicit:
        yield from _urls(environment)
        return
    fields = read_yaml(environment)
    yield from _texts(fields.get("channels"))
    yield from _of_specs(_texts(fields.get("dependencies")))


def channels_of_record(submission: Submission) -> list[str] | None:
    """The channels of a build; None if only the builder has read them, from a lock file at a URL."""
    is_conda = (submission.template or "").startswith("conda/")
    if is_conda and submission.environment is None and submission.packages is None:
        return None
    lock = submission.packages.lock if submission.packages else ""
    return list(channels_in(submission.environment, submission.base_packages, lock))


def _texts(value: Any) -> Iterator[str]:
    """The texts in *value*, a part of an environment file, without those for pip.

    micromamba also reads packages below a selector, as in `- sel(linux): NAME`.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([each for name, each in value.items() if name != "pip"])
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _of_specs(specs: Iterable[str]) -> Iterator[str]:
    for text in specs:
        spec = parse_spec(text)
        yield from filter(None, (spec.url, spec.channel))


def _urls(lock: str) -> Iterator[str]:
    for line in lock.splitlines():
        if "://" in line:
            yield line.split()[0]
