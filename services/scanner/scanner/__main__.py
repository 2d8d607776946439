"""The scanner does not scan yet: it serves only its health. The gateway refuses requests for a scan."""

import asyncio

from scanner.settings import Settings
from swell.rpc.server import answering
from swell.serve import address, run


async def main(settings: Settings) -> None:
    async with answering(address(settings.listen)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    run("scanner", Settings, main)
