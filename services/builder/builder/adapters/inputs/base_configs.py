"""Configs of base images, read with the credentials that a build has."""

from collections.abc import Mapping
from contextlib import suppress

import aiohttp

from builder.adapters.inputs.auth_files import AuthFiles
from builder.engine import Recipe
from builder.settings import EngineSettings
from swell.errors import SwellError
from swell.oci.platform import parse_platform
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import parse_auth_file
from swell.registry.images import fetch_image


class RegistryConfigs:
    def __init__(self, session: aiohttp.ClientSession, settings: EngineSettings, credentials: AuthFiles) -> None:
        self._session = session
        self._insecure = frozenset(settings.insecure_registries)
        self._credentials = credentials

    async def config(self, image: Reference, recipe: Recipe) -> Mapping[str, object] | None:
        """See `Configs.config`. The credentials are those of the principal of *recipe* only."""
        keyring = parse_auth_file(await self._credentials.pulls(recipe), lambda *_: True)
        client = RegistryClient(self._session, keyring, self._insecure).acting_for(recipe.principal)
        with suppress(SwellError, TimeoutError):
            return (await fetch_image(client, image, parse_platform(recipe.platform))).config.fields
        return None
