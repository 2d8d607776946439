"""The template `conda/direct:v1`: the solver locks the packages, and they become layers without a container."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gateway.domain.definition import join_lines
from gateway.submit.recipes.conda import Environment, load
from swell.errors import BadRequest

TEMPLATE, ALTERNATIVE = "conda/direct:v1", "conda/micromamba:v2"


class DirectPackages(Struct, frozen=True, kw_only=True):
    """Packages for `base_image`: `specs` and `base_packages` from `channels`, or exactly those of a `lock` file."""

    base_image: str
    specs: tuple[str, ...] = ()
    base_packages: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    lock: str = ""


def direct_packages(environment: Environment, base_image: str, base_packages: tuple[str, ...]) -> DirectPackages:
    """Return the packages of *environment*; *base_packages* are not added to an explicit list.

    Raises:
        BadRequest: it needs a container: it has pip packages, or the URL of a lock file.
    """
    if environment.url:
        raise BadRequest(
            f"{TEMPLATE} does not support the URL of a lock file; send the file as environment, or use {ALTERNATIVE}"
        )
    if environment.is_explicit:
        return DirectPackages(base_image=base_image, lock=environment.text or "")
    fields = load(environment.text or "")
    if fields.get("variables"):
        raise BadRequest(
            f"{TEMPLATE} does not support variables of an environment file; send them as containerConfig.env"
        )
    return DirectPackages(
        base_image=base_image,
        specs=tuple(_specs(fields)),
        base_packages=base_packages,
        channels=tuple(_texts("channels", fields.get("channels") or [])),
    )


def _specs(fields: Mapping[str, Any]) -> list[str]:
    dependencies = fields.get("dependencies") or []
    if not isinstance(dependencies, list):
        raise BadRequest("dependencies of packages.environment is not a list")
    if any(isinstance(dependency, dict) for dependency in dependencies):
        raise BadRequest(f"{TEMPLATE} runs no commands, so it cannot install pip packages; use {ALTERNATIVE}")
    specs = _texts("dependencies", dependencies)
    if url := next((spec for spec in specs if "://" in spec.partition("::")[0].partition("[")[0]), None):
        raise BadRequest(f"{TEMPLATE} needs packages by name, not by URL: {url[:200]!r}")
    if not specs:
        raise BadRequest("packages is empty: give entries or an environment with dependencies")
    return specs


def _texts(name: str, values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadRequest(f"{name} of packages.environment is not a list of strings")
    return values


def recipe_text(packages: DirectPackages) -> str:
    """The text of the recipe, which documents the packages; the container id depends on it."""
    return join_lines(
        f"# {TEMPLATE}: nothing is run. The packages of conda.yml become layers on this image, below /opt/conda.",
        f"FROM {packages.base_image}",
        f"# and: {' '.join(packages.base_packages)}" if packages.base_packages and not packages.lock else None,
        'ENV CONDA_PREFIX=/opt/conda PATH="/opt/conda/bin:$PATH"',
    )
