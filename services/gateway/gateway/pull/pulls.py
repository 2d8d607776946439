"""Pulls: from a token to the image's manifests and the locations of its blobs."""

from datetime import timedelta
from functools import partial
from typing import Protocol

from gateway.access.guess_limiter import GuessLimiter
from gateway.domain.grant import Grant, check_served, served_tag
from gateway.domain.location import Location
from gateway.domain.token import is_token
from gateway.pull.gates import NO_GATES, Gates
from swell.concurrency.retry import retry_until_available
from swell.errors import BuildFailed, ManifestUnknown, NameUnknown
from swell.observe.spans import follow
from swell.oci.digest import Digest, parse_digest
from swell.oci.document import Document
from swell.oci.referrers_tag import parse_referrers_tag
from swell.store.records import BuildResult

SHORT_OUTAGE = timedelta(seconds=30)  # how long a pull that has waited for its build waits for a backend as well


class Grants(Protocol):
    async def get(self, token: str) -> Grant | None: ...

    def is_cached(self, token: str) -> bool:
        """Whether *token* was valid when this process last used it."""


class BuildWaiter(Protocol):
    def is_known(self, build_id: str) -> bool:
        """Whether this process has read the result of *build_id* already."""

    async def result(self, build_id: str) -> BuildResult:
        """Wait until *build_id* has ended.

        Raises:
            Unavailable: the build takes longer than a pull may wait.
            BuildFailed: the record of the build has expired.
        """


class Images(Protocol):
    async def manifest(self, grant: Grant, reference: str) -> Document: ...

    async def locate(self, grant: Grant, digest: Digest) -> Location: ...

    async def referrers(self, grant: Grant, digest: Digest) -> bytes:
        """The image index of the referrers of *digest* that *grant* gives access to; it may be empty."""


class Limits(Protocol):
    async def take_pull(self, user: str, address: str) -> None:
        """Count a manifest for *user*, or for *address* when *user* is empty.

        Raises:
            TooManyRequests: the quota is used up.
        """


class Pulls:
    """Serves the image of a token. A token gives access to one image, under one name.

    Unknown tokens count as guesses of the client's address, which gets `TooManyRequests` after too many. Without
    *anonymous_access* the tokens of anonymous requests are refused, also the ones issued before. *gates* check what may
    have changed since the request.
    """

    def __init__(
        self,
        grants: Grants,
        builds: BuildWaiter,
        images: Images,
        limits: Limits,
        server_url: str,
        guess_limiter: GuessLimiter | None = None,
        *,
        anonymous_access: bool = True,
        gates: Gates = NO_GATES,
    ) -> None:
        self._gates = gates
        self._guess_limiter = guess_limiter or GuessLimiter()
        self._anonymous_access = anonymous_access
        self._grants = grants
        self._builds = builds
        self._images = images
        self._limits = limits
        self._server_url = server_url

    async def manifest(
        self, token: str, name: str, reference: str, address: str, *, counted: bool
    ) -> tuple[Grant, Document]:
        """The manifest or index under *reference*, and the grant of *token*.

        *reference* is the granted tag or digest, a digest that the granted image refers to, or a tag of referrers.
        If *counted*, the pull counts against the limit of the user or of the client's *address*.

        Raises:
            DigestInvalid: *reference* is a malformed digest.
            ManifestUnknown: the token gives no access to *reference*.
        """
        grant, has_waited = await self._grant(token, name, address)
        if ":" in reference:
            parse_digest(reference)
        elif reference != served_tag(grant) and not parse_referrers_tag(reference):
            raise ManifestUnknown(f"the token opens {grant.image}, not the tag {reference[:128]}")
        if counted:
            await self._limits.take_pull(grant.user, address)
        manifest = partial(self._images.manifest, grant, reference)
        return grant, await (retry_until_available(manifest, SHORT_OUTAGE) if has_waited else manifest())

    async def blob(self, token: str, name: str, digest: Digest, address: str) -> tuple[Grant, Location]:
        """The location of *digest*, a config or layer of the granted image, and the grant of *token*."""
        grant, _ = await self._grant(token, name, address)
        return grant, await self._images.locate(grant, digest)

    async def tags(self, token: str, name: str, address: str) -> list[str]:
        """The granted tag; an empty list when an image without additions was granted by its digest."""
        grant, _ = await self._grant(token, name, address)
        tag = served_tag(grant)
        return [] if tag is None else [tag]

    async def referrers(self, token: str, name: str, digest: Digest, address: str) -> bytes:
        """The image index of the referrers of *digest* that can be pulled with the token."""
        grant, _ = await self._grant(token, name, address)
        return await self._images.referrers(grant, digest)

    async def _grant(self, token: str, name: str, address: str) -> tuple[Grant, bool]:
        """The grant of *token* for the repository *name*, once its build has succeeded.

        What may change while the grant is valid must keep `handlers.recent_pulls` from repeating the pull.

        The second value says whether the pull has waited for the build. Such a pull outlives a short outage of a
        backend: its client has waited, perhaps for minutes.

        Raises:
            NameUnknown: the token is unknown, or gives no access to an image of this name here.
            BuildFailed: the build failed.
            Denied, PolicyDenied, ScanDenied: see `Gates.check`.
            Unavailable: the build or the scan takes longer than a pull may wait.
            TooManyRequests: too many unknown tokens were tried from *address*.
        """
        grant = await self._find_grant(token, address)
        check_served(grant, name)
        if not (grant.user or self._anonymous_access):
            raise NameUnknown("the token belongs to an anonymous request, and this server serves known users only")
        has_waited = False
        if grant.build_id:
            has_waited = not self._builds.is_known(grant.build_id)
            if has_waited:
                follow(grant.traceparent)
            await self._wait_for_build(grant.build_id)
            get = partial(self._grants.get, token)  # again: it may have been revoked while the build ran
            if await (retry_until_available(get, SHORT_OUTAGE) if has_waited else get()) is None:
                raise NameUnknown
        await self._gates.check(grant)
        return grant, has_waited

    async def _find_grant(self, token: str, address: str) -> Grant:
        if not is_token(token):
            raise NameUnknown
        if not self._grants.is_cached(token):
            self._guess_limiter.check(address)
        if (grant := await self._grants.get(token)) is None:
            self._guess_limiter.count_miss(address, token)
            raise NameUnknown
        return grant

    async def _wait_for_build(self, build_id: str) -> None:
        result = await self._builds.result(build_id)
        if not result.succeeded:
            log_url = f"{self._server_url}/v1alpha1/builds/{build_id}/logs"
            raise BuildFailed(f"the build {build_id} failed: {result.message.rstrip('.')}; its log is at {log_url}")
