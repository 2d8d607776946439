"""Reads the settings that use cases need."""

from datetime import timedelta

from gateway.domain.access.lease_terms import LeaseTerms
from gateway.domain.quota import Quota, Quotas, parse_quota
from gateway.domain.repositories import Repositories
from gateway.domain.server_config import ServerConfig
from gateway.settings import Settings


def server_config(settings: Settings) -> ServerConfig:
    repositories = Repositories(
        build=settings.build_repository,
        cache=settings.cache_repository,
        public=settings.public_repository,
        reserved=settings.reserved_words,
    )
    return ServerConfig(
        server_url=settings.server_url.rstrip("/"),
        repositories=repositories,
        token_ttl=settings.token_ttl,
        allows_missing_platforms=settings.allow_missing_platforms,
        conda_default_channels=settings.conda_default_channels,
        lease_terms=LeaseTerms(settings.lease_step, settings.lease_limit, settings.lease_check),
    )


def quotas(settings: Settings) -> Quotas:
    return Quotas(
        build=parse_quota(settings.build_limit),
        pull=parse_quota(settings.pull_limit),
        scan=parse_quota(settings.scan_limit),
        anonymous_scan=parse_quota(settings.anonymous_scan_limit),
        anonymous_build=parse_quota(settings.anonymous_build_limit),
        anonymous_pull=parse_quota(settings.anonymous_pull_limit),
        token=live_token_quota(settings.live_tokens, settings.token_ttl),
        anonymous_token=live_token_quota(settings.anonymous_live_tokens, settings.token_ttl),
    )


def live_token_quota(limit: int, lifetime: timedelta) -> Quota | None:
    """The quota that keeps about *limit* tokens of *lifetime* live; None, for no limit, if *limit* is 0."""
    return Quota(limit, max(1, int(lifetime.total_seconds()))) if limit else None
