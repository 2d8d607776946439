"""What is kept of a build: everything that decides what it makes, under the names that it has."""

from collections.abc import Iterator
from datetime import datetime

from gateway.domain.definition import translate
from gateway.domain.identity import Caller, line_of
from gateway.domain.repositories import ORAS
from gateway.submit.build_id import container_id
from gateway.submit.naming import image_name
from gateway.submit.request import BuildRequest
from swell.api.containers import BuildOptions, ContainerLayer, NameStrategy
from swell.containerfile import parse
from swell.oci.digest import Digest, parse_digest
from swell.oci.reference import Reference, parse_reference
from swell.store.records import Submission


def submission(
    wanted: BuildRequest, caller: Caller, created: datetime, *, beside: Submission | None = None
) -> Submission:
    """What is to be built, as it is kept; the image of one platform of several goes *beside* that of all.

    Raises:
        BadRequest: a SIF file cannot be made of it.
    """
    config = wanted.container_config if wanted.freeze else None
    name = container_id(
        containerfile=wanted.containerfile or "",
        conda_file=wanted.environment,
        platform=wanted.platform_names,
        repository=wanted.repository,
        context=wanted.context,
        config=config,
        options=wanted.options,
        compression=wanted.compression if wanted.containerfile and not wanted.direct else None,
    )
    if wanted.sif:
        translate(wanted.containerfile or "")  # refuses what cannot be built
    target_image = image_name(
        beside.target_image.rpartition(":")[0] if beside else wanted.repository,
        name,
        strategy=NameStrategy.TAG_PREFIX if beside else wanted.strategy,
        sif=wanted.sif,
        tools=wanted.tools,
    )
    return Submission(
        container_id=name,
        target_image=target_image,
        containerfile=wanted.containerfile or "",
        platform=wanted.platform_names,
        context=next(_digests(wanted.context), None),
        environment=wanted.environment,
        layers=tuple(_digests(*(config.layers or ()))) if config else (),
        cache_repository=wanted.cache_repository,
        compression=wanted.compression,
        options=wanted.options or BuildOptions(),
        organisation=caller.identity.organisation,
        sif=wanted.sif,
        template=wanted.template,
        client=line_of(caller),
        principal=caller.principal,
        push_principal=caller.push_principal,
        included=tuple(map(str, wanted.included)),
        created=created,
    )


def has_steps(wanted: BuildRequest) -> bool:
    """Whether building *wanted* runs anything on a machine of its platform: files can be put together anywhere."""
    if wanted.direct or not wanted.containerfile:
        return False
    return parse(translate(wanted.containerfile).containerfile if wanted.sif else wanted.containerfile).runs_steps


def image_of(made: Submission) -> Reference:
    return parse_reference(made.target_image.removeprefix(ORAS))


def _digests(*layers: ContainerLayer | None) -> Iterator[Digest]:
    for layer in layers:
        if layer and layer.gzip_digest:
            yield parse_digest(layer.gzip_digest)
