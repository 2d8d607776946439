"""Where it is measured: a stack of its own on free ports, a base image in its registry, and ways to talk to both."""

import json
import os
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from msgspec import Struct

from swell.jobs.streams import Nats, connect
from swell_embedded.ports import Ports
from swell_embedded.stack import Stack, open_stack
from tests.bench.bare import Buildah
from tests.e2e.environment import NO_LIMITS

ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"}
BASE = "library/busybox"
_TAG = "latest"


class Place(Struct, frozen=True, kw_only=True):
    """A running stack and its surroundings; files may be left in *home*, which goes at the end.

    `gateway` and `registry` are base URLs with 127.0.0.1 for a host; `login` is the header that the registry wants.
    """

    home: Path
    stack: Stack
    nats: Nats
    http: aiohttp.ClientSession
    bare: Buildah

    @property
    def channels(self) -> Path:
        """Where the builder reads Conda channels from."""
        return self.home / "channels"

    @property
    def gateway(self) -> str:
        return self.stack.url.replace("localhost", "127.0.0.1")

    @property
    def registry(self) -> str:
        return f"http://{self.stack.registry.address}".replace("localhost", "127.0.0.1")

    @property
    def login(self) -> dict[str, str]:
        known = self.stack.registry
        return {"Authorization": "Basic " + b64encode(f"{known.username}:{known.password}".encode()).decode()}

    def image(self, repository: str = BASE, tag: str = _TAG) -> str:
        """The name of *repository*'s image, as clients and builds have it."""
        return f"{self.stack.registry.address}/{repository}:{tag}"

    def path(self, registry: str, kind: str, repository: str = BASE, reference: str = _TAG) -> str:
        """Where *registry*, a base URL, has *reference*; *kind* is manifests or blobs."""
        return f"{registry}/v2/{repository}/{kind}/{reference}"

    def through(self, token: str, kind: str, repository: str = BASE, reference: str = _TAG) -> str:
        """Where the gateway has the same."""
        return self.path(self.gateway, kind, f"wt/{token}/{repository}", reference)

    async def submit(self, **request: object) -> dict[str, Any]:
        """`POST /v1alpha2/container`; raises aiohttp.ClientResponseError when it is refused."""
        async with self.http.post(f"{self.gateway}/v1alpha2/container", json=request) as answer:
            answered: dict[str, Any] = await answer.json()
            return answered

    async def token(self, repository: str = BASE, tag: str = _TAG) -> str:
        """A new token for *repository*'s image as it is."""
        return str((await self.submit(containerImage=self.image(repository, tag)))["containerToken"])

    async def manifest(self, repository: str) -> bytes:
        """The manifest of *repository*'s image, from the registry itself."""
        return await self.get(self.path(self.registry, "manifests", repository), ACCEPT | self.login)

    async def tag_another(self, tag: str) -> None:
        """Push a manifest that nobody has seen as *tag* of the base image's repository: the base image, and a word."""
        fields = json.loads(await self.manifest(BASE))
        content = json.dumps(fields | {"annotations": {"tag": tag}}).encode()
        headers = {"Content-Type": fields["mediaType"]} | self.login
        async with self.http.put(self.path(self.registry, "manifests", reference=tag), data=content, headers=headers):
            pass

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of *url*; raises aiohttp.ClientResponseError for an error."""
        async with self.http.get(url, headers=headers) as answer:
            return await answer.read()


@asynccontextmanager
async def open_place() -> AsyncIterator[Place]:
    """Start everything in a temporary folder; nothing is left of it after the block.

    Raises:
        CannotStart, ChildDied: as `open_stack`.
        CannotMeasure: there is no base image to be had.
    """
    async with AsyncExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="swell-bench-")))
        ports = Ports.free()
        allowed = f"localhost:{ports.registry},127.0.0.1"
        told = {"SWELL_ALLOWED_HOSTS": allowed, "SWELL_CONDA_LOCAL_CHANNELS": f"{home}/channels"}
        environment = clean_environment() | NO_LIMITS | told
        stack = await opened.enter_async_context(open_stack(home / "stack", ports, environment=environment))
        nats = await opened.enter_async_context(connect(stack.env["SWELL_NATS_URL"], "bench"))
        session = aiohttp.ClientSession(raise_for_status=True, timeout=aiohttp.ClientTimeout(total=60))
        http = await opened.enter_async_context(session)
        bare = Buildah(home=home / "bare", auth_file=stack.env["SWELL_REGISTRY_AUTH_FILE"])
        place = Place(home=home, stack=stack, nats=nats, http=http, bare=bare)
        await bare.push_base(place.image())
        yield place


def clean_environment() -> dict[str, str]:
    """This process's environment without what the operator tells their own Swell."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SWELL_")}
