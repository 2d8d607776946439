"""The grant of a container request."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from gateway.domain.access.identity import Caller
from gateway.domain.access.lease_terms import LeaseTerms
from gateway.domain.grant import Grant
from gateway.domain.token import new_token
from gateway.scans.request import ScanRequest
from gateway.submit.builds.start_result import StartResult
from gateway.submit.request import BuildRequest
from swell.api.containers import ScanMode
from swell.log import current_trace, traceparent
from swell.registry.credentials.principal import limited_to


def grant_of(
    request: BuildRequest,
    result: StartResult,
    caller: Caller,
    created: datetime,
    token_ttl: timedelta,
    terms: LeaseTerms,
    policy: str = "",
) -> Grant:
    """Return the grant of *request* with a new token.

    It is valid for *token_ttl* from *created*, or while the run of the caller lives, by the *terms* of leases. *policy*
    is the revision of the policy that allows the request.
    """
    run = "" if request.is_durable or request.dry_run else caller.identity.run
    is_own = result.is_build and not request.mirror  # this server has pushed the image
    return Grant(
        token=new_token(),
        image=str(result.image),
        platform=request.platform_names,
        created=created,
        expires=created + (terms.limit if run else token_ttl),
        container_config=None if request.freeze else request.container_config,
        build_id=result.build_id,
        is_durable=request.is_durable,
        traceparent=traceparent() if current_trace().sampled else "",
        is_dry=request.dry_run,
        user=caller.identity.user,
        organisation=caller.identity.organisation,
        principal=limited_to([result.image.name], caller.principal) if is_own else caller.principal,
        policy=policy,
        by_policy=caller.identity.by_policy,
        groups=caller.identity.groups if caller.identity.by_policy else (),
        run=run,
        first_end=created + terms.step if run else None,
    )


def with_scan(
    result: StartResult, grant: Grant, mode: ScanMode, levels: tuple[str, ...], scan: ScanRequest
) -> tuple[StartResult, Grant]:
    """Return *result* and *grant* with the scan of the image; *levels* are the severities that the client allows.

    A required scan judges one digest. The tag may move later, so the grant is for the digest.
    """
    if scan.scan_id:
        grant = replace(grant, scan_id=scan.scan_id, scan_mode=mode, scan_levels=levels)
    if mode is ScanMode.REQUIRED and scan.digest and not result.is_build:
        result = replace(result, image=result.image.at(scan.digest))
        grant = replace(grant, image=str(result.image))
    return result, grant
