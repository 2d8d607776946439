"""Revoke tokens by user, organisation, image or build."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from gateway.access.revoke import Revocations
from gateway.domain.grant import Grant
from swell.api.operator import RevocationAnswer, RevocationRequest
from swell.errors import BadRequest, NotFound, SwellError
from swell.log import log
from swell.oci.reference import parse_reference
from swell.registry.credentials.principal import is_below, parse_scope

MAX_REVOKED = 1000  # in one request; a batch is always finished
MAX_SECONDS = 5.0
_AT_ONCE = 32


class Grants(Protocol):
    async def scan(self, cursor: str) -> tuple[Sequence[Grant], str | None]:
        """Return some grants and the cursor of the next ones; the first cursor is `0`. Raises `Unavailable`.

        A grant that exists during the whole iteration is returned at least once.
        """


class TokenRevocations:
    def __init__(self, grants: Grants, revocations: Revocations, clock: Callable[[], float] = time.monotonic) -> None:
        self._grants = grants
        self._revocations = revocations
        self._clock = clock

    async def revoke(self, request: RevocationRequest, operator: str) -> RevocationAnswer:
        """Revoke the tokens that match *request*, until about 1,000 are revoked or 5 s have passed.

        Tokens that are issued meanwhile may stay: block the user or the image first.

        Raises:
            BadRequest: nothing limits the request, or the image is malformed.
            Unavailable: the store does not answer; some tokens may be revoked.
        """
        matches, until = matcher(request), self._clock() + MAX_SECONDS
        cursor: str | None = request.cursor or "0"
        examined = revoked = 0
        while cursor is not None and revoked < MAX_REVOKED and self._clock() < until:
            grants, cursor = await self._grants.scan(cursor)
            examined += len(grants)
            matching = [grant.token for grant in grants if matches(grant)]
            revoked += len(matching) if request.dry_run else await self._revoke_all(matching, operator)
        if not request.dry_run:
            log.info(
                "tokens revoked",
                count=revoked,
                user=request.user,
                organisation=request.organisation,
                image=request.image,
                build_id=request.build_id,
                by=operator,
            )
        return RevocationAnswer(examined=examined, revoked=revoked, next=cursor)

    async def _revoke_all(self, tokens: Sequence[str], operator: str) -> int:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def revoke(token: str) -> bool:
            async with slots:
                with suppress(NotFound):  # it has expired, or was revoked
                    await self._revocations.revoke(token, operator)
                    return True
                return False

        return sum(await asyncio.gather(*map(revoke, tokens)))


def matcher(request: RevocationRequest) -> Callable[[Grant], bool]:
    """The condition that *request* names; raises `BadRequest`."""
    if request.image is None and request.user is None and request.organisation is None and request.build_id is None:
        raise BadRequest("user, organisation, image or buildId is required")
    if "" in {request.user, request.organisation, request.build_id}:
        raise BadRequest("user, organisation and buildId are not empty")
    of_image = image_matcher(request.image) if request.image is not None else None

    def matches(grant: Grant) -> bool:
        return (
            request.user in {None, grant.user}
            and request.organisation in {None, grant.organisation}
            and request.build_id in {None, grant.build_id}
            and (of_image is None or of_image(grant))
        )

    return matches


def image_matcher(image: str) -> Callable[[Grant], bool]:
    """Whether a grant is for *image*: one with a tag or a digest, or all below `registry` or `registry/path`."""
    last = image.rpartition("/")[2]
    if "/" in image and (":" in last or "@" in last):
        reference = parse_reference(image)

        def is_same(grant: Grant) -> bool:
            with suppress(SwellError):
                return parse_reference(grant.image) == reference
            return False

        return is_same
    scope = parse_scope(image)

    def is_inside(grant: Grant) -> bool:
        with suppress(SwellError):
            return is_below(parse_reference(grant.image), (scope,))
        return False

    return is_inside
