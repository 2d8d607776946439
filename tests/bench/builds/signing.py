"""The time that a signature, provenance and an SBOM take after a build has ended."""

import asyncio
import time
from base64 import b64encode
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.bench.bar import Bar, Result, Round, judge
from tests.bench.builds.builds import BuildEvents, containerfile
from tests.bench.place import Place, open_place

ROUNDS = 3
BUILDS = 10  # in a round
PAUSE = 0.002  # seconds between two requests for a signature
TIME_LIMIT = 30.0  # seconds

SIGNED = Bar(name="signing and attaching, after the end of a build, p50", unit="ms", must=100, aim=60)


async def signatures(_: Place) -> list[Result]:
    """Measure until the API has the signature, which is attached then. The measured stack has a key of its own."""
    with TemporaryDirectory(prefix="swell-bench-key-") as folder:
        key = Path(folder) / "signing.pem"
        private = ec.generate_private_key(ec.SECP256R1())
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        async with open_place(SWELL_SIGNING_KEY_FILE=str(key)) as place:
            events = BuildEvents()
            await events.listen(place)
            await _signed_after(place, events)
            rounds = [[await _signed_after(place, events) for _ in range(BUILDS)] for _ in range(ROUNDS)]
    return [judge(SIGNED, [Round(median(each)) for each in rounds])]


async def _signed_after(place: Place, events: BuildEvents) -> float:
    """Build something new; return the milliseconds from its end to its signature."""
    body = b64encode(containerfile(place).encode()).decode()
    build_id = (await place.submit(containerFile=body))["buildId"]
    ended = await events.end(build_id)
    async with asyncio.timeout(TIME_LIMIT):
        while not await _is_signed(place, build_id):  # noqa: ASYNC110  (another process signs)
            await asyncio.sleep(PAUSE)
    return (time.perf_counter() - ended) * 1000


async def _is_signed(place: Place, build_id: str) -> bool:
    url = f"{place.gateway}/v1alpha1/builds/{build_id}/signature"
    async with place.http.get(url, raise_for_status=False) as response:
        return response.status == 200
