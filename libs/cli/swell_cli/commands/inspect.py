"""`swell inspect`."""

from typing import Any

import click

from swell_cli.output import Result, size
from swell_cli.requesting import PLATFORM
from swell_cli.session import Session, common

EPILOG = """\b
Examples:
  swell inspect ubuntu:24.04
  swell inspect -o json quay.io/biocontainers/samtools:1.17--hd87286a_2
"""


@click.command(epilog=EPILOG)
@click.argument("image")
@PLATFORM
@common
def inspect(session: Session, image: str, platform: str | None) -> None:
    """Show the manifest and config of IMAGE, or the platforms of its index."""
    with session.client() as client:
        found = client.inspect(image, platform=platform or "")
    container = found.get("container") or {}
    rows = _container(container) if container else _index(found.get("index") or {})
    session.show(Result(found, rows, str((container or found.get("index") or {}).get("digest", ""))))


def _container(container: dict[str, Any]) -> list[tuple[str, str]]:
    config = container.get("config") or {}
    run_fields = config.get("config") or {}
    layers = (container.get("manifest") or {}).get("layers") or []
    total = sum(layer.get("size", 0) for layer in layers)
    return [
        ("image", f"{container.get('registry', '')}/{container.get('imageName', '')}"),
        ("digest", str(container.get("digest", ""))),
        ("architecture", str(config.get("architecture", ""))),
        ("created", str(config.get("created", ""))),
        ("entrypoint", " ".join(run_fields.get("entrypoint") or ())),
        ("command", " ".join(run_fields.get("cmd") or ())),
        ("workdir", str(run_fields.get("workingDir") or "")),
        ("user", str(run_fields.get("user") or "")),
        *(("env", variable) for variable in run_fields.get("env") or ()),
        ("layers", f"{len(layers)}, {size(total)}"),
        *(("layer", f"{layer.get('digest')}  {size(layer.get('size', 0))}") for layer in layers),
    ]


def _index(index: dict[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("PLATFORM", "DIGEST", "SIZE")]
    for manifest in index.get("manifests") or ():
        platform = manifest.get("platform") or {}
        names = filter(None, (platform.get(name) for name in ("os", "architecture", "variant")))
        rows.append(("/".join(names), str(manifest.get("digest")), size(manifest.get("size", 0))))
    return rows
