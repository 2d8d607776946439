"""Run one remote build in a pod of its own: print its log, write its result, exit."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec import structs
from yarl import URL

from builder.adapters.inputs.build_secrets import BuildSecrets
from builder.adapters.logs.masking import read_secrets
from builder.adapters.registry import pusher, registry_push
from builder.choose_engine import open_engine
from builder.domain.failure import BuildFailure
from builder.domain.remote_build import RemoteBuildResult, RemoteBuildSpec, Source
from builder.engine import Recipe, ignore_step
from builder.settings import EngineSettings
from builder.sif.push import Sifs
from swell.build_spec import carry
from swell.errors import SwellError
from swell.net.outbound import Policy, follow, open_session, pieces
from swell.oci.digest import Digest
from swell.provenance import Evidence
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.principal import OPERATOR
from swell.registry.verifier import Verifier
from swell.store.records import Reason

STOPPED = 128 + signal.SIGTERM
"""The exit status after SIGTERM. With status 0 the cluster would count the Job as complete and start no other pod."""


class Settings(EngineSettings, frozen=True, kw_only=True):
    """`errand` is a file with a `RemoteBuildSpec`; the result is written to the file `outcome`."""

    errand: Path = Path("/swell/errand.json")
    outcome: Path = Path("/dev/termination-log")
    log_level: str = "ERROR"  # the build has the standard output for its log


async def main(settings: Settings) -> None:
    os.umask(0o022)  # as in a builder
    try:
        result = RemoteBuildResult.succeeded(*await build(settings))
    except BuildFailure as failure:
        result = RemoteBuildResult.from_failure(failure)
    except asyncio.CancelledError:
        sys.exit(STOPPED)
    except SwellError as error:
        result = RemoteBuildResult.from_failure(BuildFailure(Reason.ENGINE, str(error)))
    settings.outcome.write_bytes(msgspec.json.encode(result))


async def build(settings: Settings) -> tuple[Digest, Evidence]:
    """Download the files of the build, then build and push; return what was pushed, and what it was made from."""
    spec = msgspec.json.decode(settings.errand.read_bytes(), type=RemoteBuildSpec)
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(dir=settings.workspace)))
        recipe = carry(
            spec,
            Recipe,
            build_id=spec.build_id,
            context=await _fetch(spec.context, folder) if spec.context else None,
            files={name: await _fetch(source, folder) for name, source in spec.files.items()},
            sif=spec.sif,
            principal=OPERATOR,  # the auth files of a pod hold only what its build may use
            push_principal=OPERATOR,
            secrets=BuildSecrets(settings.build_secrets).read(spec.options.build_secrets),
        )
        session = await opened.enter_async_context(open_session(Policy(settings.allowed_hosts), settings))
        registry = registry_push(pusher(session, settings, AwsLogins(session, settings)))
        sifs = Sifs(registry, limit=settings.sif_limit, memory=settings.build_memory)
        name, engine = await opened.enter_async_context(open_engine(settings, sifs))
        masker = read_secrets(settings, recipe.secrets.values())

        async def write_line(line: bytes) -> None:
            sys.stdout.buffer.write(masker.mask(line) + b"\n")
            sys.stdout.buffer.flush()

        evidence = [Evidence()]
        try:
            digest = await engine.build(recipe, write_line, ignore_step, evidence.append)
        except BuildFailure as failure:
            raise failure.explained(lambda text: masker.mask(text.encode()).decode()) from failure
        return digest, structs.replace(evidence[-1], engine=name)


async def _fetch(source: Source, folder: Path) -> Path:
    """Download *source* into *folder* and verify its digest."""
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
    """Open *url*, which the builder has signed; no other host may be connected to."""
    policy = Policy(frozenset({url.authority}))
    async with open_session(policy) as session, await follow(session, "GET", url, {}) as response:
        if response.status != 200:
            message = f"The build context or a layer cannot be fetched: the store answers {response.status}."
            raise BuildFailure(Reason.CONTEXT, message)
        yield pieces(response)
