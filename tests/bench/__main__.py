"""`python -m tests.bench [NAME …]`: measure, print a table, and write it as JSON below `.swell/bench`."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from swell import log
from swell.errors import SwellError
from tests.bench.bar import Result
from tests.bench.builds.awaiting import awaited_build
from tests.bench.builds.builds import builds_on_layers, cached_build, trivial_build
from tests.bench.builds.fairness import fair_queue
from tests.bench.builds.lines import log_lines
from tests.bench.builds.mirrors import mirrors
from tests.bench.builds.packages import conda_direct
from tests.bench.builds.polls import status
from tests.bench.builds.scans import scans
from tests.bench.builds.signing import signatures
from tests.bench.builds.submits import augmentation, augmentation_with_layer
from tests.bench.builds.watching import watched_build
from tests.bench.pages import page_first_byte
from tests.bench.place import Place, open_place
from tests.bench.process import CannotMeasure
from tests.bench.pulls.blobs import blob_redirect, blob_relay, cold_clients, first_byte
from tests.bench.pulls.ceiling import ceilings
from tests.bench.pulls.growth import growth
from tests.bench.pulls.herd import herd
from tests.bench.pulls.identities import identified_pull, socket_lookup
from tests.bench.pulls.manifests import cold_manifest, manifest_by_digest, manifest_by_tag
from tests.bench.report import PAGE, report
from tests.bench.sizes import memory, second_start
from tests.bench.starts import starts
from tests.bench.table import table, write
from tests.bench.workers import workers

MEASUREMENTS: Mapping[str, Callable[[Place], Awaitable[Sequence[Result]]]] = {
    "memory": memory,  # first, because idle memory needs a new stack
    "build": trivial_build,
    "await": awaited_build,
    "layers": builds_on_layers,
    "lines": log_lines,
    "fair": fair_queue,
    "cached": cached_build,
    "packages": conda_direct,
    "scan": scans,
    "sign": signatures,
    "ceiling": ceilings,
    "tag": manifest_by_tag,
    "digest": manifest_by_digest,
    "workers": workers,
    "identified": identified_pull,
    "lookup": socket_lookup,
    "cold": cold_manifest,
    "herd": herd,
    "redirect": blob_redirect,
    "byte": first_byte,
    "relay": blob_relay,
    "cold-blob": cold_clients,
    "submit": augmentation,
    "layer": augmentation_with_layer,
    "status": status,
    "watch": watched_build,
    "page": page_first_byte,
    "mirror": mirrors,
    "start": second_start,
    "command": starts,
    "growth": growth,  # last, because it leaves a long append-only file
}
_TROUBLE = (CannotMeasure, SwellError, aiohttp.ClientError, OSError, TimeoutError)


def main() -> None:
    """Exit with 0 for any figures, and with 1 if a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the bars beside their peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(MEASUREMENTS)}; default: all")
    parser.add_argument("--report", action="store_true", help=f"write {PAGE}")
    options = parser.parse_args()
    names = options.names or list(MEASUREMENTS)
    if unknown := set(names) - set(MEASUREMENTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    log.configure("bench", "ERROR")
    try:
        results, troubles = asyncio.run(_measure(names))
    except _TROUBLE as error:
        sys.exit(f"nothing could be measured: {error or type(error).__name__}")
    if results:
        _say(f"\n{table(results)}\n\nKept in {write(results, Path('.swell/bench'), datetime.now(UTC))}")
    if results and options.report:
        PAGE.write_text(report(results, datetime.now(UTC)))
    sys.exit(1 if troubles else 0)


async def _measure(names: Sequence[str]) -> tuple[list[Result], int]:
    """Return the results of the measurements *names* and the number of measurements that failed."""
    results: list[Result] = []
    troubles = 0
    async with open_place() as place:
        for name in names:
            _say(f"measuring: {name}")
            try:
                results += await MEASUREMENTS[name](place)
            except _TROUBLE as error:
                troubles += 1
                _say(f"{name} could not be measured: {error or type(error).__name__}")
    return results, troubles


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
