# Written by tools/sync_client.py from the module of the same name in _async. Do not edit it.
"""The client: one method for each operation of the API."""

from collections.abc import Generator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from msgspec.structs import replace

from swell import codecs
from swell.api.builds import BuildPage, BuildRecord, BuildStatus, Cancellation, CancelRequest, ContainerStatus
from swell.api.containers import ContainerAnswer, ContainerRecord, ContainerRequest
from swell.api.credentials import StoredCredential, StoredCredentials, StoreRequest
from swell.api.inspect import InspectRequest
from swell.api.mirrors import MirrorRecord
from swell.api.scans import ScanRecord
from swell_client._sync.container import Container
from swell_client._sync.http import READ_TIMEOUT, Http
from swell_client._sync.logs import follow
from swell_client.blocking import in_thread
from swell_client.body import Sent, decode, encode
from swell_client.events import Event
from swell_client.packing import PackedLayer, pack_context
from swell_client.requests import (
    Options,
    Source,
    conda_source,
    container_request,
    cran_source,
    file_source,
    image_source,
)
from swell_client.retry import RetryPolicy
from swell_client.settings import DEFAULT_URL, TOKEN_VARIABLES, URL_VARIABLES, first_of

T = TypeVar("T")
_VAULT = "/v1alpha2/credentials"


