"""The BuildKit engine: container files are built by rootless buildkitd in a sandbox."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from builder.adapters.emulation import Emulators
from builder.adapters.inputs.auth_files import AuthFiles
from builder.adapters.workspace import as_build_failure
from builder.buildkit import policy
from builder.buildkit.build import arguments, cache_name, given_names, pushed_name
from builder.buildkit.build_files import BuildFiles
from builder.buildkit.daemons.pool import DaemonPool, group_of
from builder.buildkit.daemons.requirements import TRIAL
from builder.buildkit.docker_config import docker_config, source_policy
from builder.buildkit.network.egress import EgressProxy
from builder.buildkit.network.pushes import push_gateway_for
from builder.buildkit.network.services import services_of
from builder.buildkit.network.step_proxies import proxies_of_steps
from builder.buildkit.provenance.base_annotations import base_annotations
from builder.buildkit.provenance.evidence import evidence_of
from builder.buildkit.run import BuildRun
from builder.buildkit.sif import push_sif
from builder.buildkit.trial import run_trial, trial_recipe
from builder.domain.base_images import base_images
from builder.domain.failure import BuildFailure
from builder.domain.time_limit import time_limit
from builder.engine import Note, Recipe, WriteLine, WriteStep, ignore, ignore_step
from builder.settings import EngineSettings
from builder.sif.push import SCHEME, Sifs
from builder.unpushed import UnpushedImages
from swell.concurrency.tasks import TaskOwner
from swell.containerfile import BUILDKIT, parse
from swell.net.outbound import Policy
from swell.oci.digest import Digest
from swell.oci.reference import parse_reference
from swell.registry.auth import Authorizations
from swell.store.records import Reason
from swell_sandbox.process import Tail


class BuildkitEngine:
    """Builds with buildkitd, runc and slirp4netns; this process is root, builds are not."""

    def __init__(
        self,
        settings: EngineSettings,
        daemons: DaemonPool,
        credentials: AuthFiles,
        session: aiohttp.ClientSession,
        sifs: Sifs | None = None,
        unpushed: UnpushedImages | None = None,
        *,
        limited: bool = True,
    ) -> None:
        self._limited = limited
        self._settings = settings
        self._daemons = daemons
        self._credentials = credentials
        self._session = session
        self._sifs = sifs
        self._unpushed = unpushed
        self._emulators = Emulators(only=settings.build_platforms)
        self._policy = Policy(settings.allowed_hosts)
        self._accepted = Authorizations()

    async def run_step(self) -> None:
        """Run one build step that does nothing, in a daemon of its own; see `ContainerEngine.run_step`."""
        async with trial_recipe(self._settings.workspace) as recipe:
            if recipe is None:
                return
            async with AsyncExitStack() as opened:
                with as_build_failure():
                    lease = await opened.enter_async_context(self._daemons.take(TRIAL))
                files = await opened.enter_async_context(BuildFiles.of(lease, recipe, self._settings))
                await run_trial(files, lease.daemon.client)

    async def find(self, _: Recipe) -> None:
        """Builds end with their builder."""

    async def build(
        self, recipe: Recipe, write_line: WriteLine, write_step: WriteStep = ignore_step, note: Note = ignore, /
    ) -> Digest:
        """Build and push *recipe* within the time limit; see `Engine.build`."""
        self._check_platform(recipe)
        tail = Tail(write_line)
        async with time_limit(self._settings.build_timeout, tail):
            for remark in policy.check(recipe.containerfile, recipe.options.build_args):
                await tail(remark.encode())
            return await self._build(recipe, tail, write_step, note)

    async def _build(self, recipe: Recipe, tail: Tail, write_step: WriteStep, note: Note) -> Digest:
        async with self._prepared(recipe, tail) as run:
            progress = await run.until_pushed(tail, write_step)
            attestation = run.gateway.attestation
            predicate = attestation.predicate if attestation else None
            note(evidence_of(predicate, (step.name for step in progress.steps.values())))
            if recipe.sif:
                return await push_sif(self._sifs, recipe, run.files, tail, self._settings, limited=self._limited)
            run.lease.keep()
            return (attestation and attestation.digest) or run.files.digest()

    @asynccontextmanager
    async def _prepared(self, recipe: Recipe, tail: Tail) -> AsyncIterator[BuildRun]:
        """Yield the build of *recipe*, ready to run, with a daemon, its files, and what the daemon connects to."""
        settings, target = self._settings, parse_reference(recipe.target_image.removeprefix(SCHEME))
        async with AsyncExitStack() as opened:
            pulls = await self._credentials.pulls(recipe)
            tasks = await opened.enter_async_context(TaskOwner())
            annotations = tasks.start(base_annotations(recipe, pulls, self._session, settings, self._accepted))
            images = base_images(recipe.containerfile, recipe.platform, (BUILDKIT,), recipe.options)
            logins, proxy = docker_config(pulls, images), EgressProxy(self._policy, settings)
            gateway = await push_gateway_for(
                recipe,
                target,
                images,
                credentials=self._credentials,
                session=self._session,
                settings=settings,
                write_line=tail,
                accepted=self._accepted,
            )
            with as_build_failure():
                lease = await opened.enter_async_context(self._daemons.take(group_of(recipe, pulls)))
            rules = source_policy(logins, images, recipe.base_rules)
            files = await opened.enter_async_context(BuildFiles.of(lease, recipe, settings, rules))
            await opened.enter_async_context(services_of(lease.daemon, proxy, gateway, images, settings))
            command = arguments(
                recipe,
                files,
                pushed_name(target),
                cache_name(gateway.cache) if gateway.cache else None,
                proxies=proxies_of_steps(settings),
                annotations=await annotations,
                attested=gateway.attestation is not None,
            )
            yield BuildRun(
                settings=settings,
                recipe=recipe,
                lease=lease,
                files=files,
                gateway=gateway,
                proxy=proxy,
                logins=logins,
                names=given_names(recipe, target),
                command=command,
                unpushed=self._unpushed,
            )

    def _check_platform(self, recipe: Recipe) -> None:
        if self._emulators.registration(recipe.platform) is None and parse(recipe.containerfile).runs_steps:
            lacking = self._emulators.missing(recipe.platform)
            message = f"This builder cannot run steps for {recipe.platform}: it lacks {lacking}."
            raise BuildFailure(Reason.PLATFORM, message)
