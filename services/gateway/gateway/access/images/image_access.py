"""Authorization: which images a principal may read, and to which repositories it may push.

The operator's credentials need a scope of the caller's API key.
Reasons: `docs/decisions/0003-credential-principals.md`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from cachetools import TTLCache
from msgspec import Struct

from gateway.access.images.image_errors import ImageRefused, image_missing, image_refused
from gateway.access.images.origins import (
    MAX_IMAGES,
    Blob,
    Input,
    Origins,
    has_files_of_client,
    inputs_of_record,
    latest_build,
    name_of,
)
from gateway.domain.access.identity import Identity, Reader
from gateway.domain.policy import ClientRules, Policy, PolicyFile
from gateway.domain.repositories import Repositories
from swell.errors import (
    BadRequest,
    BlobUnknown,
    Denied,
    ManifestUnknown,
    ScopeRequired,
    SwellError,
    TooManyRequests,
    Unavailable,
    UpstreamFailed,
)
from swell.naming.image_name import ORAS
from swell.oci.digest import Digest
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import (
    Principal,
    limited_to,
    opens,
    opens_everything,
    rules_of,
)
from swell.store.builds import Builds
from swell.store.records import Submission

FRESH_SECONDS, STALE_SECONDS = 300.0, 86_400.0  # a stale result counts while the registry is unavailable
CACHE_SIZE = 50_000  # results
MAX_DEPTH = 8  # of own images that are built from own images
_CONCURRENCY = 8


class Registry(Protocol):
    async def resolve(self, image: Reference, principal: Principal) -> Digest: ...

    async def resolve_blob(self, blob: Reference, principal: Principal) -> Digest:
        """Check that the repository of *blob* has the blob with this digest; raises `BlobUnknown`."""


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


class ImageAccess:
    """Checks images against their registries; positive results are cached for five minutes, per principal.

    An image of an own repository is read by those who may read all inputs of its build: base images, included images,
    and blobs of other repositories. If it has files that were in the request or at a URL, only the client whose build
    it was reads it, with its organisation: to know a digest is no proof of having the content. Its results are cached
    for each reader.
    """

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
        self._readable: TTLCache[tuple[Reader | Principal, Input], float] = TTLCache(CACHE_SIZE, STALE_SECONDS, now)

    def rules_for(self, identity: Identity) -> ClientRules:
        """The rules of the policy for *identity*."""
        return self._policies.current().rules_for(identity)

    @property
    def policy(self) -> str:
        """The revision of the policy that requests are checked against."""
        return self._policies.current().revision

    def is_own(self, image: Reference) -> bool:
        """Whether *image* is in a repository of this server."""
        return self._rules.is_own(image)

    async def push_principal(self, principal: Principal, *names: str | None) -> Principal:
        """Return *principal*, limited to the repositories *names*, for a push.

        Raises:
            ScopeRequired: *principal* may not push there, and its users and workspaces have no credentials for it.
            Denied, Unavailable: see `swell.registry.credentials.user_credentials.Find`.
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

    async def pull_principal(self, reader: Reader, image: Reference) -> Principal:
        """As `pull_principal_for_all`, for one image."""
        return await self.pull_principal_for_all(reader, [image])

    async def pull_principal_for_all(self, reader: Reader, images: Iterable[Reference]) -> Principal:
        """Return the principal that reads *images*: that of *reader*, with access to own repositories if it is allowed.

        The principal opens whole repositories, so each image is checked with the rights that *reader* has without it.

        Raises:
            ScopeRequired: an image is in an own repository, and *reader* may not read what it was built from.
        """
        own = [image for image in images if self._rules.is_own(image) and not opens(reader.principal, image)]
        for image in own:
            await self._check_own(reader, image, MAX_DEPTH)
        return limited_to((image.name for image in own), reader.principal)

    async def check_recipe(self, reader: Reader, inputs: Callable[[], Sequence[Input]]) -> AccessCheck:
        """As `check`, for the result of *inputs*; if it raises `BadRequest`, only the operator has access."""
        try:
            named = inputs()
        except BadRequest as error:
            return AccessCheck(reader.principal, None if opens_everything(reader.principal) else error)
        return await self.check(reader, named)

    async def check(self, reader: Reader, inputs: Iterable[Input]) -> AccessCheck:
        """Check whether *reader* may read all of *inputs*, the base images of a recipe and the blobs that it adds."""
        named = list(dict.fromkeys(inputs))
        images = [each for each in named if isinstance(each, Reference)]
        if len(images) > MAX_IMAGES:
            return AccessCheck(
                reader.principal, ImageRefused(f"the recipe names {len(images)} images; the limit is {MAX_IMAGES}")
            )
        return await self._checked(reader, self._check_all(reader, named, MAX_DEPTH), images)

    async def check_build(self, reader: Reader, submission: Submission) -> AccessCheck:
        """Check whether *reader* may read the image of the build *submission*, which may be in any repository."""
        target = parse_reference(submission.target_image.removeprefix(ORAS))
        if opens(reader.principal, target):
            return AccessCheck(reader.principal)
        return await self._checked(reader, self._check_inputs(reader, submission, "the image", MAX_DEPTH), ())

    async def _checked(self, reader: Reader, checking: Awaitable[None], images: Iterable[Reference]) -> AccessCheck:
        try:
            await checking
            return AccessCheck(await self.pull_principal_for_all(reader, images))
        except (BadRequest, ScopeRequired, TooManyRequests, UpstreamFailed, Unavailable) as error:
            return AccessCheck(reader.principal, error)

    async def _check_all(self, reader: Reader, inputs: Iterable[Input], depth: int) -> None:
        slots = asyncio.Semaphore(_CONCURRENCY)

        async def check(each: Input) -> None:
            async with slots:
                await self._check(reader, each, depth)

        pending = [each for each in inputs if not self._is_cached(reader, each, FRESH_SECONDS)]
        if len(pending) == 1:
            await self._check(reader, pending[0], depth)
        elif pending:
            results = await asyncio.gather(*map(check, pending), return_exceptions=True)
            errors = [result for result in results if isinstance(result, BaseException)]
            for error in sorted(errors, key=lambda error: not isinstance(error, ImageRefused | ScopeRequired)):
                raise error  # permanent errors first

    def _key(self, reader: Reader, each: Input) -> tuple[Reader | Principal, Input]:
        is_own = isinstance(each, Reference) and self._rules.is_own(each)
        return reader if is_own else reader.principal, each

    def _is_cached(self, reader: Reader, each: Input, seconds: float) -> bool:
        checked = self._readable.get(self._key(reader, each))
        return checked is not None and self._now() - checked <= seconds

    async def _check(self, reader: Reader, each: Input, depth: int) -> None:
        """Check that *reader* may read *each*.

        Raises:
            BadRequest: it may not, or the image does not exist.
            UpstreamFailed, TooManyRequests: the registry is unavailable, and the cache has no result.
        """
        key = self._key(reader, each)
        try:
            await self._ask(reader, each, depth)
        except (UpstreamFailed, TooManyRequests):
            if not self._is_cached(reader, each, STALE_SECONDS):
                raise
        except ScopeRequired:
            self._readable.pop(key, None)
            raise
        except Denied as error:
            self._readable.pop(key, None)
            raise image_refused(name_of(each), error) from error
        except (ManifestUnknown, BlobUnknown) as error:
            self._readable.pop(key, None)
            raise image_missing(name_of(each), error) from error
        else:
            self._readable[key] = self._now()

    async def _ask(self, reader: Reader, each: Input, depth: int) -> None:
        """Let the registry or the record of the build decide."""
        image = name_of(each)
        if isinstance(each, Blob):
            await self._registry.resolve_blob(image, reader.principal)
        elif self._rules.is_own(image) and not opens(reader.principal, image):
            await self._check_own(reader, image, depth)
        else:
            await self._registry.resolve(image, reader.principal)

    async def _check_own(self, reader: Reader, image: Reference, depth: int) -> None:
        """Check *image* of an own repository: the registry allows it, or *reader* may read the inputs of its build."""
        if self._is_cached(reader, image, FRESH_SECONDS):
            return
        try:
            await self._registry.resolve(image, reader.principal)
        except (Denied, ManifestUnknown, UpstreamFailed):
            await self._check_record(reader, image, depth)
        self._readable[self._key(reader, image)] = self._now()

    async def _check_record(self, reader: Reader, image: Reference, depth: int) -> None:
        build = await latest_build(self._builds, image)
        if build is None or build.submission.mirror or depth == 0:
            raise ScopeRequired(
                f"{image} is in a repository of this server, which has no record of its base images: it needs an "
                "API key with the scope operator-pull, which the operator issues"
            )
        await self._check_inputs(reader, build.submission, str(image), depth)

    async def _check_inputs(self, reader: Reader, submission: Submission, image: str, depth: int) -> None:
        """Check that *reader* may read all that the build *submission* of *image* was made from.

        Raises:
            ScopeRequired: it may not.
            UpstreamFailed, TooManyRequests: as `_check`.
        """
        if submission.options.build_secrets:
            raise ScopeRequired(
                f"{image} was built with secrets, so it may contain what they open: to read it by its name needs an "
                "API key with the scope operator-pull, which the operator issues"
            )
        if has_files_of_client(submission) and reader.clients.isdisjoint((submission.client, submission.tenant)):
            raise ScopeRequired(
                f"{image} contains files of the client that built it: send the same request with these files again, or "
                "use an API key with the scope operator-pull, which the operator issues"
            )
        try:
            await self._check_all(reader, inputs_of_record(submission), depth - 1)
        except BadRequest as error:
            raise ScopeRequired(f"{image} was built from an image that you may not read: {error}") from error
