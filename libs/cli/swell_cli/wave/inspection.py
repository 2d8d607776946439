"""What Wave's command line prints of an inspected image."""

from collections.abc import Mapping
from typing import Any

from swell_cli.wave.answers import Fields, instant, readable
from swell_cli.wave.options import WaveError

_RUN = (
    *("hostName", "domainName", "user", "attachStdin", "attachStdout", "attachStderr", "tty", "image", "workingDir"),
    *("env", "cmd", "entrypoint", "labels"),
)
_LAYER = ("mediaType", "digest", "size", "annotations")


@readable()
def read_inspection(found: Fields) -> Fields:
    """The known members of a container, whose layers get the address of their blob, or of an index.

    Raises:
        WaveError: there is neither, or it has another form.
    """
    if container := found.get("container"):
        return {"container": _container(container)}
    if index := found.get("index"):
        return {"index": _index(index)}
    raise WaveError("the answer has neither a container nor an index")


def _kept(found: Mapping[str, Any], *names: str) -> Fields:
    return {name: found[name] for name in names if found.get(name) is not None}


def _container(container: Fields) -> Fields:
    read = _kept(container, "registry", "hostName", "imageName", "reference", "digest")
    if config := container.get("config"):
        read["config"] = _config(config)
    if manifest := container.get("manifest"):
        blobs = f"{container.get('hostName')}/v2/{container.get('imageName')}/blobs/"
        read["manifest"] = _manifest(manifest, blobs)
    return read


def _config(config: Fields) -> Fields:
    read = _kept(config, "architecture", "container")
    if config.get("created") is not None:
        read["created"] = instant("created", config["created"])
    if rootfs := config.get("rootfs"):
        read["rootfs"] = {"diff_ids": []} | _kept(rootfs, "type", "diff_ids")
    if run := config.get("config"):
        read["config"] = {"env": [], "cmd": [], "entrypoint": [], "labels": {}} | _kept(run, *_RUN)
    return read


def _manifest(manifest: Fields, blobs: str) -> Fields:
    read = _kept(manifest, "schemaVersion", "mediaType", "annotations", "artifactType")
    if config := manifest.get("config"):
        read["config"] = _kept(config, *_LAYER)
    if (layers := manifest.get("layers")) is not None:
        read["layers"] = [_kept(layer, *_LAYER) | {"uri": f"{blobs}{layer.get('digest')}"} for layer in layers]
    return read


def _index(index: Fields) -> Fields:
    read = _kept(index, "schemaVersion", "mediaType", "digest")
    if (manifests := index.get("manifests")) is not None:
        read["manifests"] = [_descriptor(each) for each in manifests]
    return read


def _descriptor(manifest: Fields) -> Fields:
    read = _kept(manifest, *_LAYER)
    if platform := manifest.get("platform"):
        read["platform"] = _kept(platform, "architecture", "os", "variant")
    return read
