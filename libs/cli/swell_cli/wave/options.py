"""The options of Wave's command line, read as that reads them.

An option takes its value from the next word, or after `=`; short flags can stand together (`-sF`). An option without
a list is given once. Nothing is abbreviated.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from swell_cli.wave.duration import parse_duration


class WaveError(Exception):
    """The run ends with exit code 1, and this message on stderr."""


class Kind(Enum):
    FLAG = "flag"
    VALUE = "value"
    LIST = "list"
    OPTIONAL = "optional"
    """The value may be missing."""


class Option(NamedTuple):
    """An option: its field, its names, its kind, and how its value is read."""

    field: str
    names: tuple[str, ...]
    kind: Kind
    help: str
    convert: Callable[[str], Any] = str
    variable: str = ""


def one_of(*choices: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)} (case-sensitive) but was '{text}'")
        return text

    return convert


def integer(text: str) -> int:
    if not text.lstrip("+-").isascii() or not text.lstrip("+-").isdigit() or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"'{text}' is not a long")
    return int(text)


V, L, F = Kind.VALUE, Kind.LIST, Kind.FLAG
OPTIONS = (
    Option("image", ("-i", "--image"), V, "Container image name to be provisioned."),
    Option("containerfile", ("-f", "--containerfile"), V, "Container file to build: a path or a URL."),
    Option("context", ("--context",), V, "Folder of the build context."),
    Option("layers", ("--layer",), L, "Folder to add as a layer."),
    Option("config_file", ("--config-file",), V, "Container config, a JSON file: a path or a URL."),
    Option("config_env", ("--config-env",), L, "NAME=VALUE: a variable of the container."),
    Option("config_cmd", ("--config-cmd",), V, "Command of the container."),
    Option("config_entrypoint", ("--config-entrypoint",), V, "Entrypoint of the container."),
    Option("config_working_dir", ("--config-working-dir",), V, "Working directory of the container."),
    Option("conda_file", ("--conda-file",), V, "Conda environment file."),
    Option("conda_packages", ("--conda-package", "--conda"), L, "Conda package, or the URL of a lock file."),
    Option("conda_channels", ("--conda-channels",), V, "Conda channels, separated by commas."),
    Option("conda_base_image", ("--conda-base-image",), V, "Image of micromamba."),
    Option("conda_commands", ("--conda-run-command",), L, "Line for the end of the container file."),
    Option("cran_packages", ("--cran-package", "--cran"), L, "R package."),
    Option("cran_base_image", ("--cran-base-image",), V, "Image of R."),
    Option("cran_commands", ("--cran-run-command",), L, "Line for the end of the container file."),
    Option("pixi_image", ("--pixi-image",), V, "Image of pixi."),
    Option("pixi_base_image", ("--pixi-base-image",), V, "Image below the environment of pixi."),
    Option("pixi_base_packages", ("--pixi-base-packages",), V, "Packages that are added to each environment."),
    Option("pixi_commands", ("--pixi-run-command",), L, "Line for the end of the container file."),
    Option("build_template", ("--build-template",), V, "Template of the container file."),
    Option(
        "build_compression", ("--build-compression",), V, "gzip, estargz or zstd.", one_of("gzip", "estargz", "zstd")
    ),
    Option("build_repository", ("--build-repo", "--build-repository"), V, "Repository to push to."),
    Option("cache_repository", ("--cache-repo", "--cache-repository"), V, "Repository for build steps."),
    Option("freeze", ("-F", "--freeze"), F, "Build a persistent image."),
    Option("mirror", ("-m", "--mirror"), F, "Copy the image."),
    Option("dry_run", ("--dry-run",), F, "Only show what would be done."),
    Option("singularity", ("-s", "--singularity"), F, "Build a Singularity image."),
    Option("platform", ("--platform",), V, "Platform, or several with commas."),
    Option("includes", ("--include",), L, "Image whose layers are added."),
    Option(
        "name_strategy",
        ("--name-strategy",),
        V,
        "none, tagPrefix or imageSuffix.",
        one_of("none", "tagPrefix", "imageSuffix"),
    ),
    Option("scan_mode", ("--scan-mode",), V, "none, async or required.", one_of("none", "async", "required")),
    Option(
        "scan_levels",
        ("--scan-level",),
        L,
        "LOW, MEDIUM, HIGH or CRITICAL.",
        one_of("LOW", "MEDIUM", "HIGH", "CRITICAL"),
    ),
    Option("tower_token", ("--tower-token",), V, "Access token.", variable="TOWER_ACCESS_TOKEN"),
    Option("tower_endpoint", ("--tower-endpoint",), V, "Address of the Platform.", variable="TOWER_API_ENDPOINT"),
    Option("tower_workspace_id", ("--tower-workspace-id",), V, "Workspace.", integer, "TOWER_WORKSPACE_ID"),
    Option("wave_endpoint", ("--wave-endpoint",), V, "Address of the server.", variable="WAVE_ENDPOINT"),
    Option("wait", ("--await",), Kind.OPTIONAL, "Wait for the build, at most so long: 10m.", parse_duration),
    Option("preserve_timestamp", ("--preserve-timestamp",), F, "Keep the times of packed files."),
    Option("output", ("-o", "--output"), V, "json or yaml."),
    Option("inspect", ("--inspect",), F, "Show the image."),
    Option("info", ("--info",), F, "Show the versions of client and server."),
    Option("log_level", ("--log-level",), V, "Level of the log."),
    Option("help", ("-h", "--help"), F, "Show this help."),
    Option("version", ("-V", "--version"), F, "Show the version."),
)
_BY_NAME = {name: option for option in OPTIONS for name in option.names}


def read_options(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The fields of *words*; those that are not given come from *environment*, or are missing.

    Raises:
        WaveError: an option is unknown, repeated or malformed, or a word is no option.
    """
    fields: dict[str, Any] = {}
    pending = list(words)
    while pending:
        word = pending.pop(0)
        name, equals, value = word.partition("=")
        if word.startswith("-") and not word.startswith("--") and word not in _BY_NAME and len(word) > 2:
            pending[:0] = _short(word)
            continue
        if not (option := _BY_NAME.get(name)) or (equals and option.kind is Kind.FLAG):
            kind = "option" if word.startswith("-") else "argument"
            raise WaveError(f"Unmatched {kind}: '{word}'")
        _set(fields, option, _value(option, value if equals else None, pending))
    for option in OPTIONS:
        if option.variable in environment and option.field not in fields and option.variable:
            fields[option.field] = _converted(option, environment[option.variable])
    return fields


