"""The streams of NATS with their consumers, by the snapshots of JetStream.

Source: NATS documentation, "JetStream wire API reference", https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import Struct

from swell.backup.folder import BackupFolder, RecordWriter
from swell.errors import Unavailable
from swell.jobs.streams import Nats, translated
from swell.oci.digest import Digest

SUBJECTS = ("jobs.", "events.", "logs.", "dead.", "audit.")
"""The subjects of Swell's streams begin with one of these."""
_CHUNK = 128 << 10  # bytes
_WITHIN = 30.0  # seconds for each answer


class StreamRecord(Struct, frozen=True, kw_only=True):
    """A stream: its configuration and state as JSON, and the digest and size of its snapshot."""

    name: str
    config: bytes
    state: bytes
    digest: Digest
    size: int


async def dump(nats: Nats, folder: BackupFolder, writer: RecordWriter) -> None:
    """Write all streams of Swell; raises `Unavailable`."""
    for name in await _names(nats):
        inbox = nats.client.new_inbox()
        with translated():
            subscription = await nats.client.subscribe(inbox)
        try:
            request = {"deliver_subject": inbox, "no_consumers": False, "chunk_size": _CHUNK}
            answer = await _call(nats, f"STREAM.SNAPSHOT.{name}", request)
            digest, size = await folder.add(_chunks(subscription))
        finally:
            with translated():
                await subscription.unsubscribe()
        config, state = (msgspec.json.encode(answer[each]) for each in ("config", "state"))
        writer.write(StreamRecord(name=name, config=config, state=state, digest=digest, size=size))


async def _names(nats: Nats) -> list[str]:
    with translated():
        infos = await nats.stream.streams_info()
    return sorted(
        info.config.name or ""
        for info in infos
        if info.config.subjects and all(each.startswith(SUBJECTS) for each in info.config.subjects)
    )


async def _chunks(subscription: Any) -> AsyncIterator[bytes]:
    """Yield the chunks of a snapshot; they are confirmed, so that the server sends at most some MiB ahead."""
    while True:
        with translated("the snapshot of a stream breaks off"):
            message = await subscription.next_msg(_WITHIN)
            if not message.data:
                if error := (message.headers or {}).get("Status", "204") not in {"204", "100"}:
                    raise Unavailable(f"the snapshot of a stream failed: {error}")
                return
            yield message.data
            if message.reply:
                await message.respond(b"")


async def not_empty(nats: Nats) -> list[str]:
    """Return the names of Swell's streams that have messages."""
    with translated():
        return [name for name in await _names(nats) if (await nats.stream.stream_info(name)).state.messages > 0]


async def load(nats: Nats, folder: BackupFolder, record: StreamRecord) -> None:
    """Restore the stream of *record*, in the place of one with its name; raises `Unavailable`."""
    path = folder.require(record.digest, record.size)
    if record.name in await _names(nats):
        with translated():
            await nats.stream.delete_stream(record.name)
    request = {"config": msgspec.json.decode(record.config), "state": msgspec.json.decode(record.state)}
    subject = (await _call(nats, f"STREAM.RESTORE.{record.name}", request))["deliver_subject"]
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            await _send(nats, subject, chunk)
    await _send(nats, subject, b"")


async def _call(nats: Nats, name: str, request: dict[str, Any]) -> dict[str, Any]:
    """Call a method of JetStream's API; raises `Unavailable` with the server's reason."""
    return await _send(nats, f"$JS.API.{name}", msgspec.json.encode(request))


async def _send(nats: Nats, subject: str, content: bytes) -> dict[str, Any]:
    with translated():
        message = await nats.client.request(subject, content, timeout=_WITHIN)
    answer: dict[str, Any] = msgspec.json.decode(message.data) if message.data else {}
    if error := answer.get("error"):
        raise Unavailable(f"NATS refuses {subject}: {error.get('description', error)}")
    return answer
