"""The credentials for the object store: keys of the operator, or those that AWS gives to a machine or a pod.

Source: AWS, "Standardized credential providers",
https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import urllib3

from swell.errors import Unavailable
from swell.imports import emptied
from swell.log import log
from swell.settings import SettingsInvalid
from swell.store.connections.settings import S3Settings

with emptied("minio.crypto", "decrypt", "encrypt"):  # as in `s3_objects`
    from minio.credentials.credentials import Credentials
    from minio.credentials.providers import (
        AWSConfigProvider,
        ChainedProvider,
        EnvAWSProvider,
        IamAwsProvider,
        Provider,
        StaticProvider,
    )

EARLY = timedelta(minutes=5)
"""How long before the end of credentials new ones are fetched: AWS has them at least so early."""
_AGAIN, _LONGEST = 10.0, 3600.0  # seconds: after a failure; between two looks at credentials that do not end


class Renewed(Provider):
    """Credentials that end. `retrieve` returns the last ones without waiting, so it may be called in the event loop."""

    def __init__(self, source: Callable[[], Provider]) -> None:
        self._source = source
        self._current: Credentials | None = None

    def retrieve(self) -> Credentials:
        if self._current is None:
            raise ValueError("no credentials for the object store yet")
        return self._current

    def fetch(self) -> None:
        """Fetch credentials from a new source, which has cached none; blocks for some seconds at most.

        Raises:
            Unavailable: no source has any.
        """
        try:
            self._current = self._source().retrieve()
        except (ValueError, KeyError, OSError, urllib3.exceptions.HTTPError) as error:
            raise Unavailable(
                "there are no credentials for the object store: set SWELL_S3_ACCESS_KEY and SWELL_S3_SECRET_KEY, or "
                f"give this machine, pod or container a role of AWS ({error})"
            ) from error

    @property
    def seconds(self) -> float:
        """How long the credentials need not be fetched again; negative if they should have been."""
        ends = self._current.expiration if self._current else None
        if ends is None:
            return _LONGEST
        return min((ends.replace(tzinfo=UTC) - EARLY - datetime.now(UTC)).total_seconds(), _LONGEST)

    async def keep_fresh(self) -> None:
        """Fetch credentials before the current ones end, until cancelled."""
        while True:
            await asyncio.sleep(max(self.seconds, _AGAIN))
            try:
                await asyncio.to_thread(self.fetch)
            except Unavailable as error:
                log.warning("credentials of the object store not renewed", error=str(error))


def credentials_of(settings: S3Settings) -> Provider:
    """Return the operator's keys, or a `Renewed` chain if there are none.

    Raises:
        SettingsInvalid: only one of the two keys is set.
    """
    if settings.access_key and settings.secret_key:
        return StaticProvider(settings.access_key, settings.secret_key)
    if settings.access_key or settings.secret_key:
        raise SettingsInvalid("set SWELL_S3_ACCESS_KEY and SWELL_S3_SECRET_KEY, or none of them")
    return Renewed(lambda: _chain(settings.region))


def _chain(region: str) -> Provider:
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=1, read=5),
        retries=urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
    )
    return ChainedProvider([EnvAWSProvider(), AWSConfigProvider(), IamAwsProvider(http_client=pool, region=region)])
