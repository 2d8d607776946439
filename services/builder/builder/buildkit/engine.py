"""The BuildKit engine: container files are built by rootless buildkitd in a sandbox."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self

import aiohttp
import msgspec

from builder.adapters.auth_files import AuthFiles
from builder.adapters.emulation import Emulators
from builder.adapters.workspace import as_build_failure
from builder.build import Recipe, WriteLine, WriteStep, ignore_step
from builder.buildkit import egress, policy, push_gateway
from builder.buildkit.build import (
    CACHE,
    POLICY,
    TARGET,
    BuildFiles,
    Result,
    arguments,
    follow,
    pushed_name,
    secret_file,
)
from builder.buildkit.daemon import FOLDER_NAME, Daemon, open_daemon
from builder.buildkit.docker_config import docker_config, source_policy
from builder.buildkit.egress import EgressProxy
from builder.buildkit.failure import diagnose
from builder.buildkit.limits import too_many_processes, watched
from builder.buildkit.pool import DaemonPool, Lease
from builder.buildkit.programs import Programs
from builder.buildkit.progress import Progress
from builder.buildkit.push_gateway import PushGateway, Repository
from builder.domain.base_images import base_images
from builder.domain.emulation import PLATFORMS
from builder.domain.failure import BuildFailure
from builder.domain.loopback import allowed_registries
from builder.settings import EngineSettings
from builder.sif.push import SCHEME, Sifs
from swell.containerfile import BUILDKIT, parse
from swell.disk import in_thread
from swell.errors import SwellError, Unavailable
from swell.net.outbound import Policy, open_session
from swell.net.outbound import follow as follow_redirects
from swell.oci.digest import Digest, parse_digest
from swell.oci.media_types import ACCEPT
from swell.oci.platform import parse_platform
from swell.oci.reference import Reference, parse_reference
from swell.registry.aws import AwsLogins
from swell.registry.client import RegistryClient
from swell.registry.credentials import parse_auth_file
from swell.store.records import Reason
from swell_sandbox import Sandbox, SandboxUnavailable, cgroups
from swell_sandbox.forwarding import forwarding
from swell_sandbox.process import Tail
from swell_sandbox.sandbox import new_directory
from swell_sandbox.workspace import can_limit, clean, dispose, group_prefix, lock

_DIGEST_WITHIN = 3.0
_FOLDERS = ("builds", FOLDER_NAME, "networks")


class CannotStart(Unavailable):
    """BuildKit does not start on this machine."""


class BuildkitEngine:
    """Builds with buildkitd, runc and slirp4netns; this process is root, builds are not."""

    def __init__(
        self,
        settings: EngineSettings,
        daemons: DaemonPool,
        credentials: AuthFiles,
        session: aiohttp.ClientSession,
        sifs: Sifs | None = None,
        *,
        limited: bool = True,
    ) -> None:
        self._limited = limited
        self._settings = settings
        self._daemons = daemons
        self._credentials = credentials
        self._session = session
        self._sifs = sifs
        self._emulators = Emulators(only=settings.build_platforms)
        self._policy = Policy(settings.allowed_hosts)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: EngineSettings,
        programs: Programs,
        sifs: Sifs | None = None,
        aws: AwsLogins | None = None,
        registry: RegistryClient | None = None,
    ) -> AsyncIterator[Self]:
        """Take the workspace, remove what an earlier process left there, and prove that a daemon starts.

        *sifs* makes SIF files of what was built. Without *aws*, AWS keys open no registry. *registry* is
        asked which base images are public.

        Raises:
            CannotStart: the machine lacks something.
            Unavailable: another builder has the workspace.
        """
        workspace = settings.workspace
        for name in _FOLDERS:
            (workspace / name).mkdir(parents=True, exist_ok=True)
        with lock(workspace):
            await in_thread(clean, workspace, _FOLDERS)
            if missing := missing_programs():
                raise CannotStart(f"builds cannot run here: {', '.join(missing)} is missing")
            registrations = _registrations(settings)
            limited = can_limit(workspace)
            opening = partial(open_daemon, settings, programs, registrations, limited=limited)
            async with (
                open_session(Policy(settings.allowed_hosts), settings) as session,
                DaemonPool.open(settings, opening) as daemons,
            ):
                credentials = AuthFiles(settings, aws, registry=registry)
                engine = cls(settings, daemons, credentials, session, sifs, limited=limited)
                await engine._prove()
                yield engine

    async def find(self, _: Recipe) -> None:
        """Builds end with their builder."""

    async def build(self, recipe: Recipe, tell: WriteLine, write_step: WriteStep = ignore_step, /) -> Digest:
        """Build and push *recipe* within the time limit; see `Engine.build`."""
        self._check_platform(recipe)
        remarks = policy.check(recipe.containerfile, recipe.options.build_args)
        limit = asyncio.timeout(self._settings.build_timeout.total_seconds())
        tail = Tail(tell)
        try:
            async with limit:
                for remark in remarks:
                    await tail(remark.encode())
                return await self._build(recipe, tail, write_step)
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"The build took longer than the {self._settings.build_timeout} h that this server allows."
            raise BuildFailure(Reason.TIMED_OUT, message) from error

    async def _build(self, recipe: Recipe, tail: Tail, write_step: WriteStep) -> Digest:
        settings, target = self._settings, parse_reference(recipe.target_image.removeprefix(SCHEME))
        pulls = await self._credentials.pulls(recipe)
        images = base_images(recipe.containerfile, recipe.platform, (BUILDKIT,), recipe.options)
        async with AsyncExitStack() as opened:
            gateway = await self._gateway(recipe, target, images, tail)
            cache = gateway.cache
            finding = asyncio.create_task(self._base_of(recipe, pulls))
            opened.callback(finding.cancel)
            with as_build_failure():
                lease = await opened.enter_async_context(self._daemons.take(_line(recipe, pulls)))
            daemon, progress = lease.daemon, Progress()
            files = await opened.enter_async_context(BuildFiles.of(daemon, recipe, settings))
            proxy = EgressProxy(self._policy, settings)
            await opened.enter_async_context(self._served(daemon, proxy, gateway, images))
            proxies, annotations = self._proxies_of_steps(), await finding
            logins = docker_config(pulls, images)
            with as_build_failure():
                await in_thread((files.path / POLICY).write_bytes, source_policy(logins, images))
            command = arguments(recipe, files, target, cache, proxies=proxies, annotations=annotations)
            names = [
                (pushed_name(target).encode(), recipe.target_image.encode()),
                (f"{push_gateway.REGISTRY}/{CACHE}/".encode(), _registry_of(recipe.cache_repository)),
            ]
            kills, refused = daemon.groups.memory_kills(), daemon.groups.refused_processes()
            async with (
                watched(daemon, settings, progress),
                daemon.client(
                    command, logins, {secret_file(name): content for name, content in recipe.secrets.items()}
                ) as client,
            ):
                result = await follow(client, progress, tail, write_step, names)
            if result.status:
                failure = self._failure(result, daemon, progress, lease, gateway, kills=kills, refused=refused)
                if proxy.refused and failure.reason in {Reason.RECIPE, Reason.BASE_IMAGE}:
                    message = f"{failure} ({'; '.join(dict.fromkeys(proxy.refused))})"
                    raise BuildFailure(failure.reason, message, failure.exit_status, output=failure.output)
                raise failure
            if recipe.sif:
                return await self._push_sif(recipe, files, tail)
            lease.keep()
            return files.digest()

    def _failure(
        self,
        result: Result,
        daemon: Daemon,
        progress: Progress,
        lease: Lease,
        gateway: PushGateway,
        *,
        kills: int,
        refused: int,
    ) -> BuildFailure:
        if daemon.groups.refused_processes() > refused:
            return too_many_processes(self._settings, progress)
        killed = daemon.groups.memory_kills() > kills
        trouble = str(gateway.trouble) if gateway.trouble else ""
        failure = diagnose(
            result.status,
            result.lines,
            killed=killed,
            refused_push=trouble,
            crashed=not daemon.is_running,
            output=progress.failed_output,
        )
        if failure.reason in {Reason.RECIPE, Reason.BASE_IMAGE, Reason.PUSH} and not killed and daemon.is_running:
            lease.keep()
        return failure

    async def _base_of(self, recipe: Recipe, pulls: bytes) -> dict[str, str]:
        """Annotations that say what the image is made from. Source: OCI image-spec, annotations.md.

        The digest is left out if the registry does not answer soon.
        """
        annotations = dict[str, str]()
        with suppress(SwellError, TimeoutError):
            file = parse(recipe.containerfile)
            image = file.final_image(recipe.options.build_args, parse_platform(recipe.platform))
            if image and not recipe.options.target:
                reference = parse_reference(image)
                annotations["org.opencontainers.image.base.name"] = str(reference)
                if digest := reference.digest or await self._digest_of(reference, recipe, pulls):
                    annotations["org.opencontainers.image.base.digest"] = digest
        return annotations

    async def _digest_of(self, reference: Reference, recipe: Recipe, pulls: bytes) -> str | None:
        """The digest that the registry says *reference* has now; *pulls* has only what the principal may use."""
        keyring = parse_auth_file(pulls, lambda *_: True)
        insecure = frozenset(self._settings.insecure_registries)
        client = RegistryClient(self._session, keyring, insecure).acting_for(recipe.principal)
        async with asyncio.timeout(_DIGEST_WITHIN):
            path = f"manifests/{reference.reference}"
            response = await client.ask(follow_redirects, "HEAD", reference, path, {"Accept": ACCEPT})
        response.release()
        digest = response.headers.get("Docker-Content-Digest", "")
        return parse_digest(digest) if response.status == 200 and digest else None

    async def _gateway(self, recipe: Recipe, target: Reference, images: Sequence[str], tail: Tail) -> PushGateway:
        """What takes the image, and the layer cache, with the operator's credentials."""
        repositories = {} if recipe.sif else {f"{TARGET}/{target.repository}": Repository(target)}
        keys, cache = await self._credentials.pushes(recipe), await _cache_of(recipe, tail)
        if cache:
            try:
                keys = await self._credentials.with_cache(keys, cache.name, recipe.push_principal)
                repositories[f"{CACHE}/{cache.repository}"] = Repository(cache, is_cache=True)
            except BuildFailure as failure:
                if failure.reason is not Reason.PUSH:
                    raise
                await tail(f"(the cache {recipe.cache_repository} cannot be used: {failure})".encode())
        bases = list[Reference]()
        for image in images:
            with suppress(SwellError):
                bases.append(parse_reference(image))
        try:
            keyring = parse_auth_file(keys, self._settings.credential_rules.may_push)
        except SwellError as error:
            raise BuildFailure(Reason.ENGINE, "The builder's credentials are no auth file.") from error
        insecure = frozenset(self._settings.insecure_registries)
        client = RegistryClient(self._session, keyring, insecure, actions="pull,push").acting_for(recipe.push_principal)
        return PushGateway(client, repositories, bases)

    @asynccontextmanager
    async def _served(
        self, daemon: Daemon, egress_proxy: EgressProxy, gateway: PushGateway, images: Sequence[str]
    ) -> AsyncIterator[None]:
        """What buildkitd reaches, for the length of the block."""
        services = [(each.host, each.port) for each in allowed_registries(self._settings.allowed_hosts, images)]
        own = [("127.0.0.1", egress.PORT), (push_gateway.HOST, push_gateway.PORT)]
        with as_build_failure():
            sockets = await daemon.listen([*own, *services])
        proxy, pushes, *others = sockets
        async with AsyncExitStack() as opened:
            for each in sockets:
                opened.callback(each.close)
            await opened.enter_async_context(egress_proxy.serve(proxy))
            await opened.enter_async_context(gateway.serve(pushes))
            await opened.enter_async_context(forwarding(dict(zip(services, others, strict=True))))
            yield

    async def _push_sif(self, recipe: Recipe, files: BuildFiles, tail: Tail) -> Digest:
        if self._sifs is None:
            raise BuildFailure(Reason.ENGINE, "This builder makes no SIF files.")
        settings = self._settings
        with as_build_failure():
            directory = new_directory(settings.workspace / "builds", f"{recipe.build_id}.")
        group = group_prefix(settings.workspace) + directory.name
        try:
            limits = {"memory": settings.build_memory, "pids": settings.build_pids}
            groups = cgroups.make(group, **limits) if self._limited else ()
            sandbox = Sandbox(directory=directory, user_id=settings.first_user_id, cgroups=groups)
            with as_build_failure():
                await in_thread(sandbox.prepare)
                (files.path / "result/image").rename(sandbox.work / "image")
            return await self._sifs.push(sandbox, "work/image", recipe, tail)
        finally:
            await in_thread(dispose, directory, group)

    def _proxies_of_steps(self) -> dict[str, str]:
        settings = self._settings
        if not settings.proxy_for_steps:
            return {}
        proxies = {"http_proxy": settings.http_proxy, "https_proxy": settings.https_proxy}
        named = {name: value for name, value in proxies.items() if value}
        return {**named, "no_proxy": ",".join(settings.no_proxy)} if named and settings.no_proxy else named

    def _check_platform(self, recipe: Recipe) -> None:
        if self._emulators.registration(recipe.platform) is None and parse(recipe.containerfile).runs_steps:
            lacking = self._emulators.missing(recipe.platform)
            message = f"This builder cannot run steps for {recipe.platform}: it lacks {lacking}."
            raise BuildFailure(Reason.PLATFORM, message)

    async def _prove(self) -> None:
        try:
            async with self._daemons.take("") as lease:
                async with lease.daemon.client(["debug", "workers"]) as client:
                    said, _ = await client.communicate()
                if client.returncode:
                    raise CannotStart(f"builds cannot run here: {said.decode(errors='replace')[-300:]}")
        except (OSError, SandboxUnavailable) as error:
            raise CannotStart(f"builds cannot run here: {error}") from error


