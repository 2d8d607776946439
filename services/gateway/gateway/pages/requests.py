"""The fields of a form as a container request of the API, which validates it."""

import base64
import shlex
from collections.abc import Mapping

from msgspec.structs import replace

from swell.api.builds import BuildRecord
from swell.api.containers import ContainerConfig, ContainerRequest
from swell.api.packages import BASE_IMAGE, BASE_PACKAGES, CondaOpts, Packages, PackageType
from swell.errors import BadRequest

Fields = Mapping[str, str]

DIRECT = "conda/direct:v1"
PLATFORMS = ("linux/amd64", "linux/arm64")
TEMPLATES = {
    DIRECT: "Packages as layers (fast)",
    "conda/micromamba:v2": "Micromamba, small images",
    "conda/pixi:v1": "Pixi",
}


def packages_request(fields: Fields, *, dry_run: bool) -> ContainerRequest:
    """A request for the packages in the lines of `packages`, from the `channels`, on a base image."""
    entries = _lines(fields, "packages")
    if not entries:
        raise BadRequest("enter at least one package, such as samtools=1.21")
    base = fields.get("base") or BASE_IMAGE
    is_direct = fields.get("template", DIRECT) == DIRECT
    options = CondaOpts(base_image=base, base_packages=BASE_PACKAGES if base == BASE_IMAGE else "")
    packages = Packages(
        type=PackageType.CONDA,
        entries=entries,
        channels=tuple(fields.get("channels", "").replace(",", " ").split()) or None,
        conda_opts=options if is_direct else None,
    )
    return replace(_common(fields, dry_run=dry_run), packages=packages, build_template=fields.get("template") or None)


def recipe_request(fields: Fields, *, dry_run: bool) -> ContainerRequest:
    """A request for the image of the `recipe`, a container file, with the packages of a `conda` file."""
    if not fields.get("recipe"):
        raise BadRequest("enter a container file")
    return replace(
        _common(fields, dry_run=dry_run),
        container_file=_encoded(fields["recipe"]),
        conda_file=_encoded(fields["conda"]) if fields.get("conda") else None,
    )


def fields_of_build(record: BuildRecord) -> dict[str, str]:
    """The fields with which the recipe of *record* is built again."""
    fields = {"recipe": record.docker_file, "conda": record.conda_file or "", "rebuild": "on"}
    fields |= dict.fromkeys(record.platform.split(","), "on")
    return fields | ({"format": "sif"} if record.format == "SINGULARITY" else {})


def augment_request(fields: Fields, *, dry_run: bool) -> ContainerRequest:
    """A request for an `image` with additions: variables, a command, and the layers of other images."""
    if not fields.get("image"):
        raise BadRequest("enter the name of an image")
    config = ContainerConfig(
        entrypoint=_words(fields, "entrypoint"),
        cmd=_words(fields, "cmd"),
        env=_lines(fields, "env") or None,
        working_dir=fields.get("dir") or None,
    )
    return ContainerRequest(
        container_image=fields["image"],
        container_config=None if config.is_empty else config,
        container_includes=_lines(fields, "includes") or None,
        container_platform=_platforms(fields),
        dry_run=dry_run,
    )


def _common(fields: Fields, *, dry_run: bool) -> ContainerRequest:
    """The members of every build."""
    return ContainerRequest(
        format="sif" if fields.get("format") == "sif" else None,
        container_platform=_platforms(fields),
        rebuild="rebuild" in fields,
        dry_run=dry_run,
    )


def _platforms(fields: Fields) -> str | None:
    """The chosen platforms; None lets the server choose."""
    return ",".join(platform for platform in PLATFORMS if platform in fields) or None


def _lines(fields: Fields, name: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in fields.get(name, "").splitlines() if line.strip())


def _words(fields: Fields, name: str) -> tuple[str, ...] | None:
    """The words of a command as a shell splits them; None without one."""
    try:
        return tuple(shlex.split(fields.get(name, ""))) or None
    except ValueError as error:
        raise BadRequest(f"the {name} cannot be split into words: a quote is not closed") from error


def _encoded(text: str) -> str:
    return base64.b64encode(f"{text}\n".encode()).decode()
