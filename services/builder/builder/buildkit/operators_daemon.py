"""The engine that builds with a buildkitd of the operator, at `SWELL_BUILDKIT_ADDRESS`.

The daemon and what it has stored are shared by all builds. Its limits of memory, processes, disk and network are the
operator's. Swell's part is the same as with its own daemons: context, logins, frontend, options, log and time limit.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Self

import aiohttp
from yarl import URL

from builder.adapters.inputs.auth_files import AuthFiles
from builder.buildkit import policy
from builder.buildkit.build import arguments, secret_file
from builder.buildkit.build_files import BuildFiles
from builder.buildkit.buildctl import buildctl
from builder.buildkit.docker_config import docker_config, source_policy, with_push_login
from builder.buildkit.failures.diagnose import diagnose
from builder.buildkit.output import Result, follow
from builder.buildkit.progress import Progress
from builder.buildkit.provenance.base_annotations import base_annotations
from builder.buildkit.provenance.evidence import evidence_of
from builder.buildkit.sif import push_sif
from builder.buildkit.trial import run_trial, trial_recipe
from builder.domain.base_images import base_images
from builder.domain.failure import BuildFailure
from builder.domain.time_limit import time_limit
from builder.engine import Note, Recipe, WriteLine, WriteStep, ignore, ignore_step
from builder.settings import BuildkitClients, EngineSettings
from builder.sif.push import SCHEME, Sifs
from swell.containerfile import BUILDKIT
from swell.disk import in_thread
from swell.errors import Unavailable
from swell.net.outbound import Policy, open_session
from swell.oci.digest import Digest
from swell.oci.reference import Reference, parse_reference
from swell.registry.auth import Authorizations
from swell.registry.client import RegistryClient
from swell.registry.credentials.aws import AwsLogins
from swell.store.records import Reason
from swell_sandbox.process import Tail
from swell_sandbox.workspace import can_limit, clean, lock

_FOLDERS = ("builds",)
_CREDENTIALS = "credentials"
_CONNECT_SECONDS = 10
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class OperatorsDaemon:
    """Runs buildctl on this machine, which is root, with a daemon elsewhere."""

    def __init__(
        self,
        settings: EngineSettings,
        program: Path,
        credentials: AuthFiles,
        session: aiohttp.ClientSession,
        sifs: Sifs | None = None,
    ) -> None:
        self._settings = settings
        self._program = program
        self._credentials = credentials
        self._session = session
        self._sifs = sifs
        self._accepted = Authorizations()
        self._limited = can_limit(settings.workspace)
        self.version = ""
        """The version of the daemon, when the engine was opened."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: EngineSettings,
        program: Path,
        sifs: Sifs | None = None,
        aws: AwsLogins | None = None,
        registry: RegistryClient | None = None,
    ) -> AsyncIterator[Self]:
        """Take the workspace, and connect to the daemon with the buildctl at *program*; see `open_buildkit`.

        Raises:
            Unavailable: the address is not allowed, the daemon does not respond, or another builder has the workspace.
        """
        _check_address(settings)
        for name in (*_FOLDERS, _CREDENTIALS):
            (settings.workspace / name).mkdir(parents=True, exist_ok=True)
        with lock(settings.workspace):
            await in_thread(clean, settings.workspace, _FOLDERS)
            async with open_session(Policy(settings.allowed_hosts), settings) as session:
                engine = cls(settings, program, AuthFiles(settings, aws, registry=registry), session, sifs)
                engine.version = await engine._version()
                yield engine

    async def run_step(self) -> None:
        """Run one build step that does nothing; see `ContainerEngine.run_step`."""
        settings = self._settings
        async with trial_recipe(settings.workspace) as recipe:
            if recipe is None:
                return
            workspace, owner = settings.workspace, settings.first_user_id
            async with BuildFiles.below(workspace, str(workspace), recipe, settings, owner) as files:
                await run_trial(files, lambda command: self._client(command, {"config.json": b"{}"}))

    async def find(self, _: Recipe) -> None:
        """Return None: builds end with their builder, because the daemon cancels builds whose client is gone."""

    async def build(
        self,
        recipe: Recipe,
        write_line: WriteLine,
        write_step: WriteStep = ignore_step,
        note: Note = ignore,
        /,
    ) -> Digest:
        """Build and push *recipe* within the time limit; see `Engine.build`."""
        await self._check_client(recipe)
        remarks = policy.check(recipe.containerfile, recipe.options.build_args)
        if recipe.cache_repository:
            remarks.append("(the cache repository is not used: the operator's BuildKit has its own cache)")
        tail = Tail(write_line)
        async with time_limit(self._settings.build_timeout, tail):
            for remark in remarks:
                await tail(remark.encode())
            return await self._build(recipe, tail, write_step, note)

    async def _build(self, recipe: Recipe, tail: Tail, write_step: WriteStep, note: Note) -> Digest:
        settings, target = self._settings, parse_reference(recipe.target_image.removeprefix(SCHEME))
        images = base_images(recipe.containerfile, recipe.platform, (BUILDKIT,), recipe.options)
        pulls, pushes = await self._credentials.pulls(recipe), await self._credentials.pushes(recipe)
        logins = docker_config(pulls, images)
        if not recipe.sif:
            logins = with_push_login(logins, docker_config(pushes, [str(target)]))
        annotations = await base_annotations(recipe, pulls, self._session, settings, self._accepted)
        workspace, owner, progress = settings.workspace, settings.first_user_id, Progress()
        rules = source_policy(logins, images, recipe.base_rules)
        async with BuildFiles.below(workspace, str(workspace), recipe, settings, owner, rules) as files:
            command = arguments(
                recipe,
                files,
                _pushed_name(target, settings),
                None,
                proxies={},
                annotations=annotations,
                credentials=self._folder,
            )
            secrets = {secret_file(name): content for name, content in recipe.secrets.items()}
            async with self._client(command, {"config.json": logins, **secrets}) as client:
                result = await follow(client, progress, tail, write_step, ())
            if result.status:
                raise _failure_of(result)
            note(evidence_of(None, (step.name for step in progress.steps.values())))
            if recipe.sif:
                return await push_sif(self._sifs, recipe, files, tail, settings, limited=self._limited)
            return files.digest()

    async def _check_client(self, recipe: Recipe) -> None:
        """Refuse builds whose results are not for all clients, unless the operator trusts all clients alike.

        The daemon reuses what it has stored, without asking a registry whether another build may have it.
        """
        if self._settings.buildkit_clients is BuildkitClients.ALL:
            return
        if recipe.secrets:
            what = "builds with secrets"
        elif recipe.options.proxies:
            what = "builds with proxies in buildArgs"
        elif not await self._credentials.reads_public_only(recipe):
            what = "builds that read private images"
        else:
            return
        raise BuildFailure(
            Reason.ENGINE,
            f"This server does not run {what}: its BuildKit daemon is shared by all clients. Its operator can allow "
            "them with SWELL_BUILDKIT_CLIENTS=all.",
        )

    @property
    def _folder(self) -> str:
        return str(self._settings.workspace / _CREDENTIALS)

    def _client(
        self, command: Sequence[str], files: Mapping[str, bytes]
    ) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        settings = self._settings
        options = [f"--addr={settings.buildkit_address}", f"--timeout={_CONNECT_SECONDS}"]
        options += [f"--tlsdir={settings.buildkit_tls}"] if settings.buildkit_tls else []
        return buildctl((str(self._program), *options, *command), self._folder, files)

    async def _version(self) -> str:
        """Return the version of the daemon, which proves that it responds."""
        try:
            async with asyncio.timeout(2 * _CONNECT_SECONDS):
                async with self._client(["debug", "info"], {"config.json": b"{}"}) as client:
                    output, _ = await client.communicate()
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"the BuildKit daemon at {self._settings.buildkit_address} does not respond") from error
        if client.returncode:
            why = output.decode(errors="replace").strip()[-300:]
            raise Unavailable(f"the BuildKit daemon at {self._settings.buildkit_address} cannot be used: {why}")
        words = output.decode(errors="replace").split()
        return next((word.removeprefix("v") for word in words if word.startswith("v")), "")


