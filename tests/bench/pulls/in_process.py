"""The CPU time of a warm pull in the gateway itself: `python -m tests.bench.pulls.in_process [--profile]`.

The application is called without a server or a socket, with the caches of the gateway filled, and its metrics, limits,
counting and logs on. CPU time of one process is steadier than requests per second on a machine with other work.
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, cast

from msgspec.structs import fields

from gateway.access.guess_limiter import GuessLimiter
from gateway.access.limits import Limits
from gateway.access.vault import VaultUse
from gateway.adapters.access.grants import CachedGrants, RedisGrants
from gateway.adapters.access.vaults import CachedStates
from gateway.adapters.builds.build_waiter import BuildWaiter
from gateway.adapters.counters.pull_counter import Journal, PullCounter
from gateway.adapters.registry_proxy.images import CachedImages, RemoteImages
from gateway.domain.access.vault import VaultState
from gateway.domain.grant import Grant
from gateway.domain.location import Location
from gateway.domain.quota import Client, Kind, Quota, Quotas, Taken, parse_quota
from gateway.handlers.recent_pulls import RecentPulls
from gateway.handlers.registry import RegistryHandler
from gateway.http.caller import ClientAddress
from gateway.http.edge import Edge
from gateway.pull.gates import Gates
from gateway.pull.pulls import Pulls
from gateway.settings import Settings
from swell import log
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.media_types import OCI_MANIFEST
from swell.registry.credentials.principal import PUBLIC, CredentialRules, with_owners

TOKEN, USERS = "a" * 26, "b" * 26
"""The token of an anonymous request, and of one with a stored credential."""
DESCRIPTOR = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "0" * 64, "size": 500}
_FIELDS = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": DESCRIPTOR, "layers": []}
MANIFEST = Document(OCI_MANIFEST, json.dumps(_FIELDS).encode())
REQUESTS, ROUNDS = 20_000, 7


class _Stored:
    """A store that has one grant, and permits for every client."""

    async def get(self, token: str) -> Grant | None:
        now = datetime.now(UTC)
        return Grant(
            token=token,
            image="registry.example.org/library/base:1",
            platform="linux/amd64",
            user="ada",
            principal=with_owners("vault", ["user:ada@1"]) if token == USERS else PUBLIC,
            created=now,
            expires=now + timedelta(days=1),
        )

    async def take(self, _kind: Kind, _client: Client, _quota: Quota, wanted: int) -> Taken:
        return Taken(wanted)

    async def state(self, _owner: str) -> VaultState:
        return VaultState(generation=1)

    async def manifest(self, _grant: Grant, _reference: str) -> Document:
        return MANIFEST

    async def locate(self, _grant: Grant, digest: Digest) -> Location:
        return Location(f"http://data.test/{digest}", 1, "application/octet-stream", int(time.time()) + 86_400)


class _Connected:
    """A connection to NATS that holds."""

    is_connected = True
    stats: Mapping[str, int] = {"reconnects": 0}


def application() -> Edge:
    """The outermost application of the gateway, with limits as they are by default."""
    stored = cast(Any, _Stored())
    defaults = {field.name: field.default for field in fields(Settings)}
    quotas = Quotas(pull=parse_quota(defaults["pull_limit"]))
    grants, limits = CachedGrants(cast(RedisGrants, stored)), Limits(stored, quotas, fail_open=True)
    images, builds = CachedImages(cast(RemoteImages, stored), 32 << 20), BuildWaiter(stored, timedelta(minutes=1))
    vault = VaultUse(stored, CachedStates(stored, _Connected()), CredentialRules())
    pulls = Pulls(grants, builds, images, limits, "http://localhost:9090", GuessLimiter(), gates=Gates(vault=vault))
    count, address = PullCounter(stored, cast(Journal, stored)).count, ClientAddress()
    recent = RecentPulls(grants, limits, count, address, vault)
    return Edge(RegistryHandler(pulls, count, address, recent=recent), _no_framework, recent)


async def _no_framework(*_: object) -> None:
    raise AssertionError


def scope_of(path: str) -> dict[str, Any]:
    """The scope of a GET as Granian makes it for `docker pull`."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 9090),
        "headers": [
            (b"host", b"localhost:9090"),
            (b"user-agent", b"docker/27.0 go/go1.22"),
            (b"accept", b"application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"),
        ],
        "state": {},
    }


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


class _Sink:
    """Takes the messages of a response, as the server does without waiting."""

    def __init__(self) -> None:
        self.status = 0

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]


async def microseconds(app: Callable[..., Awaitable[None]], path: str, status: int) -> float:
    """Return the CPU time of one request in microseconds: the median of several rounds."""
    rounds = []
    for _ in range(ROUNDS):
        sink = _Sink()
        started = time.process_time()
        for number in range(REQUESTS):
            await app(scope_of(path), _receive, sink)
            if not number % 100:
                await asyncio.sleep(0)  # for work in the background, such as confirming the token again
        rounds.append((time.process_time() - started) * 1e6 / REQUESTS)
        if sink.status != status:
            raise SystemExit(f"{path} was answered with {sink.status}")
    return median(rounds)


async def _bare(scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}", "more_body": False})


async def main(*, is_profiled: bool) -> None:
    log.configure("bench")
    app, prefix = application(), f"/v2/wt/{TOKEN}/library/base"
    paths = {
        "manifest by tag": (f"{prefix}/manifests/1", 200),
        "manifest by tag, stored credential": (f"/v2/wt/{USERS}/library/base/manifests/1", 200),
        "manifest by digest": (f"{prefix}/manifests/{MANIFEST.digest}", 200),
        "redirect": (f"{prefix}/blobs/{MANIFEST.digest}", 307),
    }
    figures = {"bare ASGI": await microseconds(_bare, "/", 200)}
    for name, (path, status) in paths.items():
        figures[name] = await microseconds(app, path, status)
    print(json.dumps({name: round(each, 2) for name, each in figures.items()}))  # noqa: T201
    if is_profiled:
        profile = cProfile.Profile()
        profile.enable()
        await microseconds(app, *paths["manifest by tag"])
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pulls.in_process", description=__doc__)
    parser.add_argument("--profile", action="store_true", help="print where the time of a manifest by tag goes")
    asyncio.run(main(is_profiled=parser.parse_args().profile))
