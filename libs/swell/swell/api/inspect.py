"""What clients ask about images and credentials, and what they read back.

Members that an image does not have are left out. Source: Wave's public API, https://docs.seqera.io/wave/api
"""

from typing import Annotated

from msgspec import Meta, Struct

from swell.api.containers import WorkspaceId
from swell.oci.digest import Digest

Annotations = dict[str, str] | None
Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class InspectRequest(Struct, frozen=True, rename="camel"):
    """`POST /v1alpha1/inspect`."""

    container_image: str | None = None
    tower_access_token: str | None = None
    tower_refresh_token: str | None = None
    tower_endpoint: str | None = None
    tower_workspace_id: WorkspaceId | None = None
    workflow_id: str | None = None


class CredentialsRequest(Struct, frozen=True, rename="camel"):
    """`POST /v1alpha2/validate-creds`: `registry` is `host[:port]`; scheme and path around it are ignored."""

    user_name: str | None = None
    password: str | None = None
    registry: str | None = None

    def __repr__(self) -> str:
        return f"CredentialsRequest({self.user_name!r}, ..., {self.registry!r})"


class LegacyCredentialsRequest(CredentialsRequest, frozen=True, rename="camel"):
    """`POST /validate-creds`: the same wrapped, as the first servers took it, or not, as clients have it by now."""

    request: CredentialsRequest | None = None


class Content(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A descriptor, `size` in bytes."""

    media_type: str | None = None
    digest: Digest
    size: Size
    annotations: Annotations = None


class EntryPlatform(Struct, frozen=True, omit_defaults=True):
    architecture: str | None = None
    os: str | None = None
    variant: str | None = None


class IndexEntry(Content, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    platform: EntryPlatform | None = None


class IndexInfo(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An index as it is, and the `digest` of its bytes."""

    schema_version: int = 0
    media_type: str | None = None
    manifests: tuple[IndexEntry, ...]
    digest: Digest | None = None


class ManifestInfo(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    schema_version: int = 0
    media_type: str | None = None
    config: Content
    layers: tuple[Content, ...] | None = None
    annotations: Annotations = None
    artifact_type: str | None = None


class RunInfo(Struct, frozen=True, rename="camel", omit_defaults=True):
    """How the image runs; Docker's names of the fields begin with a capital."""

    host_name: str = ""
    domain_name: str = ""
    user: str = ""
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    tty: bool | None = None
    env: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    image: str = ""
    working_dir: str = ""
    entrypoint: tuple[str, ...] = ()
    labels: dict[str, str] = {}


class RootFsInfo(Struct, frozen=True, omit_defaults=True):
    type: str = ""
    diff_ids: tuple[str, ...] = ()


class HistoryEntry(Struct, frozen=True, omit_defaults=True):
    """An entry of the image's history; one that is not an `empty_layer` made the next layer of the manifest."""

    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class ConfigInfo(Struct, frozen=True, omit_defaults=True):
    """The image's config; `created` is an instant in UTC, with as many digits as the image gives.

    `history` is Swell's own: at most 200 entries, each text cut at 1,000 characters.
    """

    architecture: str = ""
    config: RunInfo | None = None
    container: str = ""
    created: str = ""
    rootfs: RootFsInfo | None = None
    history: tuple[HistoryEntry, ...] = ()


class ContainerInfo(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One platform's image. `host_name` is the registry's address with its scheme; `digest` is the manifest's, also
    where `reference`, as it was asked for, leads to an index."""

    registry: str
    host_name: str
    image_name: str
    reference: str
    digest: Digest
    config: ConfigInfo
    manifest: ManifestInfo
    v1: bool
    v2: bool
    oci: bool


class Referrer(Content, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A manifest that names the inspected one as its subject, such as a signature or an SBOM."""

    artifact_type: str | None = None


class Inspection(Struct, frozen=True, omit_defaults=True):
    """What `POST /v1alpha1/inspect` answers: a container or an index.

    `referrers` is Swell's own: at most 100, if the request asks for them and the registry lists them.
    """

    container: ContainerInfo | None = None
    index: IndexInfo | None = None
    referrers: tuple[Referrer, ...] | None = None
