"""Packages that become layers without a container: what is asked for, taken apart for the solver."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gateway.domain.definition import lines
from gateway.submit.recipes.conda import Environment, load
from swell.errors import BadRequest

NAME, INSTEAD = "conda/direct:v1", "conda/micromamba:v2"


class Direct(Struct, frozen=True, kw_only=True):
    """What goes onto `base_image`: `specs` and `base_packages` from `channels`, or only what a `lock` file lists."""

    base_image: str
    specs: tuple[str, ...] = ()
    base_packages: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    lock: str = ""


def direct_of(environment: Environment, base_image: str, base_packages: tuple[str, ...]) -> Direct:
    """What *environment* asks for; its own lock file says all, so that no *base_packages* are added to that.

    Raises:
        BadRequest: it asks for what needs a container: pip, or the address of a lock file.
    """
    if environment.url:
        raise BadRequest(f"{NAME} takes no address of a lock file; send the file as environment, or use {INSTEAD}")
    if environment.is_explicit:
        return Direct(base_image=base_image, lock=environment.text or "")
    fields = load(environment.text or "")
    if fields.get("variables"):
        raise BadRequest(f"{NAME} sets no variables of an environment file; send them as containerConfig.env")
    return Direct(
        base_image=base_image,
        specs=tuple(_specs(fields)),
        base_packages=base_packages,
        channels=tuple(_texts("channels", fields.get("channels") or [])),
    )


def _specs(fields: Mapping[str, Any]) -> list[str]:
    dependencies = fields.get("dependencies") or []
    if not isinstance(dependencies, list):
        raise BadRequest("packages.environment has dependencies that are no list")
    if any(isinstance(each, dict) for each in dependencies):
        raise BadRequest(f"{NAME} runs nothing, so it installs nothing with pip; use {INSTEAD}")
    specs = _texts("dependencies", dependencies)
    if url := next((spec for spec in specs if "://" in spec.partition("::")[0].partition("[")[0]), None):
        raise BadRequest(f"{NAME} takes packages by name, not by address: {url[:200]!r}")
    if not specs:
        raise BadRequest("packages is empty: give entries or an environment with dependencies")
    return specs


def _texts(name: str, values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadRequest(f"packages.environment has {name} that are no list of texts")
    return values


def record(wanted: Direct) -> str:
    """The same wish gives the same text, from which the image gets its name."""
    return lines(
        f"# {NAME}: nothing is run. The packages of conda.yml become layers on this image, below /opt/conda.",
        f"FROM {wanted.base_image}",
        f"# and: {' '.join(wanted.base_packages)}" if wanted.base_packages and not wanted.lock else None,
        'ENV CONDA_PREFIX=/opt/conda PATH="/opt/conda/bin:$PATH"',
    )
