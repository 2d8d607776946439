"""What Wave's command line refuses before it sends anything, in its order."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swell_cli.wave.options import WaveError

PLATFORMS = {"amd64", "x86_64", "linux/amd64", "linux/x86_64", "arm64", "linux/arm64"}


def check(fields: Mapping[str, Any]) -> None:
    """Check the options of a request.

    Raises:
        WaveError: the first rule that is broken.
    """
    for broken, message in (*_sources(fields), *_formats(fields)):
        if broken:
            raise WaveError(message)
    _files(fields)
    for broken, message in (*_modes(fields), *_platforms(fields)):
        if broken:
            raise WaveError(message)


def has(fields: Mapping[str, Any], name: str) -> bool:
    """Whether the option *name* has a value that is not blank."""
    value = fields.get(name)
    return bool(value.strip()) if isinstance(value, str) else bool(value)


def _sources(fields: Mapping[str, Any]) -> list[tuple[bool, str]]:
    image, file, conda_file, conda, cran = (
        has(fields, name) for name in ("image", "containerfile", "conda_file", "conda_packages", "cran_packages")
    )
    conflict = "Argument {} and {} conflict with each other"
    return [
        (image and file, conflict.format("--image", "--containerfile")),
        (
            not (image or file or conda_file or conda or cran),
            "Provide either a image name, a container file, a Conda environment, or packages of Conda or R",
        ),
        (
            has(fields, "build_repository") and not has(fields, "tower_token"),
            "Specify the access token with --tower-token: a build repository needs it",
        ),
        (conda_file and conda, conflict.format("--conda-file", "--conda-package")),
        (conda_file and image, conflict.format("--conda-file", "--image")),
        (conda_file and file, conflict.format("--conda-file", "--containerfile")),
        (conda and image, conflict.format("--conda-package", "--image")),
        (conda and file, conflict.format("--conda-package", "--containerfile")),
        (cran and image, conflict.format("--cran-package", "--image")),
        (cran and file, conflict.format("--cran-package", "--containerfile")),
        (cran and (conda or conda_file), conflict.format("--cran-package", "--conda-package")),
    ]


def _formats(fields: Mapping[str, Any]) -> list[tuple[bool, str]]:
    output = fields.get("output")
    return [(output is not None and output not in ("json", "yaml"), f"Invalid output format: '{output}'")]


def _files(fields: Mapping[str, Any]) -> None:
    conda_file, context = fields.get("conda_file"), fields.get("context")
    if conda_file and not Path(conda_file).is_file():
        raise WaveError(f"The Conda file does not exist: '{conda_file}'")
    if context:
        if not has(fields, "containerfile"):
            raise WaveError("The option --context needs a container file, given with --containerfile")
        if not Path(context).exists():
            raise WaveError(f"The context does not exist: '{context}'")
        if not Path(context).is_dir():
            raise WaveError(f"The context is not a directory: '{context}'")


def _modes(fields: Mapping[str, Any]) -> list[tuple[bool, str]]:
    mirror = fields.get("mirror", False)
    excluded = {
        "--containerfile": has(fields, "containerfile"),
        "--conda-file": has(fields, "conda_file"),
        "--conda-package": has(fields, "conda_packages"),
        "--context": has(fields, "context"),
        "--freeze": fields.get("freeze", False),
    }
    return [
        (fields.get("singularity", False) and not fields.get("freeze"), "Singularity builds need --freeze"),
        *(
            (mirror and given, f"Argument --mirror and {name} conflict with each other")
            for name, given in excluded.items()
        ),
        (
            mirror and not has(fields, "build_repository"),
            "The option --mirror needs a repository, given with --build-repo",
        ),
        (
            fields.get("dry_run", False) and "wait" in fields,
            "The options --dry-run and --await conflict with each other",
        ),
    ]


def _platforms(fields: Mapping[str, Any]) -> list[tuple[bool, str]]:
    platform = fields.get("platform")
    if platform is None:
        return []
    several = "," in platform
    wrong = [part for part in platform.split(",") if part.strip() not in PLATFORMS]
    bare = has(fields, "image") and not fields.get("mirror")
    return [
        (bool(wrong), f"Unsupported container platform: '{platform}'"),
        (several and fields.get("singularity", False), "Several platforms conflict with --singularity"),
        (several and fields.get("mirror", False), "Several platforms conflict with --mirror"),
        (several and bare, "Several platforms need a build"),
    ]
