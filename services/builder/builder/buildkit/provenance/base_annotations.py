"""Annotations of an image that say what it is made from: the request, and the base image."""

import asyncio
from contextlib import suppress

import aiohttp

from builder.domain.base_images import final_image
from builder.engine import Recipe
from builder.settings import EngineSettings
from swell.containerfile import BUILDKIT
from swell.errors import SwellError
from swell.net.outbound import follow
from swell.oci.digest import parse_digest
from swell.oci.media_types import ACCEPT
from swell.oci.reference import Reference, parse_reference
from swell.registry.auth import Authorizations
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import parse_auth_file
from swell.store.records import CONTAINER_ID, container_id_of

_TIMEOUT = 3.0  # seconds


async def base_annotations(
    recipe: Recipe,
    pulls: bytes,
    session: aiohttp.ClientSession,
    settings: EngineSettings,
    accepted: Authorizations | None = None,
) -> dict[str, str]:
    """Return the annotations for the image of *recipe*.

    They name the request, and the base image of the stage that is built, with its digest if the registry responds
    within 3 s. *pulls* is an auth file with the credentials that the build may use. Registries have *accepted* some of
    them before.
    Source: OCI image-spec, "Pre-Defined Annotation Keys",
    https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md#pre-defined-annotation-keys
    """
    annotations = {CONTAINER_ID: container_id_of(recipe.build_id)}
    with suppress(SwellError, TimeoutError):
        keyring, insecure = parse_auth_file(pulls, lambda *_: True), frozenset(settings.insecure_registries)
        client = RegistryClient(session, keyring, insecure, accepted=accepted).acting_for(recipe.principal)
        if image := final_image(recipe.containerfile, recipe.platform, BUILDKIT, recipe.options):
            reference = parse_reference(image)
            annotations["org.opencontainers.image.base.name"] = str(reference)
            if digest := reference.digest or await _current_digest(client, reference):
                annotations["org.opencontainers.image.base.digest"] = digest
    return annotations


async def _current_digest(client: RegistryClient, reference: Reference) -> str | None:
    """Return the digest that *reference* has now in its registry."""
    async with asyncio.timeout(_TIMEOUT):
        path = f"manifests/{reference.reference}"
        response = await client.ask(follow, "HEAD", reference, path, {"Accept": ACCEPT})
    response.release()
    digest = response.headers.get("Docker-Content-Digest", "")
    return parse_digest(digest) if response.status == 200 and digest else None
