"""The messages of `POST /v1alpha2/container`, as in Wave's public API; `docs/using.md` describes their members.

Unknown members are ignored; null means the same as absent.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from swell.api.packages import Packages

TARGET_STAGE = "TARGETSTAGE"
"""BuildKit's variable for the stage that is built."""

_PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"})

WorkspaceId = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class ContainerLayer(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A layer to append: a gzipped tar at `location` (`data:<base64>`, http or https), with its declared digests.

    `gzip_digest` and `gzip_size` (bytes) describe the compressed tar, `tar_digest` the uncompressed tar. `media_type`
    is set for a layer of another image that is not compressed with gzip.
    """

    location: str
    gzip_digest: str | None = None
    gzip_size: int | None = None
    tar_digest: str | None = None
    media_type: str | None = None


class ContainerConfig(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Changes of an image: run-time fields to override, variables (`NAME=value`), and layers to append in order."""

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    working_dir: str | None = None
    layers: tuple[ContainerLayer, ...] | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.entrypoint or self.cmd or self.env or self.working_dir or self.layers)


class ScanMode(StrEnum):
    NONE = "none"
    ASYNC = "async"
    REQUIRED = "required"


class Severity(StrEnum):
    """The severity of a vulnerability."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class NameStrategy(StrEnum):
    """The part of the image name that lists the tools."""

    NONE = "none"
    TAG_PREFIX = "tagPrefix"
    IMAGE_SUFFIX = "imageSuffix"


class CompressionMode(StrEnum):
    GZIP = "gzip"
    ESTARGZ = "estargz"
    ZSTD = "zstd"


MAX_LEVEL = {CompressionMode.GZIP: 9, CompressionMode.ESTARGZ: 9, CompressionMode.ZSTD: 22}


class BuildCompression(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The compression of a built image's layers: `level` is 0 to `MAX_LEVEL`; `force` includes base layers."""

    mode: CompressionMode | None = None
    level: int | None = None
    force: bool | None = None


class BuildOptions(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Options of a container file build: values of its ARG instructions, the stage to build, labels of the image.

    `build_secrets` has the operator's name of each secret, by the id in `RUN --mount=type=secret,id=…`. The content of
    a secret is read by the builder only, so another content does not change the id of the build.
    """

    build_args: dict[str, str] = {}
    target: str = ""
    labels: dict[str, str] = {}
    build_secrets: dict[str, str] = {}

    @property
    def is_empty(self) -> bool:
        return not (self.build_args or self.target or self.labels or self.build_secrets)

    @property
    def arguments(self) -> dict[str, str]:
        """The variables that the container file sees, `TARGETSTAGE` included."""
        return self.build_args | ({TARGET_STAGE: self.target} if self.target else {})

    @property
    def proxies(self) -> dict[str, str]:
        """The proxies that steps download through, which engines leave out of the key of a step.

        Source: `proxyEnvFromBuildArgs`,
        https://github.com/moby/buildkit/blob/v0.34.2/frontend/dockerfile/dockerfile2llb/convert.go
        """
        return {name: value for name, value in self.build_args.items() if name.lower() in _PROXIES}


class ContainerRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of `POST /v1alpha2/container`: an image, a container file (base64) or packages, and options."""

    tower_access_token: str | None = None
    tower_refresh_token: str | None = None
    tower_endpoint: str | None = None
    tower_workspace_id: WorkspaceId | None = None
    workflow_id: str | None = None
    container_image: str | None = None
    container_file: str | None = None
    conda_file: str | None = None
    packages: Packages | None = None
    container_config: ContainerConfig | None = None
    container_platform: str | None = None
    container_includes: tuple[str, ...] | None = None
    build_repository: str | None = None
    cache_repository: str | None = None
    build_context: ContainerLayer | None = None
    build_compression: BuildCompression | None = None
    build_args: dict[str, str] | None = None
    target: str | None = None
    labels: dict[str, str] | None = None
    build_secrets: dict[str, str] | None = None
    build_template: str | None = None
    format: str | None = None
    freeze: bool = False
    mirror: bool = False
    dry_run: bool = False
    rebuild: bool = False
    name_strategy: NameStrategy | None = None
    scan_mode: ScanMode | None = None
    scan_levels: tuple[Severity, ...] | None = None
    timestamp: str | None = None
    fingerprint: str | None = None


class ContainerAnswer(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The response of `POST /v1alpha2/container`.

    `target_image` contains the token, and can be pulled at once, until `expiration`; `container_image` is the image
    that it opens. A dry run returns the `container_file` that it would build, and `warnings` about what it could not
    determine.
    """

    request_id: str
    container_token: str | None = None
    target_image: str
    expiration: datetime | None = None
    container_image: str
    build_id: str | None = None
    cached: bool | None = None
    freeze: bool | None = None
    mirror: bool | None = None
    succeeded: bool | None = None
    container_file: str | None = None
    scan_id: str | None = None
    warnings: tuple[str, ...] = ()


class UserRef(Struct, frozen=True, omit_defaults=True):
    """The user of a request, as a number only."""

    id: int | None = None


class ContainerRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The response of `GET /v1alpha2/container/{requestId}`: a request and its results.

    The data of layers is omitted. The digests are set after the first pull. The client's e-mail and network address
    are not stored, because everyone with the id can read the record.
    """

    id: str
    user: UserRef | None = None
    workspace_id: int | None = None
    container_image: str | None = None
    container_file: str | None = None
    container_config: ContainerConfig | None = None
    conda_file: str | None = None
    platform: str
    tower_endpoint: str | None = None
    build_repository: str | None = None
    cache_repository: str | None = None
    fingerprint: str | None = None
    timestamp: datetime
    zone_id: str
    source_image: str
    source_digest: str | None = None
    wave_image: str | None = None
    wave_digest: str | None = None
    expiration: datetime
    build_id: str | None = None
    build_new: bool | None = None
    freeze: bool | None = None
    fusion_version: str | None = None
    mirror: bool
    scan_id: str | None = None


class RequestPart(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    user: UserRef | None = None
    workspace_id: int | None = None
    container_image: str | None = None
    container_config: ContainerConfig | None = None
    platform: str
    tower_endpoint: str | None = None
    fingerprint: str | None = None
    timestamp: datetime
    zone_id: str


class BuildPart(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    container_file: str | None = None
    conda_file: str | None = None
    build_repository: str | None = None
    cache_repository: str | None = None
    build_id: str | None = None
    build_new: bool | None = None
    freeze: bool | None = None


class ImagePart(Struct, frozen=True, omit_defaults=True):
    image: str | None = None
    digest: str | None = None


class TokenDescription(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`GET /container-token/{token}`: the same record in the form of the first version of the API."""

    token: str
    expiration: datetime
    request: RequestPart
    build: BuildPart
    source: ImagePart
    wave: ImagePart
