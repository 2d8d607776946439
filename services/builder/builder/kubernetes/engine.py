"""The kubernetes engine: a Job for each build, in whose one pod `builder.run_build` builds with buildah.

A builder that dies leaves its Jobs to whoever is given their builds next: a Job is found again by its name.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar

import httpx2
import msgspec
from lightkube import AsyncClient
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod, Secret
from lightkube.types import CascadeType

from builder.adapters.auth_files import AuthFiles
from builder.build import ExistingBuild, Recipe, WriteLine
from builder.domain.failure import BuildFailure
from builder.domain.remote_build import RemoteBuildSpec, Source
from builder.kubernetes import pods
from builder.kubernetes.manifests import CONTAINER, job, job_name, proxy_files, secret
from builder.kubernetes.timestamps import Timestamp, parse_timestamp
from builder.settings import KubernetesSettings
from swell.build_spec import carry
from swell.codecs import prepare
from swell.disk import digest_of_file
from swell.errors import Unavailable
from swell.log import log
from swell.oci.digest import Digest
from swell.registry.aws import AwsLogins
from swell.registry.client import RegistryClient
from swell.registry.principal import PUBLIC
from swell.store.records import Reason

POLL_SECONDS = 0.5
ANSWER_SECONDS = 30
GONE_WITHIN = timedelta(seconds=30)
OUTAGE = timedelta(seconds=30)  # of the API, which a build that runs sits out
SILENCE = timedelta(minutes=1)
LAST_LINES = timedelta(seconds=10)
"""How long they are asked for when a pod has ended: they may have gone with its machine."""
_QUOTA = "exceeded quota"  # the API server's words for what will pass; another 403 will not

Made = TypeVar("Made", Job, Secret)
There = TypeVar("There", Job, Pod)
Link = Callable[[Digest], str | None]


class KubernetesEngine:
    """Builds in a cluster; *link* gives the address from which a pod may fetch a stored blob for some minutes."""

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
        """Reach the cluster, and see that we may ask it for Jobs. Without *aws*, AWS keys open no registry.

        Raises:
            Unavailable: we do not, or may not.
        """
        async with _client(settings) as client:
            try:
                with _asking():
                    [_ async for _ in client.list(Job, labels={"app.kubernetes.io/name": "swell-build"})]
            except BuildFailure as error:
                raise Unavailable(f"builds cannot run in the cluster: {error}") from error
            yield cls(client, settings, link, aws, registry)

    async def build(self, recipe: Recipe, write_line: WriteLine) -> Digest:
        """Build and push *recipe*; see `Engine.build`.

        Raises:
            Unavailable: the cluster does not answer; the Job goes on, and is found again.
        """
        name = job_name(recipe.build_id)
        try:
            digest = await self._within_limits(recipe, write_line)
        except Unavailable:
            raise
        except BaseException:
            await self._remove(name)
            raise
        await self._remove(name)
        return digest

    async def find(self, recipe: Recipe) -> ExistingBuild | None:
        """The times of the Job that an earlier builder has left behind; see `Engine.find`."""
        name = job_name(recipe.build_id)
        with _asking():
            job = await self._job(name)
            pods_of_job = [pod async for pod in self._client.list(Pod, labels={"batch.kubernetes.io/job-name": name})]
        started = pods.started(job) if job else None
        if started is None or (job and job.metadata and job.metadata.deletionTimestamp):
            return None
        return ExistingBuild(started=started, finished=pods.finished(pods_of_job))

    async def _within_limits(self, recipe: Recipe, write_line: WriteLine) -> Digest:
        longest = self._settings.build_timeout + self._settings.kubernetes_patience
        limit = asyncio.timeout(longest.total_seconds())
        try:
            async with limit:
                return await self._run(recipe, write_line)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise BuildFailure(Reason.TIMED_OUT, f"The build took longer than {longest} h in the cluster.") from error

    async def _run(self, recipe: Recipe, write_line: WriteLine) -> Digest:
        files = await self._files(recipe)
        with _asking():
            await self._begin(recipe, files)
        while True:
            pod = await self._follow(await self._begun(job_name(recipe.build_id)), write_line)
            if pod and not pods.is_taken_away(pod):
                return pods.result(pod)
            await write_line(b"(the cluster has taken the pod of this build away)")

    async def _files(self, recipe: Recipe) -> dict[str, bytes]:
        """What the pod finds in its folder: the errand, and what it must have to reach registries, as it is now.

        AWS keys stay here: pods are given the logins that we get for them.
        """
        errand = carry(
            recipe,
            RemoteBuildSpec,
            build_id=recipe.build_id,
            context=await self._source(recipe.context) if recipe.context else None,
            files={name: await self._source(path) for name, path in recipe.files.items()},
            sif=recipe.sif,
            principal=PUBLIC,  # the pod has auth files of its own
            push_principal=PUBLIC,
        )
        pulls, pushes = await self._credentials.lent(recipe)
        told = {"errand.json": msgspec.json.encode(errand), "pull.json": pulls, "push.json": pushes}
        return told | _proxy_files(self._settings)

    async def _source(self, path: Path) -> Source:
        digest = await asyncio.to_thread(digest_of_file, path)
        if (url := self._link(digest)) is None:
            raise BuildFailure(Reason.ENGINE, "Pods have no way to what builds are made of.")
        return Source(url, digest)

    async def _begin(self, recipe: Recipe, files: dict[str, bytes]) -> None:
        """Have the Job of *recipe* and its Secret: new ones, or those that a builder has left behind."""
        owner = await self._unless_there(job(recipe.build_id, recipe.platform, self._settings))
        if owner is None:
            log.info("job found again", build_id=recipe.build_id)
            owner = await self._job(job_name(recipe.build_id))
            if owner is None or (owner.metadata and owner.metadata.deletionTimestamp):
                raise Unavailable("the Job of an earlier attempt is being removed")
        await self._unless_there(secret(owner, files))

    async def _unless_there(self, wanted: Made) -> Made | None:
        """Make *wanted*; None when there is one of its name."""
        try:
            return await self._client.create(wanted)
        except ApiError as error:
            if error.status.code == 409:
                return None
            raise

    async def _begun(self, name: str) -> str:
        """The name of the Job's pod, once its container runs or has run.

        Raises:
            BuildFailure: it cannot, or not within the patience that there is.
        """
        why, give_up = "it has not made a pod", datetime.now(UTC) + self._settings.kubernetes_patience
        while datetime.now(UTC) < give_up:
            with _asking():
                found = [pod async for pod in self._client.list(Pod, labels={"batch.kubernetes.io/job-name": name})]
            for pod in found:
                if pods.is_taken_away(pod):
                    continue
                if pods.has_begun(pod):
                    return pods.name_of(pod)
                why = pods.waiting_for(pod)
            with _asking():
                pods.check(await self._job(name))
            await asyncio.sleep(POLL_SECONDS)
        raise BuildFailure(Reason.ENGINE, f"The cluster has not begun the build: {why}.")

    async def _follow(self, name: str, write_line: WriteLine) -> Pod | None:
        """Tell every line of the pod once, until it has ended, however often the stream of lines breaks; the pod as it
        ended, None if it is there no more."""
        last: Timestamp | None = None
        give_up: datetime | None = None
        while (pod := await self._pod(name)) is not None:
            ended = pods.has_ended(pod)
            try:
                async with _client(self._settings) as client:  # of its own: leaving a stream early closes it only so
                    async for line in _lines(client, name, last):
                        stamp, _, text = line.partition(" ")
                        if last is None or parse_timestamp(stamp) > last:
                            last = parse_timestamp(stamp)
                            await write_line(text.encode())
            except (ApiError, httpx2.HTTPError) as error:
                log.warning("log of a pod broken off", pod=name, error=repr(error))
                give_up = (give_up or datetime.now(UTC) + LAST_LINES) if ended else None
                ended = give_up is not None and datetime.now(UTC) > give_up
                if ended:
                    await write_line(b"(the last lines of this build cannot be had from the cluster)")
            if ended:
                return pod
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def _pod(self, name: str) -> Pod | None:
        """The pod as it is now; a cluster that does not serve us for a while is asked again."""
        give_up = datetime.now(UTC) + OUTAGE
        while True:
            try:
                with _asking():
                    return await _found(self._client.get(Pod, name))
            except Unavailable:
                if datetime.now(UTC) > give_up:
                    raise
            await asyncio.sleep(POLL_SECONDS)

    async def _job(self, name: str) -> Job | None:
        return await _found(self._client.get(Job, name))

    async def _remove(self, name: str) -> None:
        """Remove the Job with all that belongs to it; to the end, even when we are cancelled meanwhile."""
        removing = asyncio.ensure_future(self._delete(name))
        try:
            await asyncio.shield(removing)
        except asyncio.CancelledError:
            await asyncio.wait([removing])
            raise

    async def _delete(self, name: str) -> None:
        try:
            with _asking():
                async with asyncio.timeout(GONE_WITHIN.total_seconds()):
                    while await self._is_there(name):  # noqa: ASYNC110 (it is there in a cluster)
                        await asyncio.sleep(POLL_SECONDS)
        except (BuildFailure, Unavailable) as error:
            log.warning("job not removed from the cluster", name=name, error=str(error))

    async def _is_there(self, name: str) -> bool:
        """Whether the Job is there still, when asked to go with all its pods."""
        try:
            await self._client.delete(Job, name, grace_period=5, cascade=CascadeType.FOREGROUND)
        except ApiError as error:
            if error.status.code == 404:
                return False
            raise
        return True


@asynccontextmanager
async def _client(settings: KubernetesSettings) -> AsyncIterator[AsyncClient]:
    timeout = httpx2.Timeout(ANSWER_SECONDS)
    try:
        client = AsyncClient(_cluster(settings), settings.kubernetes_namespace, timeout, trust_env=False)
    except (ConfigError, OSError) as error:
        raise Unavailable(f"the cluster is not known: {error}") from error
    try:
        yield client
    finally:
        await client.close()


async def _found(asked: Awaitable[There]) -> There | None:
    """What is *asked* for; None when it is not there."""
    try:
        return await asked
    except ApiError as error:
        if error.status.code == 404:
            return None
        raise


async def _lines(client: AsyncClient, pod: str, last: Timestamp | None) -> AsyncIterator[str]:
    """The lines of *pod* as they come, each with its timestamp; not many of those that came before *last*.

    They end, too, when none has come for a while: of a connection that is lost silently there would never be a word.
    """
    since = last.seconds_ago(datetime.now(UTC)) + 1 if last else None
    lines = aiter(client.log(pod, container=CONTAINER, follow=True, timestamps=True, since=since, newlines=False))
    try:
        while True:
            async with asyncio.timeout(SILENCE.total_seconds()):
                line = await anext(lines)
            yield line
    except (StopAsyncIteration, TimeoutError):
        return
    except RuntimeError as error:  # lightkube 1.0 breaks while it reads why a stream was refused
        raise httpx2.ReadError("the cluster refuses the lines") from error


def _cluster(settings: KubernetesSettings) -> SingleConfig | KubeConfig:
    if settings.kubernetes_config_file:
        return KubeConfig.from_file(settings.kubernetes_config_file)
    return KubeConfig.from_service_account()


def _proxy_files(settings: KubernetesSettings) -> dict[str, bytes]:
    try:
        return proxy_files(settings)
    except OSError as error:
        raise BuildFailure(Reason.ENGINE, f"The certificates of SWELL_CA_FILE cannot be read: {error}.") from error


@contextmanager
def _asking() -> Iterator[None]:
    """Turn what goes wrong between us and the cluster's API into whose turn it is."""
    try:
        yield
    except ApiError as error:
        code = error.status.code or 500
        if code >= 500 or code in {409, 429} or (code == 403 and _QUOTA in (error.status.message or "")):
            raise Unavailable(f"the cluster does not serve us just now: {error.status.message}") from error
        raise BuildFailure(Reason.ENGINE, f"The cluster refuses: {error.status.message}.") from error
    except (httpx2.HTTPError, TimeoutError) as error:
        raise Unavailable(f"the cluster does not answer: {error!r}") from error


prepare()  # this module and lightkube's are imported after the start
