"""Access: which images a caller may read, and where it may push.

The operator's credentials are no caller's own. `docs/decisions/0003-credential-principals.md` has the rules.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from cachetools import TTLCache
from msgspec import Struct

from gateway.domain.base_images import images_of
from gateway.domain.repositories import ORAS, Repositories
from swell.errors import (
    BadRequest,
    Denied,
    ManifestUnknown,
    ScopeRequired,
    SwellError,
    TooManyRequests,
    Unavailable,
    UpstreamFailed,
)
from swell.oci.digest import Digest
from swell.oci.platform import parse_platform
from swell.oci.reference import Reference, parse_reference
from swell.registry.principal import OPERATOR, Principal, limited_to, opens, rules_of
from swell.store.builds import Builds
from swell.store.records import Submission

REMEMBERED, STALE = 300.0, 86_400.0  # seconds; an old answer counts while the registry does not answer
MOST_REMEMBERED = 50_000
MOST_IMAGES = 100  # of one recipe
DEPTH = 8  # of images of ours that are made of images of ours
_AT_ONCE = 8

_HINT = (
    "without an API key with the scope operator-pull, this server reads only images that anybody may read and those of "
    "the registries in SWELL_SHARED_REGISTRIES; its operator can change both"
)


class Registry(Protocol):
    async def resolve(self, image: Reference, principal: Principal) -> Digest: ...


class AccessCheck(Struct, frozen=True):
    """Who reads the images of a recipe, when all can be read; else what is in the way of that."""

    principal: Principal
    problem: SwellError | None = None

    def unless_refused(self) -> "AccessCheck":
        """Itself; raises the problem if another attempt would meet it again."""
        if isinstance(self.problem, ImageRefused | ScopeRequired):
            raise self.problem
        return self

    def must_be_readable(self) -> None:
        """Raise the problem: there is a result, and it is given only to callers who may read what it is made of."""
        if self.problem:
            raise self.problem


class ImageRefused(BadRequest):
    """The caller may not read an image, or it does not exist."""


class ImageAccess:
    """Answers that allow something are remembered for five minutes, for each principal."""

    def __init__(
        self, places: Repositories, registry: Registry, builds: Builds, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._places = places
        self._rules = rules_of((places.build, places.cache, places.public), ())
        self._registry = registry
        self._builds = builds
        self._now = now
        self._readable: TTLCache[tuple[Principal, Reference], float] = TTLCache(MOST_REMEMBERED, STALE, now)

    def pushing(self, principal: Principal, *names: str | None) -> Principal:
        """*principal* limited to the repositories *names*, for a push.

        Raises:
            ScopeRequired: *principal* may not push there.
        """
        repositories = [parse_reference(each) for each in names if each and "/" in each]
        for repository in repositories:
            if not self._rules.may_push(principal, repository):
                raise ScopeRequired(
                    f"this server does not push to {repository.name} for you: for a repository that is not its own, it "
                    "needs an API key with the scope operator-push, which its operator gives out"
                )
        return limited_to((each.name for each in repositories), principal)

    async def reading(self, principal: Principal, image: Reference) -> Principal:
        """Who reads *image*: *principal*, who may read the repository if it is ours and *image* may be read.

        Raises:
            ScopeRequired: it is in a repository of ours, and *principal* may not read what it was made of.
        """
        if not self._rules.is_own(image) or opens(principal, image):
            return principal
        await self._check_own(principal, image, DEPTH)
        return limited_to([image.name], principal)

    async def of_all(self, principal: Principal, images: Iterable[Reference]) -> Principal:
        """As `reading`, of several images."""
        for image in images:
            principal = await self.reading(principal, image)
        return principal

    async def check_recipe(self, principal: Principal, images: Callable[[], list[Reference]]) -> AccessCheck:
        """As `check`, of what *images* finds in a recipe; where it finds none, only the operator may read them."""
        try:
            named = images()
        except BadRequest as error:
            return AccessCheck(principal, None if principal == OPERATOR else error)
        return await self.check(principal, named)

    async def check(self, principal: Principal, images: Iterable[Reference]) -> AccessCheck:
        """Whether *principal* may read all of *images*, the base images of a recipe."""
        named = list(dict.fromkeys(images))
        if len(named) > MOST_IMAGES:
            return AccessCheck(
                principal, ImageRefused(f"the recipe names {len(named)} images; at most {MOST_IMAGES} can be")
            )
        try:
            await self._check_all(principal, named, DEPTH)
            return AccessCheck(await self.of_all(principal, named))
        except (BadRequest, ScopeRequired, TooManyRequests, UpstreamFailed, Unavailable) as error:
            return AccessCheck(principal, error)

    async def _check_all(self, principal: Principal, images: Iterable[Reference], depth: int) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def check(image: Reference) -> None:
            async with slots:
                await self._check(principal, image, depth)

        pending = [image for image in images if not self._is_remembered(principal, image, REMEMBERED)]
        if len(pending) == 1:
            await self._check(principal, pending[0], depth)
        elif pending:
            results = await asyncio.gather(*map(check, pending), return_exceptions=True)
            errors = [each for each in results if isinstance(each, BaseException)]
            for error in sorted(errors, key=lambda each: not isinstance(each, ImageRefused | ScopeRequired)):
                raise error  # a refusal first: what is in trouble may pass

    def _is_remembered(self, principal: Principal, image: Reference, seconds: float) -> bool:
        seen = self._readable.get((principal, image))
        return seen is not None and self._now() - seen <= seconds

    async def _check(self, principal: Principal, image: Reference, depth: int) -> None:
        """See that *principal* may read *image*.

        Raises:
            BadRequest: it may not, or there is no such image.
            UpstreamFailed, TooManyRequests: the registry does not say, nor has it lately.
        """
        try:
            if self._rules.is_own(image) and not opens(principal, image):
                await self._check_own(principal, image, depth)
            else:
                await self._registry.resolve(image, principal)
        except (UpstreamFailed, TooManyRequests):
            if not self._is_remembered(principal, image, STALE):
                raise
        except Denied as error:
            self._readable.pop((principal, image), None)
            raise refused(image, error) from error
        except ManifestUnknown as error:
            self._readable.pop((principal, image), None)
            raise BadRequest(f"container image {image} does not exist or cannot be accessed: {error}") from error
        else:
            self._readable[principal, image] = self._now()

    async def _check_own(self, principal: Principal, image: Reference, depth: int) -> None:
        """See that *principal* may read *image* of a repository of ours: anybody may, or what it was made of."""
        if self._is_remembered(principal, image, REMEMBERED):
            return
        try:
            await self._registry.resolve(image, principal)
        except (Denied, ManifestUnknown, UpstreamFailed):
            await self._check_record(principal, image, depth)
        self._readable[principal, image] = self._now()

    async def _check_record(self, principal: Principal, image: Reference, depth: int) -> None:
        build = await self._builds.latest(str(image)) or await self._builds.latest(f"{ORAS}{image}")
        if build is None or depth == 0:
            raise ScopeRequired(
                f"{image} is in a repository of this server, which has no record of what it was made of: it needs an "
                "API key with the scope operator-pull, which its operator gives out"
            )
        try:
            await self._check_all(principal, images_of_record(build.submission), depth - 1)
        except BadRequest as error:
            raise ScopeRequired(f"{image} was made of an image that you may not read: {error}") from error


def refused(image: Reference, why: SwellError) -> ImageRefused:
    """The answer to a caller who may not read *image*."""
    return ImageRefused(f"container image {image} does not exist or cannot be accessed: {why}; {_HINT}")


def images_of_record(submission: Submission) -> list[Reference]:
    """The images that a build was made of."""
    base = submission.packages.base_image if submission.packages else None
    platforms = map(parse_platform, submission.platform.split(","))
    return images_of(
        submission.containerfile,
        platforms,
        sif=submission.sif,
        base=base,
        included=submission.included,
        options=submission.options,
    )
