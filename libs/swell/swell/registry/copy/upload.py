"""Send a blob to a registry in one stream; after a broken connection, continue at the byte that the registry reports.

Source: OCI distribution-spec, "Pushing a blob in chunks",
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress

import aiohttp
from msgspec import Struct
from yarl import URL

from swell.disk import in_thread
from swell.errors import SwellError, UpstreamBroken, UpstreamFailed, UpstreamSlow
from swell.log import log
from swell.net.outbound import Data, send
from swell.oci.descriptor import Descriptor
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.push import has_blob, open_upload, upload, upload_location, with_digest
from swell.registry.responses import failure
from swell.registry.retry import TRANSIENT
from swell.registry.verifier import Verifier

SMALL = 1 << 20
"""Blobs up to this size are sent in one request, after their digest was verified."""
ATTEMPTS = 6
"""Attempts without progress of 1 MiB, after which an upload fails."""
PROGRESS = 1 << 20
PAUSE = 0.3
IDLE_SECONDS = 120.0
"""The longest time in which the registry accepts no byte; also the time for its answer to the last one."""
ANSWER_SECONDS, STORED_PER_SECOND = 60.0, 32 << 20
"""The time to finish an upload: registries on object storage copy the blob."""

CLOSE_ATTEMPTS = 500  # pauses of 10 ms

_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")

Read = Callable[[int], AsyncGenerator[bytes, None]]
"""Returns the bytes of the blob from an offset on."""


class _Cut(SwellError):
    """The registry did not accept all bytes of a request."""


class _Refused(_Cut):
    """The registry refused the end of an upload, which has to start again."""


class _Position(Struct, frozen=True):
    """The URL at which an upload continues, and the number of bytes that the registry has stored."""

    location: URL
    offset: int = 0


async def send_blob(
    client: RegistryClient, repository: Reference, blob: Descriptor, read: Read, location: URL | None = None
) -> None:
    """Send *blob* to *repository*; *location* is an upload that is open already.

    Memory: some MiB, for a blob of any size.

    Raises:
        DigestMismatch, UpstreamFailed: the source sent other bytes; the blob is not stored.
        Denied, TooManyRequests, UpstreamFailed: the registry refuses, or fails repeatedly.
    """
    await _BlobUpload(client, repository, blob, read).run(location)


class _BlobUpload:
    def __init__(self, client: RegistryClient, repository: Reference, blob: Descriptor, read: Read) -> None:
        self._client = client
        self._repository = repository
        self._blob = blob
        self._read = read
        self._verifier = Verifier(blob.digest, blob.size)
        self._verified = 0
        self._subject = f"the blob {blob.digest} of '{repository.name}'"

    async def run(self, location: URL | None) -> None:
        position, attempts, stored = _Position(location) if location else None, 0, 0
        while True:
            try:
                position = position or _Position(await open_upload(self._client, self._repository))
                if self._blob.size <= SMALL:
                    return await self._send_whole(position.location)
                if position.offset < self._blob.size:
                    position = await self._send_rest(position)
                self._verifier.copy().finish()
                return await self._finish(position.location)
            except _Cut as cut:
                if await has_blob(self._client, self._repository, self._blob.digest):
                    return None  # the answer was lost, not the blob
                position = None if isinstance(cut, _Refused) else await self._reported(position)
                reached = position.offset if position else 0
                attempts = 0 if reached - stored >= PROGRESS else attempts + 1
                stored = max(stored, reached)
                log.info("blob upload resumed", digest=self._blob.digest, at=reached, reason=str(cut))
                if attempts >= ATTEMPTS:
                    raise UpstreamFailed(f"{self._subject} could not be sent: {cut}") from cut
                await asyncio.sleep(PAUSE * (attempts + 1))

    async def _send_whole(self, location: URL) -> None:
        content = b"".join([piece async for piece in self._pieces(0)])
        self._verifier.copy().finish()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(content))}
        url = with_digest(location, self._blob.digest)
        response = await self._ask("PUT", url, headers, lambda: content, ANSWER_SECONDS)
        if response.status != 201:
            raise failure(response.status, response.headers, self._subject, _Cut)

    async def _send_rest(self, position: _Position) -> _Position:
        """Send all bytes from the offset of *position* in one request; return the position at the end.

        Raises:
            _Cut: the registry did not accept all of them.
        """
        size, body = self._blob.size, _Body()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size - position.offset)}
        if position.offset:
            headers["Content-Range"] = f"{position.offset}-{size - 1}"
        try:
            async with asyncio.timeout(IDLE_SECONDS) as idle:
                response = await self._ask(
                    "PATCH", position.location, headers, lambda: body.start(self._pieces(position.offset), idle), None
                )
        except (SwellError, TimeoutError) as error:
            if body.error:
                raise body.error from error
            if isinstance(error, TimeoutError):
                raise _Cut(f"{self._repository.registry} accepts no bytes") from error
            raise
        finally:
            await body.close()
        if response.status in {404, 416} or response.status >= 500:
            raise _Cut(f"the registry answers {response.status}")
        if response.status not in {201, 202, 204}:
            raise failure(response.status, response.headers, self._subject, UpstreamFailed)
        reported = _reported_offset(response.headers)
        if reported is not None and reported != size:
            raise _Cut(f"the registry has {reported} bytes after {size} were sent")
        return _Position(upload_location(response, position.location, self._repository), size)

    async def _finish(self, location: URL) -> None:
        seconds = ANSWER_SECONDS + self._blob.size / STORED_PER_SECOND
        url = with_digest(location, self._blob.digest)
        response = await self._ask("PUT", url, {"Content-Length": "0"}, lambda: b"", seconds)
        if response.status in {201, 204}:
            return
        if response.status in {400, 404, 416}:
            raise _Refused(f"the registry answers {response.status} to the last request")
        if response.status >= 500:
            raise _Cut(f"the registry answers {response.status}")
        raise failure(response.status, response.headers, self._subject, UpstreamFailed)

    async def _reported(self, position: _Position | None) -> _Position | None:
        """Return where the upload continues, as the registry reports it; None if it must start again.

        An answer `202` to a request at a wrong offset means nothing (docker-registry 2.8), so only the report counts.
        That registry invalidates an upload whose connection broke: then the blob is sent from its first byte again.
        """
        if position is None or self._blob.size <= SMALL:
            return None
        with suppress(SwellError):
            response = await self._client.ask_url(send, "GET", self._repository, position.location, {})
            response.release()
            offset = _reported_offset(response.headers)
            # A range of 0-0 stands for no bytes, and for one.
            if response.status == 204 and offset is not None and 1 < offset <= self._verified:
                return _Position(upload_location(response, position.location, self._repository), offset)
        return None

    async def _pieces(self, start: int) -> AsyncGenerator[bytes, None]:
        """Yield the blob from *start*; each byte is verified when it is read for the first time."""
        at = start
        async with aclosing(self._read(start)) as source:
            async for piece in source:
                new = piece[max(0, self._verified - at) :]
                if new:
                    self._verified += len(new)
                    await in_thread(self._verifier.update, new)  # it ends even if this task is cancelled
                at += len(piece)
                yield piece

    async def _ask(
        self, method: str, url: URL, headers: Mapping[str, str], data: Callable[[], Data], seconds: float | None
    ) -> aiohttp.ClientResponse:
        """Send one request; it is repeated only with other credentials, because its body has an effect.

        Raises:
            _Cut: the registry is unreachable, or the connection broke.
        """
        is_broken = False

        async def once(
            session: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], data: Data | None = None
        ) -> aiohttp.ClientResponse:
            nonlocal is_broken
            if is_broken:
                raise _Cut(f"{url.authority} broke the connection")
            is_broken = True
            response = await upload(session, method, url, headers, data)
            is_broken = response.status in TRANSIENT
            return response

        limit = seconds or 24 * 3600.0
        try:
            response = await self._client.ask_url(once, method, self._repository, url, headers, data, limit)
        except (UpstreamBroken, UpstreamSlow) as error:
            raise _Cut(str(error)) from error
        response.release()
        return response


class _Body:
    """The body of a request: `error` is the error of its source, which aiohttp would report as one of the target."""

    def __init__(self) -> None:
        self.error: SwellError | None = None
        self._started: list[AsyncGenerator[bytes, None]] = []

    def start(self, pieces: AsyncGenerator[bytes, None], idle: asyncio.Timeout) -> AsyncGenerator[bytes, None]:
        """Return a body of *pieces*; each piece that was sent extends *idle*."""
        self._started.append(self._sent(pieces, idle))
        return self._started[-1]

    async def close(self) -> None:
        """End the bodies: a broken connection leaves its task a moment longer."""
        for body in self._started:
            for _ in range(CLOSE_ATTEMPTS):
                try:
                    await body.aclose()
                    break
                except RuntimeError:  # its task still runs
                    await asyncio.sleep(0.01)

    async def _sent(self, pieces: AsyncGenerator[bytes, None], idle: asyncio.Timeout) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
                    idle.reschedule(asyncio.get_running_loop().time() + IDLE_SECONDS)
        except SwellError as error:
            self.error = error
            raise


def _reported_offset(headers: Mapping[str, str]) -> int | None:
    """Return the number of bytes in the `Range` of an upload, which names the last byte; None if it is missing."""
    match = _RANGE.fullmatch(headers.get("Range", "").strip())
    return int(match[1]) + 1 if match else None
