"""The kubernetes engine: each build is a Job whose only pod runs `builder.run_build`.

The pod builds with the engine that `SWELL_ENGINE` selects from those in its image: BuildKit by default.
When a builder crashes, its Jobs continue. The next builder of the same build finds the Job by its name.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar

import httpx2
import msgspec
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod, Secret
from lightkube.types import CascadeType

from builder.adapters.inputs.auth_files import AuthFiles
from builder.adapters.proxy_environment import unreadable_certificates
from builder.domain.failure import BuildFailure
from builder.domain.remote_build import RemoteBuildSpec, Source
from builder.engine import ExistingBuild, Note, Recipe, WriteLine, WriteStep, ignore, ignore_step
from builder.kubernetes import pods
from builder.kubernetes.cluster import as_failure, get_or_none, open_client, read_lines
from builder.kubernetes.manifests import job, job_name, proxy_files, secret, secret_file
from builder.kubernetes.timestamps import Timestamp, parse_timestamp
from builder.settings import KubernetesSettings
from swell.build_spec import carry
from swell.codecs import prepare
from swell.disk import digest_of_file
from swell.errors import Unavailable
from swell.log import log
from swell.oci.digest import Digest
from swell.provenance import Evidence
from swell.registry.client import RegistryClient
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.principal import PUBLIC
from swell.store.records import Reason

POLL_SECONDS = 0.5
REMOVED_WITHIN = timedelta(seconds=30)
OUTAGE = timedelta(seconds=30)  # of the API that a running build tolerates
LAST_LINES = timedelta(seconds=10)
"""How long the last lines of an ended pod are requested: they may be lost with its node."""

Created = TypeVar("Created", Job, Secret)
Link = Callable[[Digest], str | None]


class KubernetesEngine:
    """Builds in a cluster; *link* returns a URL, valid for some minutes, from which a pod downloads a stored blob."""

    def __init__(
        self,
        client: AsyncClient,
        settings: KubernetesSettings,
        link: Link,
        aws: AwsLogins | None = None,
        registry: RegistryClient | None = None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._credentials = AuthFiles(settings, aws, settings.kubernetes_patience + settings.build_timeout, registry)
        self._link = link

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: KubernetesSettings,
        link: Link,
        aws: AwsLogins | None = None,
        registry: RegistryClient | None = None,
    ) -> AsyncIterator[Self]:
        """Connect to the cluster and check that it lists Jobs. Without *aws*, AWS keys are not exchanged for logins.

        Raises:
            Unavailable: the cluster does not respond, or refuses.
        """
        async with open_client(settings) as client:
            try:
                with as_failure():
                    [_ async for _ in client.list(Job, labels={"app.kubernetes.io/name": "swell-build"})]
            except BuildFailure as error:
                raise Unavailable(f"builds cannot run in the cluster: {error}") from error
            yield cls(client, settings, link, aws, registry)

    async def build(
        self, recipe: Recipe, write_line: WriteLine, _step: WriteStep = ignore_step, note: Note = ignore, /
    ) -> Digest:
        """Build and push *recipe*; see `Engine.build`.

        Raises:
            Unavailable: the cluster does not respond; the Job continues, and the next attempt finds it.
        """
        name = job_name(recipe.build_id)
        try:
            digest, evidence = await self._within_limits(recipe, write_line)
        except Unavailable:
            raise
        except BaseException:
            await self._remove(name)
            raise
        await self._remove(name)
        note(evidence)
        return digest

    async def run_step(self) -> None:
        """Return: steps run in pods, whose failures are those of their builds."""

    async def find(self, recipe: Recipe) -> ExistingBuild | None:
        """Return the times of the Job that an earlier builder created; see `Engine.find`."""
        name = job_name(recipe.build_id)
        with as_failure():
            job = await self._job(name)
            pods_of_job = [pod async for pod in self._client.list(Pod, labels={"batch.kubernetes.io/job-name": name})]
        started = pods.started(job) if job else None
        if started is None or (job and job.metadata and job.metadata.deletionTimestamp):
            return None
        return ExistingBuild(started=started, finished=pods.finished(pods_of_job))

    async def _within_limits(self, recipe: Recipe, write_line: WriteLine) -> tuple[Digest, Evidence]:
        timeout = self._settings.build_timeout + self._settings.kubernetes_patience
        limit = asyncio.timeout(timeout.total_seconds())
        try:
            async with limit:
                return await self._run(recipe, write_line)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise BuildFailure(Reason.TIMED_OUT, f"The build took longer than {timeout} h in the cluster.") from error

    async def _run(self, recipe: Recipe, write_line: WriteLine) -> tuple[Digest, Evidence]:
        files = await self._files(recipe)
        with as_failure():
            await self._create(recipe, files)
        while True:
            pod = await self._follow(await self._wait_for_pod(job_name(recipe.build_id)), write_line)
            if pod and not pods.is_disrupted(pod):
                return pods.result(pod)
            await write_line(b"(the cluster has evicted the pod of this build)")

    async def _files(self, recipe: Recipe) -> dict[str, bytes]:
        """Return the files of the Secret: the remote build spec, auth files, proxies and certificates.

        AWS keys are not passed to pods; they get logins that were exchanged for the keys.
        """
        spec = carry(
            recipe,
            RemoteBuildSpec,
            build_id=recipe.build_id,
            context=await self._source(recipe.context) if recipe.context else None,
            files={name: await self._source(path) for name, path in recipe.files.items()},
            sif=recipe.sif,
            principal=PUBLIC,  # the pod has its own auth files
            push_principal=PUBLIC,
        )
        pulls, pushes = await self._credentials.for_remote_build(recipe)
        files = {"errand.json": msgspec.json.encode(spec), "pull.json": pulls, "push.json": pushes}
        files |= {secret_file(name): recipe.secrets[key] for key, name in recipe.options.build_secrets.items()}
        return files | _proxy_files(self._settings)

    async def _source(self, path: Path) -> Source:
        digest = await asyncio.to_thread(digest_of_file, path)
        if (url := self._link(digest)) is None:
            raise BuildFailure(
                Reason.ENGINE, "Pods cannot download build contexts: the object store has no public endpoint."
            )
        return Source(url, digest)

    async def _create(self, recipe: Recipe, files: dict[str, bytes]) -> None:
        """Create the Job of *recipe* and its Secret, unless an earlier builder has created them."""
        owner = await self._create_if_missing(job(recipe, self._settings))
        if owner is None:
            log.info("job found again", build_id=recipe.build_id)
            owner = await self._job(job_name(recipe.build_id))
            if owner is None or (owner.metadata and owner.metadata.deletionTimestamp):
                raise Unavailable("the Job of an earlier attempt is being removed")
        await self._create_if_missing(secret(owner, files))

    async def _create_if_missing(self, manifest: Created) -> Created | None:
        """Create *manifest*; return None if an object with its name exists."""
        try:
            return await self._client.create(manifest)
        except ApiError as error:
            if error.status.code == 409:
                return None
            raise

    async def _wait_for_pod(self, name: str) -> str:
        """Wait until the container of the Job's pod has started; return the name of the pod.

        Raises:
            BuildFailure: it cannot start, or does not start within `kubernetes_patience`.
        """
        why, deadline = "the Job has no pod", datetime.now(UTC) + self._settings.kubernetes_patience
        while datetime.now(UTC) < deadline:
            with as_failure():
                candidates = [
                    pod async for pod in self._client.list(Pod, labels={"batch.kubernetes.io/job-name": name})
                ]
            for pod in candidates:
                if pods.is_disrupted(pod):
                    continue
                if pods.has_started(pod):
                    return pods.name_of(pod)
                why = pods.waiting_for(pod)
            with as_failure():
                pods.check(await self._job(name))
            await asyncio.sleep(POLL_SECONDS)
        raise BuildFailure(Reason.ENGINE, f"The cluster has not started the build: {why}.")

    async def _follow(self, name: str, write_line: WriteLine) -> Pod | None:
        """Pass every line of the pod to *write_line* once, until it ends; reconnect when the log stream breaks.

        Return the ended pod, or None if it no longer exists.
        """
        last: Timestamp | None = None
        deadline: datetime | None = None
        while (pod := await self._pod(name)) is not None:
            ended = pods.has_ended(pod)
            try:
                async with open_client(
                    self._settings
                ) as client:  # closing the client is the only way to close a stream early
                    async for line in read_lines(client, name, last):
                        timestamp, _, text = line.partition(" ")
                        if last is None or parse_timestamp(timestamp) > last:
                            last = parse_timestamp(timestamp)
                            await write_line(text.encode())
            except (ApiError, httpx2.HTTPError) as error:
                log.warning("log stream of a pod interrupted", pod=name, error=repr(error))
                deadline = (deadline or datetime.now(UTC) + LAST_LINES) if ended else None
                ended = deadline is not None and datetime.now(UTC) > deadline
                if ended:
                    await write_line(b"(the last lines of this build are not available from the cluster)")
            if ended:
                return pod
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def _pod(self, name: str) -> Pod | None:
        """Fetch the pod; try again for `OUTAGE` while the cluster is unavailable."""
        deadline = datetime.now(UTC) + OUTAGE
        while True:
            try:
                with as_failure():
                    return await get_or_none(self._client.get(Pod, name))
            except Unavailable:
                if datetime.now(UTC) > deadline:
                    raise
            await asyncio.sleep(POLL_SECONDS)

    async def _job(self, name: str) -> Job | None:
        return await get_or_none(self._client.get(Job, name))

    async def _remove(self, name: str) -> None:
        """Remove the Job with its pods and its Secret; a cancellation waits until they are removed."""
        async with asyncio.TaskGroup() as tasks:
            removal = tasks.create_task(self._delete(name))
            try:
                await asyncio.shield(removal)
            except asyncio.CancelledError:
                await asyncio.wait([removal])
                raise

    async def _delete(self, name: str) -> None:
        try:
            with as_failure():
                async with asyncio.timeout(REMOVED_WITHIN.total_seconds()):
                    while await self._exists(name):  # noqa: ASYNC110 (the cluster sends no event)
                        await asyncio.sleep(POLL_SECONDS)
        except (BuildFailure, Unavailable) as error:
            log.warning("job not removed from the cluster", name=name, error=str(error))

    async def _exists(self, name: str) -> bool:
        """Request the deletion of the Job and its pods; return whether the Job still exists."""
        try:
            await self._client.delete(Job, name, grace_period=5, cascade=CascadeType.FOREGROUND)
        except ApiError as error:
            if error.status.code == 404:
                return False
            raise
        return True


def _proxy_files(settings: KubernetesSettings) -> dict[str, bytes]:
    try:
        return proxy_files(settings)
    except OSError as error:
        raise unreadable_certificates(error) from error


prepare()  # this module and lightkube are imported after the start of the service
