"""Run one remote build in a pod of its own: print its log, write its result, exit."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from yarl import URL

from builder.adapters.logs.masking import read_secrets
from builder.adapters.registry import pusher, registry_push
from builder.build import Recipe
from builder.buildah.engine import BuildahEngine
from builder.domain.failure import BuildFailure
from builder.domain.remote_build import Errand, Outcome, Source
from builder.settings import EngineSettings
from builder.sif.push import Sifs
from swell.build_spec import carry
from swell.errors import SwellError
from swell.net.outbound import Policy, follow, open_session, pieces
from swell.oci.digest import Digest
from swell.registry.aws import AwsLogins
from swell.registry.principal import OPERATOR
from swell.registry.verifier import Verifier
from swell.store.records import Reason

STOPPED = 128 + signal.SIGTERM
"""Our exit status when the cluster stops us: a pod that ends well is done, and never replaced."""


class Settings(EngineSettings, frozen=True, kw_only=True):
    """`errand` is the file that says what to build; `outcome` is where a cluster looks for last words."""

    errand: Path = Path("/swell/errand.json")
    outcome: Path = Path("/dev/termination-log")
    log_level: str = "ERROR"  # our own lines would stand among those of the build


async def main(settings: Settings) -> None:
    try:
        outcome = Outcome(digest=await build(settings))
    except BuildFailure as failure:
        outcome = Outcome.of(failure)
    except asyncio.CancelledError:
        sys.exit(STOPPED)
    except SwellError as error:
        outcome = Outcome.of(BuildFailure(Reason.ENGINE, str(error)))
    settings.outcome.write_bytes(msgspec.json.encode(outcome))


async def build(settings: Settings) -> Digest:
    """Fetch what the errand needs, build and push it."""
    errand = msgspec.json.decode(settings.errand.read_bytes(), type=Errand)
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(dir=settings.workspace)))
        recipe = carry(
            errand,
            Recipe,
            build_id=errand.build_id,
            context=await _fetch(errand.context, folder) if errand.context else None,
            files={name: await _fetch(source, folder) for name, source in errand.files.items()},
            sif=errand.sif,
            principal=OPERATOR,  # the auth files of a pod hold only what its build may use
            push_principal=OPERATOR,
        )
        session = await opened.enter_async_context(open_session(Policy(settings.allowed_hosts), settings))
        registry = registry_push(pusher(session, settings, AwsLogins(session, settings)))
        sifs = Sifs(registry, limit=settings.sif_limit, memory=settings.build_memory)
        engine = await opened.enter_async_context(BuildahEngine.open(settings, sifs))
        masker = read_secrets(settings)

        async def say(line: bytes) -> None:
            sys.stdout.buffer.write(masker.mask(line) + b"\n")
            sys.stdout.buffer.flush()

        return await engine.build(recipe, say)


async def _fetch(source: Source, folder: Path) -> Path:
    """The file that *source* names, which has its digest."""
    path, verifier = folder / source.digest.replace(":", "-"), Verifier(source.digest)
    async with _opened(URL(source.url, encoded=True)) as body:
        with path.open("wb") as file:
            async for piece in body:
                verifier.update(piece)
                file.write(piece)
    verifier.finish()
    return path


@asynccontextmanager
async def _opened(url: URL) -> AsyncIterator[AsyncIterator[bytes]]:
    """The bytes at *url*, an address that the builder has signed: the one host that this process may fetch from."""
    policy = Policy(frozenset({url.authority}))
    async with open_session(policy) as session, await follow(session, "GET", url, {}) as response:
        if response.status != 200:
            message = f"The build context or a layer cannot be fetched: the store answers {response.status}."
            raise BuildFailure(Reason.CONTEXT, message)
        yield pieces(response)
