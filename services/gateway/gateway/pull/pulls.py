"""Pulling through a token: what was granted, once it is built."""

from functools import lru_cache
from typing import Protocol

from msgspec import Struct

from gateway.access.guess_limiter import GuessLimiter
from gateway.domain.grant import Grant
from gateway.domain.token import is_token
from swell.errors import BuildFailed, ManifestUnknown, NameUnknown
from swell.oci.digest import Digest, parse_digest
from swell.oci.document import Document
from swell.oci.reference import Reference, parse_reference
from swell.store.records import BuildResult


class Location(Struct, frozen=True):
    """Where the bytes of a blob are, until `expires` (seconds since the epoch); `size` in bytes."""

    url: str
    size: int
    media_type: str
    expires: int


class Grants(Protocol):
    async def get(self, token: str) -> Grant | None: ...

    def remembers(self, token: str) -> bool:
        """Whether *token* opened something a while ago, as far as this process knows."""


class Ends(Protocol):
    async def result(self, build_id: str) -> BuildResult:
        """Wait until *build_id* has ended.

        Raises:
            Unavailable: it takes longer than a pull may wait.
            BuildFailed: nothing is known of it any more.
        """


class Images(Protocol):
    async def manifest(self, grant: Grant, reference: str) -> Document: ...

    async def locate(self, grant: Grant, digest: Digest) -> Location: ...

    async def referrers(self, grant: Grant, digest: Digest) -> bytes:
        """The image index of what refers to *digest* and can be had by *grant*; often an empty one."""


class Limits(Protocol):
    async def take_pull(self, user: str, address: str) -> None:
        """Count a manifest for *user*, or for *address* when *user* is empty.

        Raises:
            TooManyRequests: there are no more for now.
        """


class Pulls:
    """The questions of a pull. A token opens one image of one name, nothing else.

    Each is asked from an address; who asks for too many unknown tokens there has `TooManyRequests` raised. Without
    *anonymous_access* the tokens that were given to nobody in particular open nothing, those of before included.
    """

    def __init__(
        self,
        grants: Grants,
        ends: Ends,
        images: Images,
        limits: Limits,
        server_url: str,
        guesses: GuessLimiter | None = None,
        *,
        anonymous_access: bool = True,
    ) -> None:
        self._guesses = guesses or GuessLimiter()
        self._anonymous_access = anonymous_access
        self._grants = grants
        self._ends = ends
        self._images = images
        self._limits = limits
        self._server_url = server_url

    async def manifest(
        self, token: str, name: str, reference: str, address: str, *, counted: bool
    ) -> tuple[Grant, Document]:
        """The manifest or index under *reference*, the granted tag or digest or a digest that it leads to; and by which
        grant it was given. If *counted*, it counts against a limit, of the user's or of the *address* that pulls.

        Raises:
            DigestInvalid, ManifestUnknown: *reference* is no digest, or nothing that the token leads to.
        """
        grant = await self._opened(token, name, address)
        if ":" in reference:
            parse_digest(reference)
        elif reference != (image := image_of(grant.image)).tag:
            raise ManifestUnknown(f"the token opens {image}, not the tag {reference[:128]}")
        if counted:
            await self._limits.take_pull(grant.user, address)
        return grant, await self._images.manifest(grant, reference)

    async def blob(self, token: str, name: str, digest: Digest, address: str) -> Location:
        """Where *digest*, a config or layer of the granted image, can be had."""
        return await self._images.locate(await self._opened(token, name, address), digest)

    async def tags(self, token: str, name: str, address: str) -> list[str]:
        """The granted tag, and none where a digest was granted."""
        image = image_of((await self._opened(token, name, address)).image)
        return [] if image.tag is None else [image.tag]

    async def referrers(self, token: str, name: str, digest: Digest, address: str) -> bytes:
        """The image index of what refers to *digest* and can be pulled through the token."""
        return await self._images.referrers(await self._opened(token, name, address), digest)

    async def _known(self, token: str, address: str) -> Grant:
        if not is_token(token):
            raise NameUnknown
        if not self._grants.remembers(token):
            self._guesses.check(address)
        if (grant := await self._grants.get(token)) is None:
            self._guesses.missed(address, token)
            raise NameUnknown
        return grant

    async def _opened(self, token: str, name: str, address: str) -> Grant:
        grant = await self._known(token, address)
        if image_of(grant.image).repository != name:
            raise NameUnknown("the token was given for another image")
        if not (grant.user or self._anonymous_access):
            raise NameUnknown("the token was given to nobody in particular, and this server serves only whom it knows")
        if grant.is_durable:
            raise NameUnknown(f"this image is not served here: pull {grant.image} itself")
        if grant.is_dry:
            raise NameUnknown("the token was given for a dry run: there is no image behind it")
        if grant.build_id:
            await self._built(grant.build_id)
            if await self._grants.get(token) is None:  # taken away while its build ran
                raise NameUnknown
        return grant

    async def _built(self, build_id: str) -> None:
        result = await self._ends.result(build_id)
        if not result.succeeded:
            page = f"{self._server_url}/v1alpha1/builds/{build_id}/logs"
            raise BuildFailed(f"the build {build_id} failed: {result.message.rstrip('.')}; its log is at {page}")


@lru_cache(4096)
def image_of(name: str) -> Reference:
    """A granted image's name, taken apart once for all of its pulls."""
    return parse_reference(name)