def find_buildctl(program: Path | None) -> Path:
    """Return *program*, or buildctl on the PATH.

    Raises:
        Unavailable: it is missing.
    """
    if found := program or shutil.which("buildctl"):
        return Path(found)
    raise Unavailable("SWELL_BUILDKIT_ADDRESS needs buildctl: run `make engine`, or put it on the PATH")


def _check_address(settings: EngineSettings) -> None:
    address = URL(settings.buildkit_address)
    if address.scheme == "unix" or (address.scheme == "tcp" and (settings.buildkit_tls or address.host in _LOOPBACK)):
        return
    raise Unavailable(
        f"SWELL_BUILDKIT_ADDRESS={settings.buildkit_address} cannot be used: it is unix:///path or tcp://host:port; "
        "beyond loopback it needs certificates (SWELL_BUILDKIT_TLS), because credentials are sent to it"
    )


def _pushed_name(target: Reference, settings: EngineSettings) -> str:
    insecure = ",registry.insecure=true" if target.registry in settings.insecure_registries else ""
    return f"{target.name}:{target.reference}{insecure}"


def _failure_of(result: Result) -> BuildFailure:
    text = b"\n".join(result.lines)
    if b"failed to list workers" in text or (b"connection refused" in text and b"Unavailable" in text):
        return BuildFailure(Reason.ENGINE, "The operator's BuildKit daemon does not respond.", result.status)
    return diagnose(result.status, result.lines)
