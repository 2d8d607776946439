"""The template `conda/direct:v1`: the solver locks the packages, and they become layers without a container."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from swell.conda.match_specs import parse_spec
from swell.errors import BadRequest
from swell.recipes.conda import Environment
from swell.recipes.environment_file import read_yaml
from swell.recipes.lines import join_lines

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
    fields = read_yaml(environment.text or "")
    if fields.get("variables"):
        raise BadRequest(
            f"{TEMPLATE} does not support variables of an environment file; send them as containerConfig.env"
        )
    return DirectPackages(
        base_image=base_image,
        specs=tuple(_specs(fields)),
        base_packages=base_packages,
        channels=tuple(fields.get("channels") or ()),
    )


def _specs(fields: Mapping[str, Any]) -> list[str]:
    dependencies: list[object] = fields["dependencies"]
    specs = [spec for spec in dependencies if isinstance(spec, str)]
    if len(specs) < len(dependencies):
        raise BadRequest(f"{TEMPLATE} runs no commands, so it cannot install pip packages; use {ALTERNATIVE}")
    if url := next((spec for spec in specs if parse_spec(spec).url), None):
        raise BadRequest(f"{TEMPLATE} needs packages by name, not by URL: {url[:200]!r}")
    return specs


def recipe_text(packages: DirectPackages) -> str:
    """The text of the recipe, which documents the packages; the container id depends on it."""
    return join_lines(
        f"# {TEMPLATE}: nothing is run. The packages of conda.yml become layers on this image, below /opt/conda.",
        f"FROM {packages.base_image}",
        f"# and: {' '.join(packages.base_packages)}" if packages.base_packages and not packages.lock else None,
        'ENV CONDA_PREFIX=/opt/conda PATH="/opt/conda/bin:$PATH"',
    )
