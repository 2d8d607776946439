"""Where a build may push: its image and its layer cache, with the credentials for them."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import aiohttp

from builder.adapters.inputs.auth_files import AuthFiles
from builder.buildkit.build import CACHE, TARGET
from builder.buildkit.network.push_gateway import PushGateway, Repository
from builder.buildkit.provenance.attestation import Attestation
from builder.domain.failure import BuildFailure
from builder.engine import Recipe, WriteLine
from builder.settings import EngineSettings
from swell.errors import SwellError
from swell.oci.reference import Reference, parse_reference
from swell.registry.auth import Authorizations
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import parse_auth_file
from swell.store.records import Reason


async def push_gateway_for(
    recipe: Recipe,
    target: Reference,
    images: Sequence[str],
    *,
    credentials: AuthFiles,
    session: aiohttp.ClientSession,
    settings: EngineSettings,
    write_line: WriteLine,
    accepted: Authorizations | None = None,
) -> PushGateway:
    """Return the gateway that pushes the image of *recipe* to *target*, and its layer cache.

    Layers of the base *images* may be mounted. The log says it if the cache cannot be used. Registries have *accepted*
    some of the credentials before.

    Raises:
        BuildFailure: the credentials for *target* are missing or cannot be read.
    """
    repositories = {} if recipe.sif else {f"{TARGET}/{target.repository}": Repository(target)}
    keys, cache = await credentials.pushes(recipe), await _cache_of(recipe, write_line)
    if cache:
        try:
            keys = await credentials.with_cache(keys, cache.name, recipe.push_principal)
            repositories[f"{CACHE}/{cache.repository}"] = Repository(cache, is_cache=True)
        except BuildFailure as failure:
            if failure.reason is not Reason.PUSH:
                raise
            await write_line(f"(the cache {recipe.cache_repository} cannot be used: {failure})".encode())
    bases = list[Reference]()
    for image in images:
        with suppress(SwellError):
            bases.append(parse_reference(image))
    try:
        keyring = parse_auth_file(keys, lambda *_: True)  # it has only what the build may push with
    except SwellError as error:
        raise BuildFailure(Reason.ENGINE, "The builder's credentials are no auth file.") from error
    insecure = frozenset(settings.insecure_registries)
    client = RegistryClient(session, keyring, insecure, actions="pull,push", accepted=accepted)
    attestation, may_mount = None if recipe.sif else Attestation(), partial(credentials.may_mount, recipe)
    return PushGateway(client.acting_for(recipe.push_principal), repositories, bases, attestation, may_mount)


async def _cache_of(recipe: Recipe, write_line: WriteLine) -> Reference | None:
    """Return the repository of the layer cache; None if there is no cache or its name cannot be parsed."""
    if not recipe.cache_repository:
        return None
    try:
        return parse_reference(recipe.cache_repository)
    except SwellError as error:
        await write_line(f"(the cache {recipe.cache_repository} cannot be used: {error})".encode())
        return None