class Client:
    """A client of the server at *url*, with the API key *token*. Close it, or use it in a `with` block.

    Without arguments, the variables `SWELL_URL` and `SWELL_TOKEN` count, then `WAVE_ENDPOINT` and `TOWER_ACCESS_TOKEN`;
    without them, the server is on this machine. An empty *token* sends none.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float = READ_TIMEOUT,
        user_agent: str = "",
    ) -> None:
        codecs.prepare()
        self.url = (url or first_of(URL_VARIABLES) or DEFAULT_URL).rstrip("/")
        self._token = (first_of(TOKEN_VARIABLES) if token is None else token) or None
        headers = {"User-Agent": user_agent or _agent(), "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        self.http = Http(self.url, headers, retry or RetryPolicy(), timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    # --- requests for containers

    def build(
        self,
        containerfile: str | Path | None = None,
        *,
        context: Path | PackedLayer | None = None,
        packages: Sequence[str] = (),
        environment: str | Path | None = None,
        channels: Sequence[str] | None = None,
        cran: Sequence[str] = (),
        base_image: str | None = None,
        base_packages: str | None = None,
        **options: Unpack[Options],
    ) -> Container:
        """Build an image of a container file, of Conda packages, or of R packages.

        *containerfile* and *environment* are texts, or paths of files. A folder as *context* is packed as Docker does.
        *base_image* and *base_packages* are for packages: the image below them, and what is added to them.

        Raises:
            RequestFailed: the server refused the request.
            PackError: the context cannot be packed.
            ValueError: not exactly one of the sources is given.
        """
        given = (containerfile is not None, bool(packages) or environment is not None, bool(cran))
        if sum(given) != 1 or (packages and environment is not None):
            raise ValueError("give exactly one of a container file, packages, an environment, or R packages")
        if containerfile is not None:
            if isinstance(context, Path):
                folder, file = context, containerfile if isinstance(containerfile, Path) else None
                context = in_thread(lambda: pack_context(folder, file))
            return self._request(file_source(containerfile, context), options)
        if cran:
            source = cran_source(cran, base_image=base_image, base_packages=base_packages)
        else:
            source = conda_source(packages, environment, channels, base_image=base_image, base_packages=base_packages)
        return self._request(source, options)

    def augment(self, image: str, **options: Unpack[Options]) -> Container:
        """Add layers, variables, an entrypoint or other images to *image*, while it is pulled.

        Raises:
            RequestFailed: the server refused the request.
            PackError: a layer cannot be packed.
        """
        return self._request(image_source(image), options)

    def mirror(self, image: str, repository: str, **options: Unpack[Options]) -> Container:
        """Copy *image*, unchanged, to *repository* (`registry` or `registry/path`).

        Raises:
            RequestFailed: the server refused the request.
        """
        return self._request(image_source(image), options | {"mirror": True, "build_repository": repository})

    def submit(self, request: ContainerRequest, *, sent: Sent | None = None) -> Container:
        """Send *request*; *sent* is called with the bytes that are sent. Without a token, it gets that of this client.

        Raises:
            RequestFailed: the server refused the request.
        """
        # A server ignores an unknown key in a header; in the body it is an error, which the user has to see.
        request = replace(request, tower_access_token=request.tower_access_token or self._token)
        answer = self.http.send("POST", "/v1alpha2/container", body=encode(request), sent=sent)
        return Container(self, decode(answer, ContainerAnswer))

    # --- what there is to read

    def container_status(self, request_id: str) -> ContainerStatus:
        """The state of a request's image: BUILDING, SCANNING or DONE."""
        return self._get(f"/v1alpha2/container/{_part(request_id)}/status", ContainerStatus)

    def container(self, request_id: str) -> ContainerRecord:
        """What was requested, and what came of it."""
        return self._get(f"/v1alpha2/container/{_part(request_id)}", ContainerRecord)

    def build_record(self, build_id: str) -> BuildRecord:
        """What was built, when, and how it ended."""
        return self._get(f"/v1alpha1/builds/{_part(build_id)}", BuildRecord)

    def build_status(self, build_id: str) -> BuildStatus:
        """PENDING or COMPLETED."""
        return self._get(f"/v1alpha1/builds/{_part(build_id)}/status", BuildStatus)

    def builds(self, image: str, *, cursor: str = "", limit: int = 20) -> BuildPage:
        """The builds of the image *image*, newest first."""
        params = {"image": image, "limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        return decode(self.http.send("GET", "/v1alpha1/builds", params=params), BuildPage)

    def mirror_record(self, mirror_id: str) -> MirrorRecord:
        """What was copied, and how it ended."""
        return self._get(f"/v1alpha1/mirrors/{_part(mirror_id)}", MirrorRecord)

    def scan(self, scan_id: str) -> ScanRecord:
        """The vulnerabilities of an image."""
        return self._get(f"/v1alpha1/scans/{_part(scan_id)}", ScanRecord)

    def scan_file(self, scan_id: str, name: str, platform: str = "") -> bytes:
        """A file of a scan: `spdx`, `cyclonedx`, `report`, `vex` or `logs`."""
        params = {"platform": platform} if platform else None
        return (self.http.send("GET", f"/v1alpha1/scans/{_part(scan_id)}/{_part(name)}", params=params)).body

    def build_file(self, build_id: str, name: str) -> bytes:
        """A file of a build: `condalock`, `signature`, `provenance`, `sbom` or `logs`."""
        return (self.http.send("GET", f"{_log_owner(build_id)}/{_part(name)}", headers={"Accept": "*/*"})).body

    def lock(self, build_id: str) -> str:
        """The lock file of a build of packages."""
        return (self.build_file(build_id, "condalock")).decode(errors="replace")

    def log(self, build_id: str) -> str:
        """The log of a build or mirror, so far or complete."""
        return (self.build_file(build_id, "logs")).decode(errors="replace")

    def log_events(self, build_id: str, after: str = "") -> Generator[Event]:
        """Follow the log of a build or mirror behind the position *after*; the stream is resumed when it breaks."""
        return follow(self.http, f"{_log_owner(build_id)}/logs", after)

    def inspect(self, image: str, *, platform: str = "") -> dict[str, Any]:
        """The manifest and config of *image* (`container`), or its index (`index`)."""
        body = encode(InspectRequest(container_image=image, tower_access_token=self._token))
        params = {"platform": platform} if platform else None
        return decode(self.http.send("POST", "/v1alpha1/inspect", body=body, params=params), dict[str, Any])

    def service_info(self) -> dict[str, str]:
        """The versions of the server: `version` of Wave's API, `swellVersion`, `commitId`."""
        return (self._get("/service-info", dict[str, dict[str, str]])).get("serviceInfo", {})

    # --- changes

    def cancel(self, build_id: str, *, request_id: str = "") -> Cancellation:
        """Leave a build or mirror: one request by its id, otherwise all requests of the user of the API key.

        Raises:
            RequestFailed: 409 if it has ended, 403 if it belongs to another client.
        """
        body = encode(CancelRequest(request_id=request_id or None, tower_access_token=self._token))
        return decode(self.http.send("POST", f"{_log_owner(build_id)}/cancel", body=body), Cancellation)

    # --- stored credentials

    def credentials(self, *, user: str = "", org: str = "") -> tuple[StoredCredential, ...]:
        """The stored credentials of the user of the API key and of the user's organisation, without passwords.

        *user* or *org* names another owner, for operators.
        """
        answer = self.http.send("GET", _VAULT, params=_owner(user, org))
        return decode(answer, StoredCredentials).credentials

    def store_credential(
        self, registry: str, user_name: str, password: str, *, user: str = "", org: str = ""
    ) -> StoredCredential:
        """Store a credential for *registry* (`registry` or `registry/path`), once its registry has accepted it.

        Raises:
            RequestFailed: 400 if the registry refuses it, 403 if the key may not, 501 if the server stores none.
        """
        body = encode(StoreRequest(user_name=user_name, password=password))
        answer = self.http.send("PUT", f"{_VAULT}/{_part(registry, '/:')}", body=body, params=_owner(user, org))
        return decode(answer, StoredCredential)

    def delete_credential(self, registry: str, *, user: str = "", org: str = "") -> None:
        """Delete the credential for *registry*. What was requested with it can no longer be pulled.

        Raises:
            RequestFailed: 404 if the credential is missing.
        """
        self.http.send("DELETE", f"{_VAULT}/{_part(registry, '/:')}", params=_owner(user, org))

    def _request(self, source: Source, options: Options) -> Container:
        return self.submit(in_thread(lambda: container_request(source, options)))

    def _get(self, path: str, kind: type[T]) -> T:
        return decode(self.http.send("GET", path), kind)


def _owner(user: str, org: str) -> dict[str, str]:
    return {name: value for name, value in (("user", user), ("org", org)) if value}


def _part(text: str, safe: str = "") -> str:
    """*text* as one part of a path; the characters in *safe* stay as they are."""
    from urllib.parse import quote

    return quote(text, safe=safe)


def _log_owner(build_id: str) -> str:
    kind = "mirrors" if build_id.startswith("mr-") else "builds"
    return f"/v1alpha1/{kind}/{_part(build_id)}"


def _agent() -> str:
    try:
        return f"swell-client/{version('swell-client')}"
    except PackageNotFoundError:
        return "swell-client"