def _short(word: str) -> list[str]:
    """Split `-sF` and `-iIMAGE` into words."""
    option = _BY_NAME.get(word[:2])
    if not option:
        raise WaveError(f"Unknown option: '{word}'")
    rest = word[2:]
    if option.kind is Kind.FLAG:
        return [word[:2], f"-{rest}"]
    return [word[:2], rest.removeprefix("=")]


def _value(option: Option, attached: str | None, pending: list[str]) -> Any:
    if option.kind is Kind.FLAG:
        return True
    if attached is None and pending and not (pending[0].partition("=")[0] in _BY_NAME and pending[0].startswith("-")):
        attached = pending.pop(0)
    if attached is None:
        if option.kind is Kind.OPTIONAL:
            return None
        raise WaveError(f"Missing required parameter for option '{option.names[-1]}'")
    return _converted(option, attached)


def _converted(option: Option, text: str) -> Any:
    try:
        return option.convert(text)
    except ValueError as error:
        raise WaveError(f"Invalid value for option '{option.names[-1]}': {error}") from error


def _set(fields: dict[str, Any], option: Option, value: Any) -> None:
    if option.kind is Kind.LIST:
        fields.setdefault(option.field, []).append(value)
    elif option.field in fields:
        raise WaveError(f"option '{option.names[-1]}' should be specified only once")
    else:
        fields[option.field] = value


def usage() -> str:
    """The help: all options, and examples."""
    names = [", ".join(option.names) + ("" if option.kind is Kind.FLAG else "=VALUE") for option in OPTIONS]
    width = min(max(map(len, names)), 36)
    lines = [f"  {name:{width}}  {option.help}" for name, option in zip(names, OPTIONS, strict=True)]
    examples = (
        "wave -i alpine --layer context-dir/",
        "wave -f Dockerfile --context build-context-dir/",
        "wave --conda-package bamtools=2.5.2 --conda-package samtools=1.17",
        "wave -i alpine --freeze --build-repo docker.io/user/repo --tower-token TOKEN",
        "wave -f Dockerfile --singularity --freeze --build-repo docker.io/user/repo",
    )
    return "\n".join(
        ("Usage: wave [OPTIONS]", "", "Options:", *lines, "", "Examples:", *(f"  {each}" for each in examples), "")
    )
