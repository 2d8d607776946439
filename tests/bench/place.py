"""The measured stack on free ports, with a base image in its registry, and clients for both."""

import json
import os
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
from msgspec import Struct

from swell.jobs.streams import Nats, connect
from swell_embedded.ports import Ports
from swell_embedded.stack import Stack, open_stack
from tests.bench.builds.bare import Buildah
from tests.e2e.environment import NO_LIMITS

ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"}
BASE = "library/busybox"
_TAG = "latest"
KEY = "swell_the-key-of-the-benchmarks"
"""An API key of the user `bench`."""


class Place(Struct, frozen=True, kw_only=True):
    """A running stack; *home* is a temporary folder that is deleted at the end.

    `gateway` and `registry` are base URLs with the host 127.0.0.1; `login` is the header for the registry.
    """

    home: Path
    stack: Stack
    nats: Nats
    http: aiohttp.ClientSession
    bare: Buildah

    @property
    def channels(self) -> Path:
        """The folder of Conda channels that the builder reads."""
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
        """Return the name of *repository*'s image for clients and builds."""
        return f"{self.stack.registry.address}/{repository}:{tag}"

    def path(self, registry: str, kind: str, repository: str = BASE, reference: str = _TAG) -> str:
        """Return the URL of *reference* at *registry*, a base URL; *kind* is manifests or blobs."""
        return f"{registry}/v2/{repository}/{kind}/{reference}"

    def through(self, token: str, kind: str, repository: str = BASE, reference: str = _TAG) -> str:
        """Return the URL of the same at the gateway."""
        return self.path(self.gateway, kind, f"wt/{token}/{repository}", reference)

    async def submit(self, **request: object) -> dict[str, Any]:
        """Send `POST /v1alpha2/container`; raises aiohttp.ClientResponseError when it is refused."""
        async with self.http.post(f"{self.gateway}/v1alpha2/container", json=request) as answer:
            answered: dict[str, Any] = await answer.json()
            return answered

    async def token(self, repository: str = BASE, tag: str = _TAG) -> str:
        """Return a new token for *repository*'s image without additions."""
        return str((await self.submit(containerImage=self.image(repository, tag)))["containerToken"])

    async def manifest(self, repository: str) -> bytes:
        """Return the manifest of *repository*'s image from the registry."""
        return await self.get(self.path(self.registry, "manifests", repository), ACCEPT | self.login)

    async def tag_another(self, tag: str) -> None:
        """Push a new manifest as *tag*: the base image with one more word."""
        fields = json.loads(await self.manifest(BASE))
        content = json.dumps(fields | {"annotations": {"tag": tag}}).encode()
        headers = {"Content-Type": fields["mediaType"]} | self.login
        async with self.http.put(self.path(self.registry, "manifests", reference=tag), data=content, headers=headers):
            pass

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Return the body of *url*; raises aiohttp.ClientResponseError for an error."""
        async with self.http.get(url, headers=headers) as answer:
            return await answer.read()


@asynccontextmanager
async def open_place(**more: str) -> AsyncIterator[Place]:
    """Start everything in a temporary folder, which is deleted after the block; *more* are environment variables.

    Raises:
        CannotStart, ChildDied: as `open_stack`.
        CannotMeasure: the base image cannot be made.
    """
    async with AsyncExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="swell-bench-")))
        ports = Ports.free()
        allowed = f"localhost:{ports.registry},127.0.0.1"
        settings = {
            "SWELL_ALLOWED_HOSTS": allowed,
            "SWELL_BUILD_SBOMS": "false",  # syft would run while the next build is measured
            "SWELL_API_KEYS_FILE": f"{home}/keys.toml",
            "SWELL_CONDA_LOCAL_CHANNELS": f"{home}/channels",
            "SWELL_SCAN_DATABASE_FILE": f"{home}/vulnerability.db",
        }
        (home / "keys.toml").write_text(f'[[key]]\nhash = "{sha256(KEY.encode()).hexdigest()}"\nuser = "bench"\n')
        environment = clean_environment() | NO_LIMITS | settings | more
        stack = await opened.enter_async_context(open_stack(home / "stack", ports, environment=environment))
        nats = await opened.enter_async_context(connect(stack.env["SWELL_NATS_URL"], "bench"))
        session = aiohttp.ClientSession(raise_for_status=True, timeout=aiohttp.ClientTimeout(total=60))
        http = await opened.enter_async_context(session)
        bare = Buildah(home=home / "bare", auth_file=stack.env["SWELL_REGISTRY_AUTH_FILE"])
        place = Place(home=home, stack=stack, nats=nats, http=http, bare=bare)
        await bare.push_base(place.image())
        yield place


def clean_environment() -> dict[str, str]:
    """Return this process's environment without settings of the operator's own Swell."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SWELL_")}
