"""The answers to a container request, in the two forms that clients read, and the record that is kept of it."""

import re
from datetime import UTC, datetime

import msgspec

from gateway.domain.grant import Grant, image_name
from gateway.domain.repositories import ORAS
from gateway.submit.layers import DATA
from gateway.submit.request import BuildRequest
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
from swell.oci.reference import Reference

OMITTED = f"{DATA}DATA+OMITTED"
DEFAULT_ENDPOINT = "https://api.cloud.seqera.io"  # Wave's; its records always tell one

_OLD_ENDPOINTS = {
    "/api.tower.nf": "/api.cloud.seqera.io",
    "/api.stage-tower.net": "/api.cloud.stage-seqera.io",
}
_FUSION_HOME = "https://fusionfs.seqera.io/"
_FUSION = re.compile(r"/v(\d+(?:\.\w+)*)-\w+\.json|/pkg/(\d+(?:/\w+)*)/fusion-\w+\.tar\.gz")


def answer(
    authority: str, wanted: BuildRequest, image: Reference, grant: Grant, *, cached: bool | None, succeeded: bool | None
) -> ContainerAnswer:
    """The answer of `/v1alpha2/container`. What is frozen is pulled from where it is: it needs no token."""
    scheme = ORAS if wanted.sif else ""
    return ContainerAnswer(
        request_id=grant.token,
        container_token=None if wanted.freeze else grant.token,
        target_image=f"{scheme}{image}" if wanted.freeze else image_name(authority, grant.token, image),
        expiration=None if wanted.freeze else grant.expires,
        container_image=f"{scheme}{image}",
        build_id=grant.build_id,
        cached=cached if grant.build_id else None,
        freeze=wanted.freeze,
        mirror=False,
        succeeded=succeeded,
        container_file=wanted.containerfile if wanted.dry_run else None,
    )


def legacy_answer(made: ContainerAnswer, grant: Grant) -> ContainerAnswer:
    """The answer of `/container-token`: always a token and its end, and a build only when it is new."""
    return ContainerAnswer(
        request_id=made.request_id,
        container_token=made.request_id,
        target_image=made.target_image,
        expiration=grant.expires,
        container_image=made.container_image,
        build_id=None if made.cached or made.succeeded else made.build_id,
    )


def record(
    authority: str, request: ContainerRequest, wanted: BuildRequest, image: Reference, grant: Grant, *, new: bool
) -> ContainerRecord:
    """What is kept of *request*; never its keys."""
    asked, zone = moment(request.timestamp, grant.created)
    return ContainerRecord(
        id=grant.token,
        workspace_id=request.tower_workspace_id,
        container_image=request.container_image,
        container_file=wanted.containerfile,
        container_config=_told(wanted.container_config),
        conda_file=wanted.environment,
        platform=wanted.platform_names,
        tower_endpoint=_endpoint(request.tower_endpoint or DEFAULT_ENDPOINT),
        build_repository=request.build_repository,
        cache_repository=request.cache_repository,
        fingerprint=request.fingerprint,
        timestamp=asked,
        zone_id=zone,
        source_image=f"{ORAS if wanted.sif else ''}{image}",
        wave_image=None if wanted.freeze else image_name(authority, grant.token, image),
        expiration=grant.expires,
        build_id=grant.build_id,
        build_new=new if grant.build_id else None,
        freeze=wanted.freeze if grant.build_id else None,
        fusion_version=fusion_version(wanted.container_config),
        mirror=False,
    )


def fusion_version(config: ContainerConfig | None) -> str | None:
    """The version of Fusion that *config* adds, as the address of its first layer from Fusion's home tells it."""
    layers = (config.layers or ()) if config else ()
    home = next((layer.location for layer in layers if layer.location.startswith(_FUSION_HOME)), "")
    found = _FUSION.search(home)
    return (found[1] or found[2]).replace("/", ".") if found else None


def _endpoint(address: str) -> str:
    """*address* of the Platform, by its name of today."""
    for old, new in _OLD_ENDPOINTS.items():
        address = address.replace(old, new)
    return address


def description(kept: ContainerRecord) -> TokenDescription:
    """*kept* as `/container-token/{token}` shows it."""
    parts = msgspec.structs.asdict(kept)

    def part(kind: type[msgspec.Struct]) -> dict[str, object]:
        return {name: parts[name] for name in kind.__struct_fields__}

    is_build = kept.container_file is not None
    return TokenDescription(
        token=kept.id,
        expiration=kept.expiration,
        request=RequestPart(**part(RequestPart)),  # type: ignore[arg-type]
        build=BuildPart(**part(BuildPart)) if is_build else BuildPart(),  # type: ignore[arg-type]
        source=ImagePart(kept.source_image, kept.source_digest),
        wave=ImagePart(kept.wave_image, kept.wave_digest),
    )


def moment(text: str | None, now: datetime) -> tuple[datetime, str]:
    """When a client says it asked, in UTC, and its offset (`Z`, `+01:00`); *now* when it says nothing readable."""
    try:
        told = datetime.fromisoformat(_to_microseconds(text or ""))
        if told.tzinfo is None:
            return now, "Z"
        return told.astimezone(UTC), str(told.tzinfo).removeprefix("UTC") or "Z"
    except (ValueError, OverflowError):  # a first or last day of the calendar is another one in UTC
        return now, "Z"


def _to_microseconds(text: str) -> str:
    """*text* with at most six digits of a second, which is all that Python keeps; Java writes nine."""
    whole, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return f"{whole}{dot}{digits[:6]}{rest[len(digits) :]}"


def _told(config: ContainerConfig | None) -> ContainerConfig | None:
    """*config* as records show it: without the data of its layers, and without members that are empty."""
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
