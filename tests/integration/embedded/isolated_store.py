"""Run the embedded S3 server on its default ports: each line on standard input is stored as one object, unless it is
empty, and the stored object is printed."""

import asyncio
import sys
from pathlib import Path

from swell.store import s3_objects
from swell_embedded.ports import Ports
from swell_embedded.stack import open_stack
from tests.stores import s3_of

ELSEWHERE = {"SWELL_NATS_URL": "none", "SWELL_REDIS_URL": "none", "SWELL_BUILD_REPOSITORY": "none.io/none"}


async def main(home: Path) -> None:
    async with (
        open_stack(home, Ports(), (), environment=ELSEWHERE) as stack,
        s3_objects.connect(s3_of(stack.env), "swell-logs") as store,
    ):
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            if content := line.strip():
                await store.put("object", content)
            sys.stdout.write(f"{(await store.get('object') or b'').decode()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
