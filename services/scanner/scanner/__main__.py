"""The scanner takes no jobs yet: it starts, tells its health and stops with the others; requests for a scan are refused
by the gateway."""

import asyncio

from scanner.settings import Settings
from swell.rpc.server import answering
from swell.serve import address, run


async def main(settings: Settings) -> None:
    async with answering(address(settings.listen)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    run("scanner", Settings, main)
