"""The body of a request, with the bytes of Wave's command line: members in the order of the alphabet, no nulls."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from swell_cli.wave.options import WaveError
from swell_cli.wave.packing import CONTEXT_LIMIT, LAYER_LIMIT, LAYERS_LIMIT, pack_folder
from swell_client.packing import PackedLayer

TOWER_ENDPOINT = "https://api.cloud.seqera.io"
REMOVED = "null"
"""The value that removes a token or an endpoint."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL | re.ASCII)
_BASE_IMAGE, _BASE_PACKAGES = "ubuntu:24.04", "conda-forge::procps-ng"

Read = Callable[[str], bytes]
"""Returns the content at a path or URL."""


def encode(body: Mapping[str, Any]) -> bytes:
    """*body* as JSON in one line."""
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode("utf-8", "surrogatepass")


def container_body(fields: Mapping[str, Any], read: Read, now: str) -> dict[str, Any]:
    """The body of a container request.

    Raises:
        WaveError: a file cannot be read, or a value is malformed.
    """
    file = read(fields["containerfile"]) if fields.get("containerfile") else None
    compression = fields.get("build_compression")
    body = {
        "buildCompression": {"mode": compression} if compression else None,
        "buildContext": _context(fields),
        "buildRepository": fields.get("build_repository"),
        "buildTemplate": fields.get("build_template"),
        "cacheRepository": fields.get("cache_repository"),
        "containerConfig": _config(fields, read),
        "containerFile": None if file is None else base64.b64encode(file).decode(),
        "containerImage": fields.get("image"),
        "containerIncludes": fields.get("includes"),
        "containerPlatform": fields.get("platform"),
        "dryRun": fields.get("dry_run", False),
        "format": "sif" if fields.get("singularity") else None,
        "freeze": fields.get("freeze", False),
        "mirror": fields.get("mirror", False),
        "nameStrategy": fields.get("name_strategy"),
        "packages": _packages(fields),
        "scanLevels": fields.get("scan_levels"),
        "scanMode": fields.get("scan_mode"),
        "timestamp": now,
    }
    return _present(body | _tower(fields))


def inspect_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an inspection."""
    return _present({"containerImage": fields.get("image")} | _tower(fields))


def timestamp(now: datetime, nanoseconds: int) -> str:
    """*now* with its offset and *nanoseconds*, with as few groups of digits as Java writes."""
    seconds = f":{now:%S}" if now.second or nanoseconds else ""
    digits = f"{nanoseconds:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    offset = f"{now:%z}"
    zone = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:5]}"
    return f"{now:%Y-%m-%dT%H:%M}{seconds}{f'.{digits}' if digits else ''}{zone}"


def _present(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _tower(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The word `null` removes a token or an endpoint."""
    token, endpoint = fields.get("tower_token"), fields.get("tower_endpoint", TOWER_ENDPOINT)
    return {
        "towerAccessToken": None if token == REMOVED else token,
        "towerEndpoint": None if endpoint == REMOVED else endpoint,
        "towerWorkspaceId": fields.get("tower_workspace_id"),
    }


def _packages(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    if cran := fields.get("cran_packages"):
        options = {
            "rImage": fields.get("cran_base_image", "rocker/r-ver:4.4.1"),
            "basePackages": "littler r-cran-docopt",
            "commands": fields.get("cran_commands"),
        }
        return {"type": "CRAN", "entries": cran, "cranOpts": _present(options)}
    entries, file = fields.get("conda_packages"), fields.get("conda_file")
    if not entries and not file:
        return None
    conda = {
        "mambaImage": fields.get("conda_base_image", "mambaorg/micromamba:1.5.10-noble"),
        "basePackages": _BASE_PACKAGES,
        "baseImage": _BASE_IMAGE,
        "commands": fields.get("conda_commands"),
    }
    pixi = {
        "pixiImage": fields.get("pixi_image", "public.cr.seqera.io/wave/pixi:0.61.0-noble"),
        "basePackages": fields.get("pixi_base_packages", _BASE_PACKAGES),
        "baseImage": fields.get("pixi_base_image", _BASE_IMAGE),
        "commands": fields.get("pixi_commands"),
    }
    channels = re.split(r"[, ]+", fields.get("conda_channels", "conda-forge,bioconda"))
    packages = {
        "type": "CONDA",
        "channels": [channel for channel in channels if channel],
        "condaOpts": _present(conda),
        "pixiOpts": _present(pixi),
        "entries": entries,
        "environment": base64.b64encode(Path(file).read_bytes()).decode() if file else None,
    }
    return _present(packages)


def _context(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    if not fields.get("context"):
        return None
    folder, keeps = Path(fields["context"]), fields.get("preserve_timestamp", False)
    return _layer(pack_folder(folder, limit=CONTEXT_LIMIT, what="the build context", keeps_times=keeps, ignores=True))


def _config(fields: Mapping[str, Any], read: Read) -> dict[str, Any] | None:
    config = _config_file(fields, read)
    for name, member in (("config_cmd", "cmd"), ("config_working_dir", "workingDir")):
        if fields.get(name) == "":
            raise WaveError(f"The option --{name.replace('_', '-')} must not be empty")
        if name in fields:
            config[member] = [fields[name]] if member == "cmd" else fields[name]
    if "config_entrypoint" in fields:
        config["entrypoint"] = [fields["config_entrypoint"]]
    if variables := fields.get("config_env"):
        for variable in variables:
            if not _VARIABLE.fullmatch(variable):
                raise WaveError(f"Invalid environment variable: '{variable}'")
        config["env"] = variables
    layers = list(config.get("layers") or ())
    for folder in fields.get("layers", ()):
        if not Path(folder).is_dir():
            raise WaveError(f"The layer is not a directory: '{folder}'")
        keeps = fields.get("preserve_timestamp", False)
        layers.append(_layer(pack_folder(Path(folder), limit=LAYER_LIMIT, what="a layer", keeps_times=keeps)))
    inline = sum(layer.get("gzipSize") or 0 for layer in layers if str(layer.get("location", "")).startswith("data:"))
    if inline >= LAYERS_LIMIT:
        raise WaveError("The layers have 10 MiB or more")
    return config | {"layers": layers} if config or layers else None


def _config_file(fields: Mapping[str, Any], read: Read) -> dict[str, Any]:
    name = fields.get("config_file")
    if name is None:
        return {}
    if not name:
        raise WaveError("The option --config-file must not be empty")
    try:
        found = json.loads(read(name))
    except ValueError as error:
        raise WaveError(f"The container config cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise WaveError("The container config is not a JSON object")
    config = {key: found[key] for key in ("entrypoint", "cmd", "env", "workingDir") if found.get(key) is not None}
    members = ("location", "gzipDigest", "gzipSize", "tarDigest", "skipHashing")
    if layers := found.get("layers"):
        config["layers"] = [{key: layer[key] for key in members if layer.get(key) is not None} for layer in layers]
    return config


def _layer(packed: PackedLayer) -> dict[str, Any]:
    layer = packed.layer
    return {
        "location": layer.location,
        "gzipDigest": layer.gzip_digest,
        "gzipSize": layer.gzip_size,
        "tarDigest": layer.tar_digest,
    }
