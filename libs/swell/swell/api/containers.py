"""What clients send to `POST /v1alpha2/container`, and what they read back.

Source: Wave's public API; the fields and their defaults are told in `docs/api.md`. Members that we do not know are
ignored, absent and null mean the same.
"""

from datetime import datetime
from typing import Any

from msgspec import Struct


class ContainerLayer(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A layer to add: a gzipped tar at *location* (`data:<base64>` or http(s)), with what it claims to be.

    `gzip_digest` and `gzip_size` (bytes) are of the compressed tar, `tar_digest` of the tar itself.
    """

    location: str
    gzip_digest: str | None = None
    gzip_size: int | None = None
    tar_digest: str | None = None


class ContainerConfig(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What to add to an image: run-time fields to override, `NAME=value` environment, layers to append in order."""

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    working_dir: str | None = None
    layers: tuple[ContainerLayer, ...] | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.entrypoint or self.cmd or self.env or self.working_dir or self.layers)


class ContainerRequest(Struct, frozen=True, rename="camel"):
    """`POST /v1alpha2/container`: exactly one of `container_image` and `container_file` (base64 of a Dockerfile)."""

    container_image: str | None = None
    container_file: str | None = None
    container_config: ContainerConfig | None = None
    container_platform: str | None = None
    build_context: ContainerLayer | None = None
    build_repository: str | None = None
    cache_repository: str | None = None
    container_includes: list[str] | None = None
    conda_file: str | None = None
    dry_run: bool | None = None
    format: str | None = None
    freeze: bool | None = None
    mirror: bool | None = None
    packages: dict[str, Any] | None = None
    scan_mode: str | None = None

    def not_yet_served(self) -> list[str]:
        """The members that ask for what no part of this server does yet, by their names on the wire."""
        asked = {
            "buildRepository": self.build_repository,
            "cacheRepository": self.cache_repository,
            "containerIncludes": self.container_includes,
            "condaFile": self.conda_file,
            "dryRun": self.dry_run,
            "format": self.format == "sif",
            "freeze": self.freeze,
            "mirror": self.mirror,
            "packages": self.packages,
            "scanMode": self.scan_mode not in {None, "none"},
        }
        return [name for name, value in asked.items() if value]


class ContainerAnswer(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What `POST /v1alpha2/container` answers: `target_image` can be pulled at once, with the token inside, until
    `expiration`; `container_image` is what stands behind it."""

    request_id: str
    container_token: str
    target_image: str
    expiration: datetime
    container_image: str
    build_id: str | None = None
    cached: bool | None = None
    freeze: bool | None = None
    mirror: bool | None = None
    succeeded: bool | None = None
