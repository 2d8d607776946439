"""The API of the cluster: its client, the log of a pod, and errors as failures of a build."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import httpx2
from lightkube import AsyncClient
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from builder.domain.failure import BuildFailure
from builder.kubernetes.manifests import CONTAINER
from builder.kubernetes.timestamps import Timestamp
from builder.settings import KubernetesSettings
from swell.errors import Unavailable
from swell.log import log, warn_once_a_second
from swell.store.records import Reason

RESPONSE_SECONDS = 30
SILENCE = timedelta(minutes=1)
_QUOTA = "exceeded quota"  # in the message of a 403 that is temporary; others are permanent

Fetched = TypeVar("Fetched", Job, Pod)


@asynccontextmanager
async def open_client(settings: KubernetesSettings) -> AsyncIterator[AsyncClient]:
    timeout = httpx2.Timeout(RESPONSE_SECONDS)
    try:
        client = AsyncClient(_cluster(settings), settings.kubernetes_namespace, timeout, trust_env=False)
    except (ConfigError, OSError) as error:
        raise Unavailable(f"the configuration of the cluster cannot be read: {error}") from error
    try:
        yield client
    finally:
        await client.close()


async def get_or_none(request: Awaitable[Fetched]) -> Fetched | None:
    """Return the result of *request*; None for status 404."""
    try:
        return await request
    except ApiError as error:
        if error.status.code == 404:
            return None
        raise


async def read_lines(client: AsyncClient, pod: str, last: Timestamp | None) -> AsyncIterator[str]:
    """Yield the lines of *pod*, each with its timestamp, from about *last* on.

    The stream ends after `SILENCE` without a line, because a connection that is lost silently sends no error.
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
    except RuntimeError as error:  # lightkube 1.0 fails while it reads the body of an error
        raise httpx2.ReadError("the cluster refuses the log") from error


def _cluster(settings: KubernetesSettings) -> SingleConfig | KubeConfig:
    if settings.kubernetes_config_file:
        return KubeConfig.from_file(settings.kubernetes_config_file)
    return KubeConfig.from_service_account()


@contextmanager
def as_failure() -> Iterator[None]:
    """Raise errors of the cluster's API as `Unavailable` (try again) or `BuildFailure` (the operator has to fix it)."""
    try:
        yield
    except ApiError as error:
        code = error.status.code or 500
        if code >= 500 or code in {409, 429} or (code == 403 and _QUOTA in (error.status.message or "")):
            raise Unavailable(f"the cluster is unavailable: {error.status.message}") from error
        log.error("request refused by the cluster", error=error.status.message, code=code)
        raise BuildFailure(
            Reason.ENGINE, f"The cluster refuses a request of the builder, with status {code}."
        ) from error
    except (httpx2.HTTPError, TimeoutError) as error:
        warn_once_a_second("cluster failed", error=repr(error))
        raise Unavailable("the cluster does not respond") from error