def missing_programs() -> list[str]:
    """What this machine lacks for the engine, beside BuildKit itself."""
    names = ("runc", "slirp4netns", "newuidmap", "setpriv", "unshare", "nsenter")
    missing = [name for name in names if not shutil.which(name)]
    return missing if Path("/dev/net/tun").exists() else [*missing, "/dev/net/tun"]


async def _cache_of(recipe: Recipe, tail: Tail) -> Reference | None:
    """The repository of the layer cache; one whose name makes no sense is no reason to fail."""
    if not recipe.cache_repository:
        return None
    try:
        return parse_reference(recipe.cache_repository)
    except SwellError as error:
        await tail(f"(the cache {recipe.cache_repository} cannot be used: {error})".encode())
        return None


def _registrations(settings: EngineSettings) -> list[str]:
    emulators = Emulators(only=settings.build_platforms)
    return [line for platform in PLATFORMS.values() if (line := emulators.registration(platform))]


def _line(recipe: Recipe, pulls: bytes) -> str:
    """Which builds may use the same daemon: with the same credentials and secrets, in all their content, and cache.

    Who uses a layer cache trusts those who write to it: what is read from it stays with the daemon. BuildKit's key of a
    step has the ids of secrets, not their contents, so another client with the same step would get its result.
    """
    secrets = msgspec.json.encode(recipe.secrets, order="deterministic")
    parts = (recipe.principal.encode(), pulls, (recipe.cache_repository or "").encode(), secrets)
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _registry_of(repository: str | None) -> bytes:
    return f"{(repository or '').partition('/')[0]}/".encode()
