"""A source that makes up one large layer, and a target that throws it away: copies of any size without a disk.

`python -m tests.bench.builds.streams BYTES`: print the address and the digest of the layer, then serve until SIGTERM.
"""

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from swell.oci.digest import digest_of
from swell.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

PIECE = bytes(1 << 20)
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


class Streams:
    """`/v2/source/` has an image with a layer of *size* bytes; `/v2/target/` accepts it and forgets the bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        hashed = hashlib.sha256()
        for _ in range(size // len(PIECE)):
            hashed.update(PIECE)
        self.layer = f"sha256:{hashed.hexdigest()}"
        blobs = ((OCI_CONFIG, digest_of(CONFIG), len(CONFIG)), (OCI_LAYER, self.layer, size))
        parts = [{"mediaType": kind, "digest": digest, "size": length} for kind, digest, length in blobs]
        fields = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": parts[0], "layers": parts[1:]}
        self.manifest = msgspec.json.encode(fields)
        self._accepted: dict[str, bytes] = {}
        self._stored: set[str] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        name = request.path.rsplit("/", 1)[1]
        is_source = request.path.startswith("/v2/source/")
        match request.method, is_source:
            case "GET" | "HEAD", True if "/manifests/1" in request.path or digest_of(self.manifest) == name:
                return web.Response(body=self.manifest, content_type=OCI_MANIFEST)
            case "GET", True if name == digest_of(CONFIG):
                return web.Response(body=CONFIG)
            case "GET", True if name == self.layer:
                return web.Response(body=self._pieces(), headers={"Content-Length": str(self._size)})
            case "PUT", False if "/manifests/" in request.path:
                self._accepted[name] = self._accepted[digest_of(self.manifest)] = await request.read()
                return web.Response(status=201)
            case "GET" | "HEAD", False if name in self._accepted:
                return web.Response(body=self._accepted[name], content_type=OCI_MANIFEST)
            case "HEAD", False if name in self._stored:
                return web.Response()
            case "POST", False:
                return web.Response(status=202, headers={"Location": "/v2/target/blobs/uploads/1"})
            case "PATCH" | "PUT", False:
                async for _ in request.content.iter_any():
                    pass
                if digest := request.query.get("digest"):
                    self._stored.add(digest)
                return web.Response(
                    status=202 if request.method == "PATCH" else 201, headers={"Location": "/v2/target/blobs/uploads/1"}
                )
        return web.Response(status=404)

    async def _pieces(self) -> AsyncIterator[bytes]:
        for _ in range(self._size // len(PIECE)):
            yield PIECE


async def main(size: int) -> None:
    streams = Streams(size)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", streams.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
