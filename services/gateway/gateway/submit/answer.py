"""The answers to a container request in both versions of the API, and the stored record of the request.

Source: Wave's public API, https://docs.seqera.io/wave/api
"""

import re
from datetime import UTC, datetime

import msgspec

from gateway.domain.grant import Grant, pull_name
from gateway.submit.request import BuildRequest
from gateway.submit.rules.layers import DATA_SCHEME
from swell.api.containers import (
    BuildPart,
    ContainerAnswer,
    ContainerConfig,
    ContainerRecord,
    ContainerRequest,
    ImagePart,
    RequestPart,
    TokenDescription,
)
from swell.naming.image_name import ORAS
from swell.oci.reference import Reference

OMITTED = f"{DATA_SCHEME}DATA+OMITTED"
DEFAULT_ENDPOINT = "https://api.cloud.seqera.io"  # Wave's; its records always have an endpoint

_RENAMED_ENDPOINTS = {
    "/api.tower.nf": "/api.cloud.seqera.io",
    "/api.stage-tower.net": "/api.cloud.stage-seqera.io",
}
_FUSION_HOME = "https://fusionfs.seqera.io/"
_FUSION = re.compile(r"/v(\d+(?:\.\w+)*)-\w+\.json|/pkg/(\d+(?:/\w+)*)/fusion-\w+\.tar\.gz")


def container_answer(
    authority: str,
    build: BuildRequest,
    image: Reference,
    grant: Grant,
    *,
    cached: bool | None,
    succeeded: bool | None,
    warnings: tuple[str, ...] = (),
) -> ContainerAnswer:
    """The answer of `/v1alpha2/container`. Frozen and mirrored images need no token.

    With a scan, clients read from the status whether the request succeeded.
    """
    scheme = ORAS if build.sif else ""
    return ContainerAnswer(
        request_id=grant.token,
        container_token=None if build.is_durable else grant.token,
        target_image=f"{scheme}{image}" if build.is_durable else pull_name(authority, grant, image),
        expiration=None if build.is_durable else grant.expires,
        container_image=f"{scheme}{image}",
        build_id=grant.build_id,
        cached=cached if grant.build_id else None,
        freeze=build.freeze,
        mirror=build.mirror is not None,
        succeeded=None if grant.scan_id else succeeded,
        scan_id=grant.scan_id,
        warnings=warnings,
        container_file=build.containerfile if build.dry_run else None,
    )


def legacy_answer(answer: ContainerAnswer, grant: Grant) -> ContainerAnswer:
    """The answer of `/container-token`: always a token with its expiration, and a build only if it is new."""
    return ContainerAnswer(
        request_id=answer.request_id,
        container_token=answer.request_id,
        target_image=answer.target_image,
        expiration=grant.expires,
        container_image=answer.container_image,
        build_id=None if answer.cached or answer.succeeded else answer.build_id,
        warnings=answer.warnings,
    )


def container_record(
    authority: str, request: ContainerRequest, build: BuildRequest, image: Reference, grant: Grant, *, new: bool
) -> ContainerRecord:
    """The stored record of *request*, without its credentials."""
    timestamp, zone = parse_timestamp(request.timestamp, grant.created)
    return ContainerRecord(
        id=grant.token,
        workspace_id=request.tower_workspace_id,
        container_image=request.container_image,
        container_file=build.containerfile,
        container_config=_recorded(build.container_config),
        conda_file=build.environment,
        platform=build.platform_names,
        tower_endpoint=_endpoint(request.tower_endpoint or DEFAULT_ENDPOINT),
        build_repository=request.build_repository,
        cache_repository=request.cache_repository,
        fingerprint=request.fingerprint,
        timestamp=timestamp,
        zone_id=zone,
        source_image=f"{ORAS if build.sif else ''}{image}",
        wave_image=None if build.is_durable else pull_name(authority, grant, image),
        expiration=grant.expires,
        build_id=grant.build_id,
        build_new=new if grant.build_id else None,
        freeze=build.freeze if grant.build_id else None,
        fusion_version=fusion_version(build.container_config),
        mirror=build.mirror is not None,
        scan_id=grant.scan_id,
    )


def fusion_version(config: ContainerConfig | None) -> str | None:
    """The version of Fusion in *config*, from the URL of its first layer from Fusion's site."""
    layers = (config.layers or ()) if config else ()
    location = next((layer.location for layer in layers if layer.location.startswith(_FUSION_HOME)), "")
    match = _FUSION.search(location)
    return (match[1] or match[2]).replace("/", ".") if match else None


def _endpoint(address: str) -> str:
    """Return *address* of the Platform with its current host name."""
    for old, new in _RENAMED_ENDPOINTS.items():
        address = address.replace(old, new)
    return address


def token_description(record: ContainerRecord) -> TokenDescription:
    """The answer of `GET /container-token/{token}`."""
    parts = msgspec.structs.asdict(record)

    def part(kind: type[msgspec.Struct]) -> dict[str, object]:
        return {name: parts[name] for name in kind.__struct_fields__}

    is_build = record.container_file is not None
    return TokenDescription(
        token=record.id,
        expiration=record.expiration,
        request=RequestPart(**part(RequestPart)),  # type: ignore[arg-type]
        build=BuildPart(**part(BuildPart)) if is_build else BuildPart(),  # type: ignore[arg-type]
        source=ImagePart(record.source_image, record.source_digest),
        wave=ImagePart(record.wave_image, record.wave_digest),
    )


def parse_timestamp(text: str | None, now: datetime) -> tuple[datetime, str]:
    """The client's timestamp in UTC and its offset (`Z`, `+01:00`); *now* if *text* cannot be parsed."""
    try:
        moment = datetime.fromisoformat(_to_microseconds(text or ""))
        if moment.tzinfo is None:
            return now, "Z"
        return moment.astimezone(UTC), str(moment.tzinfo).removeprefix("UTC") or "Z"
    except (ValueError, OverflowError):  # the first and last days of the calendar can overflow in UTC
        return now, "Z"


def _to_microseconds(text: str) -> str:
    """Return *text* with at most six digits of a second, Python's precision; Java writes nine."""
    whole, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return f"{whole}{dot}{digits[:6]}{rest[len(digits) :]}"


def _recorded(config: ContainerConfig | None) -> ContainerConfig | None:
    """Return *config* for a record: without inline data, and without empty members."""
    if config is None or config.is_empty:
        return None
    layers = [msgspec.structs.replace(layer, location=layer.location or OMITTED) for layer in config.layers or ()]
    return ContainerConfig(
        entrypoint=config.entrypoint or None,
        cmd=config.cmd or None,
        env=config.env or None,
        working_dir=config.working_dir or None,
        layers=tuple(layers) or None,
    )
