"""Validate a container request and decode its texts, once: the rules are in the order in which Wave applies them.

Source: Wave's public API, "Submit a container request", https://docs.seqera.io/wave/api
"""

from gateway.domain.repositories import Repositories
from gateway.submit.request import BuildRequest
from gateway.submit.rules.layers import InlineLayers, validate_config, validate_layer
from gateway.submit.rules.mirror import check_mirror, mirror_target
from gateway.submit.rules.options import build_options, check_compression
from gateway.submit.rules.repositories import (
    cache_repository_of,
    check_freeze,
    check_repositories,
    repository_of,
    requested_repository,
)
from gateway.submit.rules.sizes import check_sizes
from gateway.submit.rules.texts import Texts, decode_texts
from swell.api.containers import ContainerRequest
from swell.errors import BadRequest
from swell.naming.image_name import effective_strategy, tools_of
from swell.naming.platforms import parse_platforms
from swell.oci.reference import Reference, parse_reference
from swell.recipes.direct import TEMPLATE
from swell.recipes.members import member_errors

MAX_INCLUDES = 10


def validate(
    request: ContainerRequest,
    repositories: Repositories,
    *,
    legacy: bool = False,
    default_channels: tuple[str, ...] = (),
) -> BuildRequest:
    """Return the build request for *request*; *legacy* selects the rules of `/container-token`.

    *default_channels* are what the Conda channel `defaults` stands for.

    Raises:
        BadRequest, TooLarge, DigestInvalid: a member is invalid, or excludes another one; the message names it.
        NotSupported: this server does not implement the operation.
    """
    check_sizes(request)
    image = parse_reference(request.container_image) if request.container_image else None
    check_repositories(request)
    check_mirror(request, image, legacy=legacy)
    if request.mirror and image:
        return _mirror_request(request, image, repositories)
    _check_sources(request, legacy=legacy)
    check_freeze(request, repositories)
    texts = decode_texts(request, default_channels)
    platforms = parse_platforms(request)
    _check_combinations(request, image, texts)
    inline = InlineLayers()
    return BuildRequest(
        platforms=platforms,
        image=image,
        containerfile=texts.containerfile,
        environment=texts.environment,
        tools=tools_of(texts.environment) if texts.environment else (),
        template=texts.template,
        direct=texts.direct,
        base_packages=texts.base_packages,
        container_config=validate_config(request.container_config, inline),
        context=validate_layer("buildContext", request.build_context, inline) if request.build_context else None,
        includes=tuple(map(_parse_include, request.container_includes or ())),
        repository=repository_of(request, repositories),
        cache_repository=cache_repository_of(request, repositories),
        strategy=effective_strategy(
            request.name_strategy, requested_repository(request, repositories), repositories.public
        ),
        compression=request.build_compression,
        options=build_options(request, image, texts),
        sif=request.format == "sif",
        freeze=request.freeze,
        dry_run=request.dry_run,
        scan_mode=request.scan_mode,
        scan_levels=tuple(level.value for level in request.scan_levels or ()),
        rebuild=request.rebuild,
        blobs=inline.blobs,
    )


def _mirror_request(request: ContainerRequest, image: Reference, repositories: Repositories) -> BuildRequest:
    """All platforms are copied; that of the request is scanned."""
    return BuildRequest(
        platforms=parse_platforms(request),
        image=image,
        repository=request.build_repository or "",
        mirror=mirror_target(image, request.build_repository or "", repositories).target,
        dry_run=request.dry_run,
        scan_mode=request.scan_mode,
        scan_levels=tuple(level.value for level in request.scan_levels or ()),
        blobs={},
    )


def _check_sources(request: ContainerRequest, *, legacy: bool) -> None:
    if request.container_file and request.packages:
        raise BadRequest("containerFile and packages exclude each other")
    if legacy:
        if request.packages:
            raise BadRequest("packages needs /v1alpha2/container")
        if request.name_strategy:
            raise BadRequest("nameStrategy needs /v1alpha2/container")
    elif request.conda_file:
        raise BadRequest("condaFile is for /container-token only; use packages.environment")


def _check_combinations(request: ContainerRequest, image: Reference | None, texts: Texts) -> None:
    if bool(image) == bool(texts.containerfile):
        raise BadRequest("give either containerImage or containerFile or packages, exactly one of them")
    if request.build_context and not texts.containerfile:
        raise BadRequest("buildContext needs a containerFile; leave it out for a containerImage")
    if request.build_context and texts.direct:
        raise BadRequest(f"buildContext is not used by {TEMPLATE}; leave it out")
    if request.format == "sif" and not request.freeze:
        raise BadRequest("format sif needs freeze")
    if request.rebuild and image and not request.freeze:
        raise BadRequest("rebuild needs a build: leave it out for a containerImage without freeze")
    check_compression(request.build_compression)
    if len(request.container_includes or ()) > MAX_INCLUDES:
        raise BadRequest(f"containerIncludes names more than {MAX_INCLUDES} images")


def _parse_include(name: str) -> Reference:
    with member_errors("containerIncludes"):
        return parse_reference(name)
