"""Auth files for engines, made of the operator's: AWS keys, which engines do not support, are exchanged for logins."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import msgspec

from builder.domain.base_images import base_images, references
from builder.domain.credentials import (
    entries_of,
    is_known,
    may_be_named,
    only_allowed,
    only_named,
    with_entries,
    with_repository,
)
from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from builder.settings import EngineSettings
from swell.errors import SwellError
from swell.oci.reference import Reference, parse_reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.aws import AwsLogins, is_exchanged
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import PUBLIC, Principal
from swell.store.records import Reason

SCHEME = "oras://"
NO_CREDENTIALS = b'{"auths": {}}'


class AuthFiles:
    """Reads the operator's files for each build, because the operator may change them at any time.

    A build gets the credentials that its principal may use: for pulls, the shared ones and those of its base images;
    for pushes, those of its target and its cache. AWS keys for registries that the recipe does not name are left out.
    Without *aws*, keys are not exchanged. All methods raise `BuildFailure` if a file is invalid, or if AWS refuses a
    login to a registry that the recipe names.
    """

    def __init__(
        self,
        settings: EngineSettings,
        aws: AwsLogins | None = None,
        lasting: timedelta | None = None,
        registry: RegistryClient | None = None,
    ) -> None:
        """Logins last for *lasting*, by default the time limit of builds, as far as AWS allows.

        *registry*, a client without the operator's credentials, finds out which base images are public, and looks up
        the credentials of users; without it, no image is public, and users have none.
        """
        self._registry = registry
        self._rules = settings.credential_rules
        self._settings = settings
        self._aws = aws
        self._lasting = lasting or settings.build_timeout

    async def pulls(self, recipe: Recipe) -> bytes:
        """Return the auth file for the base images of *recipe*."""
        content, images, users = (
            _read(self._settings.pull_auth_file),
            list[Reference](),
            dict[str, Credentials | None](),
        )
        for image in _named(recipe):
            if login := await self._user_login(image, recipe.principal, Reason.BASE_IMAGE):
                users[image.name] = login
                continue
            with _as_build_failure():
                known = is_known(content, image)
            if known and (self._rules.may_read(recipe.principal, image) or await self._is_public(image)):
                images.append(image)
        with _as_build_failure():
            allowed = with_entries(only_allowed(content, self._rules, recipe.principal, images), users)
        return await self._exchanged(allowed, _text_of(recipe), Reason.BASE_IMAGE)

    async def reads_public_only(self, recipe: Recipe) -> bool:
        """Return whether every client may read each base image of *recipe*: it is shared, public, or needs no login."""
        content = _read(self._settings.pull_auth_file)
        for image in _named(recipe):
            with _as_build_failure():
                known = is_known(content, image)
            known = known or bool(await self._user_login(image, recipe.principal, Reason.BASE_IMAGE))
            if known and not (self._rules.may_read(PUBLIC, image) or await self._is_public(image)):
                return False
        return True

    async def may_mount(self, recipe: Recipe, image: Reference) -> bool:
        """Return whether the build of *recipe* may take layers from the repository of *image* without reading them.

        The credentials for pushes open more repositories than the build may read. The repositories of this server have
        images of many clients, who may not read each other's.
        """
        if self._rules.is_own(image):
            return False
        if await self._user_login(image, recipe.principal, Reason.BASE_IMAGE):
            return True
        with _as_build_failure():
            known = is_known(_read(self._settings.pull_auth_file), image)
        return (known and self._rules.may_read(recipe.principal, image)) or await self._is_public(image)

    async def pushes(self, recipe: Recipe) -> bytes:
        """Return the auth file for pushing the image of *recipe*."""
        pushes = await self._for_repository(NO_CREDENTIALS, recipe.push_principal, recipe.target_image)
        return await self._exchanged(pushes, recipe.target_image, Reason.PUSH)

    async def for_remote_build(self, recipe: Recipe) -> tuple[bytes, bytes]:
        """Return the auth files for pulls and for pushes of a remote build, with only the entries that it needs.

        If AWS refuses a login to the registry of the cache, the build continues without the cache.
        """
        target, cache = recipe.target_image, recipe.cache_repository or ""
        pulls, pushes = await self.pulls(recipe), NO_CREDENTIALS
        for repository in filter(None, (cache, target)):
            pushes = await self._for_repository(pushes, recipe.push_principal, repository)
        with suppress(BuildFailure):
            pushes = await self._exchanged(pushes, f"{target} {cache}", Reason.PUSH)
        pushes = await self._exchanged(pushes, target, Reason.PUSH)
        with _as_build_failure():
            return only_named(pulls, _text_of(recipe)), only_named(pushes, f"{target} {cache}")

    async def with_cache(self, pulls: bytes, cache: str, principal: Principal) -> bytes:
        """Return *pulls* with the credentials that *principal* may use for the repository *cache*."""
        return await self._exchanged(await self._for_repository(pulls, principal, cache), cache, Reason.PUSH)

    async def _for_repository(self, content: bytes, principal: Principal, repository: str) -> bytes:
        """Return *content* with the credentials for pushing to *repository*, if *principal* may use them."""
        reference = parse_reference(repository.removeprefix(SCHEME))
        if login := await self._user_login(reference, principal, Reason.PUSH):
            with _as_build_failure():
                return with_entries(content, {reference.name: login})
        if not self._rules.may_push(principal, reference):
            return content
        with _as_build_failure():
            return with_repository(content, _read(self._settings.push_auth_file), reference.name)

    async def _user_login(self, image: Reference, principal: Principal, reason: Reason) -> Credentials | None:
        """Return the credentials that the users and workspaces in *principal* have for *image*."""
        if self._registry is None:
            return None
        try:
            return await self._registry.user_credentials(image, principal)
        except SwellError as error:
            raise BuildFailure(reason, f"The credentials for {image.name} cannot be used: {error}.") from error

    async def _is_public(self, image: Reference) -> bool:
        """Whether *image* can be read without credentials; False if its registry does not respond in time."""
        if self._registry is None:
            return False
        try:
            async with asyncio.timeout(self._settings.answer_timeout.total_seconds()):
                return await self._registry.is_publicly_readable(image)
        except (TimeoutError, SwellError):
            return False

    async def _exchanged(self, content: bytes, text: str, reason: Reason) -> bytes:
        if self._aws is None:
            return content
        with _as_build_failure():
            entries = entries_of(content)
        logins = {
            key: await self._login(self._aws, registry, keys, reason) if may_be_named(registry, text) else None
            for key, (registry, keys) in entries.items()
            if is_exchanged(registry, keys)
        }
        return with_entries(content, logins) if logins else content

    async def _login(self, aws: AwsLogins, registry: str, keys: Credentials, reason: Reason) -> Credentials:
        try:
            async with asyncio.timeout(self._settings.answer_timeout.total_seconds()):
                return await aws.login(registry, keys, self._lasting)
        except (TimeoutError, SwellError) as error:
            why = str(error) or "AWS does not respond in time"
            raise BuildFailure(
                reason, f"The builder's credentials for {registry} cannot be exchanged for a login: {why}."
            ) from error


def _text_of(recipe: Recipe) -> str:
    """All text in which *recipe* may name a registry."""
    return "\n".join((recipe.containerfile, *recipe.options.build_args.values()))


def _named(recipe: Recipe) -> list[Reference]:
    """Return the base images with valid references; the engine reports the others."""
    return references(base_images(recipe.containerfile, recipe.platform, options=recipe.options))


@contextmanager
def _as_build_failure() -> Iterator[None]:
    try:
        yield
    except msgspec.MsgspecError as error:
        raise BuildFailure(Reason.ENGINE, "The builder's auth file is invalid.") from error


def _read(auth_file: Path | None) -> bytes:
    try:
        return auth_file.read_bytes() if auth_file else NO_CREDENTIALS
    except OSError as error:
        raise BuildFailure(Reason.ENGINE, f"The builder's credentials cannot be read: {error.strerror}.") from error
