"""Authorization: which images a principal may read, and to which repositories it may push.

The operator's credentials need a scope of the caller's API key.
Reasons: `docs/decisions/0003-credential-principals.md`.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from cachetools import TTLCache
from msgspec import Struct

from gateway.access.origins import MAX_IMAGES, Origins, images_of_record, latest_build
from gateway.domain.identity import Identity
from gateway.domain.policy import ClientRules, Policy, PolicyFile
from gateway.domain.repositories import Repositories
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
from swell.oci.reference import Reference, parse_reference
from swell.registry.principal import Principal, limited_to, opens, opens_everything, rules_of
from swell.store.builds import Builds

FRESH_SECONDS, STALE_SECONDS = 300.0, 86_400.0  # a stale result counts while the registry is unavailable
CACHE_SIZE = 50_000  # results
MAX_DEPTH = 8  # of own images that are built from own images
_CONCURRENCY = 8

_HINT = (
    "without an API key with the scope operator-pull, this server reads only public images and those of the registries "
    "in SWELL_SHARED_REGISTRIES; its operator can change both"
)


class Registry(Protocol):
    async def resolve(self, image: Reference, principal: Principal) -> Digest: ...


class UsersKeyring(Protocol):
    async def load(self, reference: Reference, principal: Principal) -> object | None:
        """Return the credentials of the users and workspaces in *principal* for *reference*."""


class Policies(Protocol):
    def current(self) -> Policy:
        """The policy that the operator has set now."""


class NoPolicies:
    """A server without a policy."""

    _policy = Policy(PolicyFile())

    def current(self) -> Policy:
        return self._policy


class AccessCheck(Struct, frozen=True):
    """The result of a check: the principal that reads the images of a recipe, or the problem with one of them."""

    principal: Principal
    problem: SwellError | None = None

    def raise_if_refused(self) -> None:
        """Raise the problem if it is permanent; a temporary one may be over when the build runs."""
        if isinstance(self.problem, ImageRefused | ScopeRequired):
            raise self.problem

    @property
    def is_unknown(self) -> bool:
        """Whether a registry is unavailable, so that the check has no result yet."""
        return isinstance(self.problem, UpstreamFailed | TooManyRequests | Unavailable)

    def raise_problem(self) -> None:
        """Raise any problem: an existing result is only for callers who may read its base images."""
        if self.problem:
            raise self.problem


class ImageRefused(BadRequest):
    """The image does not exist, or the caller may not read it."""


class ImageAccess:
    """Checks images against their registries; positive results are cached for five minutes, per principal."""

    def __init__(
        self,
        repositories: Repositories,
        registry: Registry,
        builds: Builds,
        now: Callable[[], float] = time.monotonic,
        users: UsersKeyring | None = None,
        policies: Policies | None = None,
    ) -> None:
        self._users = users
        self._policies = policies or NoPolicies()
        self._rules = rules_of((repositories.build, repositories.cache, repositories.public), ())
        self._registry = registry
        self._builds = builds
        self.origins = Origins(builds, self.is_own)
        self._now = now
        self._readable: TTLCache[tuple[Principal, Reference], float] = TTLCache(CACHE_SIZE, STALE_SECONDS, now)

    def rules_for(self, identity: Identity) -> ClientRules:
        """The rules of the policy for *identity*."""
        return self._policies.current().rules_for(identity)

    def is_own(self, image: Reference) -> bool:
        """Whether *image* is in a repository of this server."""
        return self._rules.is_own(image)

    async def push_principal(self, principal: Principal, *names: str | None) -> Principal:
        """Return *principal*, limited to the repositories *names*, for a push.

        Raises:
            ScopeRequired: *principal* may not push there, and its users and workspaces have no credentials for it.
            Denied, Unavailable: see `swell.registry.user_credentials.Find`.
        """
        opened = list[Reference]()
        for repository in (parse_reference(name) for name in names if name and "/" in name):
            if self._rules.may_push(principal, repository):
                opened.append(repository)
            elif not (self._users and await self._users.load(repository, principal)):
                raise ScopeRequired(
                    f"this server may not push to {repository.name} for you: a repository that is not its own needs "
                    "credentials of your workspace, or an API key with the scope operator-push, which the operator "
                    "issues"
                )
        return limited_to((repository.name for repository in opened), principal)

    async def pull_principal(self, principal: Principal, image: Reference) -> Principal:
        """Return the principal that reads *image*: *principal*, with access to an own repository if that is allowed.

        Raises:
            ScopeRequired: the image is in an own repository, and *principal* may not read its base images.
        """
        if not self._rules.is_own(image) or opens(principal, image):
            return principal
        await self._check_own(principal, image, MAX_DEPTH)
        return limited_to([image.name], principal)

    async def pull_principal_for_all(self, principal: Principal, images: Iterable[Reference]) -> Principal:
        """As `pull_principal`, for several images."""
        for image in images:
            principal = await self.pull_principal(principal, image)
        return principal

    async def check_recipe(self, principal: Principal, images: Callable[[], list[Reference]]) -> AccessCheck:
        """As `check`, for the result of *images*; if it raises `BadRequest`, only the operator has access."""
        try:
            named = images()
        except BadRequest as error:
            return AccessCheck(principal, None if opens_everything(principal) else error)
        return await self.check(principal, named)

    async def check(self, principal: Principal, images: Iterable[Reference]) -> AccessCheck:
        """Check whether *principal* may read all of *images*, the base images of a recipe."""
        named = list(dict.fromkeys(images))
        if len(named) > MAX_IMAGES:
            return AccessCheck(
                principal, ImageRefused(f"the recipe names {len(named)} images; the limit is {MAX_IMAGES}")
            )
        try:
            await self._check_all(principal, named, MAX_DEPTH)
            return AccessCheck(await self.pull_principal_for_all(principal, named))
        except (BadRequest, ScopeRequired, TooManyRequests, UpstreamFailed, Unavailable) as error:
            return AccessCheck(principal, error)

    async def _check_all(self, principal: Principal, images: Iterable[Reference], depth: int) -> None:
        slots = asyncio.Semaphore(_CONCURRENCY)

        async def check(image: Reference) -> None:
            async with slots:
                await self._check(principal, image, depth)

        pending = [image for image in images if not self._is_cached(principal, image, FRESH_SECONDS)]
        if len(pending) == 1:
            await self._check(principal, pending[0], depth)
        elif pending:
            results = await asyncio.gather(*map(check, pending), return_exceptions=True)
            errors = [result for result in results if isinstance(result, BaseException)]
            for error in sorted(errors, key=lambda error: not isinstance(error, ImageRefused | ScopeRequired)):
                raise error  # permanent errors first

    def _is_cached(self, principal: Principal, image: Reference, seconds: float) -> bool:
        checked = self._readable.get((principal, image))
        return checked is not None and self._now() - checked <= seconds

    async def _check(self, principal: Principal, image: Reference, depth: int) -> None:
        """Check that *principal* may read *image*.

        Raises:
            BadRequest: it may not, or the image does not exist.
            UpstreamFailed, TooManyRequests: the registry is unavailable, and the cache has no result.
        """
        try:
            if self._rules.is_own(image) and not opens(principal, image):
                await self._check_own(principal, image, depth)
            else:
                await self._registry.resolve(image, principal)
        except (UpstreamFailed, TooManyRequests):
            if not self._is_cached(principal, image, STALE_SECONDS):
                raise
        except ScopeRequired:
            self._readable.pop((principal, image), None)
            raise
        except Denied as error:
            self._readable.pop((principal, image), None)
            raise image_refused(image, error) from error
        except ManifestUnknown as error:
            self._readable.pop((principal, image), None)
            raise image_missing(image, error) from error
        else:
            self._readable[principal, image] = self._now()

    async def _check_own(self, principal: Principal, image: Reference, depth: int) -> None:
        """Check *image* of an own repository: the registry allows it, or *principal* may read its base images."""
        if self._is_cached(principal, image, FRESH_SECONDS):
            return
        try:
            await self._registry.resolve(image, principal)
        except (Denied, ManifestUnknown, UpstreamFailed):
            await self._check_record(principal, image, depth)
        self._readable[principal, image] = self._now()

    async def _check_record(self, principal: Principal, image: Reference, depth: int) -> None:
        build = await latest_build(self._builds, image)
        if build is None or depth == 0:
            raise ScopeRequired(
                f"{image} is in a repository of this server, which has no record of its base images: it needs an "
                "API key with the scope operator-pull, which the operator issues"
            )
        if build.submission.options.build_secrets:
            raise ScopeRequired(
                f"{image} was built with secrets, so it may contain what they open: to read it by its name needs an "
                "API key with the scope operator-pull, which the operator issues"
            )
        try:
            await self._check_all(principal, images_of_record(build.submission), depth - 1)
        except BadRequest as error:
            raise ScopeRequired(f"{image} was built from an image that you may not read: {error}") from error


@contextmanager
def reading(image: Reference, member: str = "") -> Iterator[None]:
    """Raise the errors of reading *image*, which the request names in *member*, as errors of the request.

    Raises:
        BadRequest: the image is missing, or the caller may not read it.
        UpstreamFailed: the registry does not respond; the class stays.
    """
    try:
        yield
    except ManifestUnknown as error:
        raise image_missing(image, error, member) from error
    except Denied as error:
        raise image_refused(image, error, member) from error
    except UpstreamFailed as error:
        message = f"{_prefix(member)}container image {image} cannot be read: {error}"
        raise type(error)(message, retry_after=error.retry_after) from error


def image_missing(image: Reference, reason: SwellError, member: str = "") -> BadRequest:
    """The error for an *image* that its registry does not have."""
    return BadRequest(f"{_prefix(member)}container image {image} does not exist or cannot be accessed: {reason}")


def image_refused(image: Reference, reason: SwellError, member: str = "") -> ImageRefused:
    """The error for a caller who may not read *image*."""
    return ImageRefused(f"{image_missing(image, reason, member)}; {_HINT}")


def _prefix(member: str) -> str:
    return f"{member}: " if member else ""
