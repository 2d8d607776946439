"""The record of a build: its inputs, its container id and the name of its image."""

from collections.abc import Iterator
from datetime import datetime

from gateway.domain.access.identity import Caller, queue_of, tenant_of
from gateway.domain.definition import translate
from gateway.submit.request import BuildRequest
from gateway.submit.series import series_of
from swell.api.containers import BuildOptions, ContainerLayer, NameStrategy
from swell.log import traceparent
from swell.naming.build_id import BuildInputs
from swell.naming.image_name import ORAS, target_name
from swell.oci.digest import Digest, parse_digest
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import PUBLIC
from swell.store.records import Submission


def submission_of(
    request: BuildRequest, caller: Caller, created: datetime, *, parent: Submission | None = None
) -> Submission:
    """Return the record of the build for *request*; *parent* is the build of several platforms that it is part of.

    Raises:
        BadRequest: a definition file cannot be translated, or a text has a character that no recipe can have.
    """
    inputs = _inputs_of(request)
    if request.sif:
        translate(request.containerfile or "")  # raises BadRequest before the build is stored
    return Submission(
        container_id=inputs.container_id,
        fingerprint=inputs.fingerprint,
        target_image=_target_image(request, inputs.container_id, parent),
        containerfile=request.containerfile or "",
        platform=request.platform_names,
        context=next(_digests(request.context), None),
        environment=request.environment,
        layers=tuple(_digests(*(inputs.config.layers or ()))) if inputs.config else (),
        cache_repository=request.cache_repository,
        compression=request.compression,
        options=request.options or BuildOptions(),
        ignores_triggers=request.ignores_triggers,
        organisation=caller.identity.organisation,
        sif=request.sif,
        template=request.template,
        series=series_of(request, _target_image(request, inputs.container_id, parent), queue_of(caller)),
        base_packages=request.base_packages,
        client=queue_of(caller),
        tenant=tenant_of(caller),
        base_rules=caller.base_rules,
        principal=caller.principal,
        reads_public_only=caller.principal == PUBLIC,
        push_principal=caller.push_principal,
        included=tuple(map(str, request.included)),
        sources=request.sources,
        is_rebuild=request.rebuild,
        created=created,
        traceparent=traceparent(),
    )


def target_reference(submission: Submission) -> Reference:
    """The reference of the image that the build pushes, without `oras://`."""
    return parse_reference(submission.target_image.removeprefix(ORAS))


def _inputs_of(request: BuildRequest) -> BuildInputs:
    return BuildInputs(
        containerfile=request.containerfile or "",
        conda_file=request.environment,
        platform=request.platform_names,
        repository=request.repository,
        context=request.context,
        config=request.container_config if request.freeze else None,
        options=request.options,
        compression=request.compression if request.containerfile and not request.direct else None,
    )


def _target_image(request: BuildRequest, container_id: str, parent: Submission | None) -> str:
    """The name of the image; one platform of several is a tag beside its *parent*."""
    return target_name(
        parent.target_image.rpartition(":")[0] if parent else request.repository,
        container_id,
        strategy=NameStrategy.TAG_PREFIX if parent else request.strategy,
        sif=request.sif,
        tools=request.tools,
    )


def _digests(*layers: ContainerLayer | None) -> Iterator[Digest]:
    for layer in layers:
        if layer and layer.gzip_digest:
            yield parse_digest(layer.gzip_digest)
