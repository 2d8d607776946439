"""Check tokens against a policy that is newer than they are.

A token lives for hours, and its request was checked against the policy of then. When the policy changes, each older
token is checked once, at its next pull. Reasons: `docs/decisions/0036-rights-are-checked-again.md`.
"""

from typing import Protocol

from cachetools import LRUCache

from gateway.access.images.origins import Origins, blobs_in
from gateway.domain.access.identity import Identity
from gateway.domain.grant import Grant
from gateway.domain.policy import Policy
from swell.errors import PolicyDenied
from swell.oci.reference import Reference, parse_reference
from swell.store.builds import Builds

MAX_RESULTS = 50_000


class Policies(Protocol):
    known: Policy
    """The policy as it was last read."""


class PolicyGate:
    """Decides whether the policy of now allows what a token opens; results are stored by token and revision."""

    def __init__(self, policies: Policies, origins: Origins, builds: Builds) -> None:
        self._policies = policies
        self._origins = origins
        self._builds = builds
        self._results: LRUCache[str, tuple[str, str]] = LRUCache(MAX_RESULTS)  # token -> revision, refusal or ""

    def allows(self, grant: Grant) -> bool:
        """Whether *grant* is known to be allowed, without waiting."""
        revision = self._policies.known.revision
        return grant.policy == revision or self._results.get(grant.token) == (revision, "")

    async def check(self, grant: Grant) -> None:
        """Check *grant* against the policy of now.

        Raises:
            PolicyDenied: it does not allow it; the message names the rule.
            BadRequest: only a builder can determine it.
            Unavailable: the records of builds cannot be read.
        """
        policy = self._policies.known
        revision, refusal = self._results.get(grant.token, ("", ""))
        if grant.policy == policy.revision:
            return
        if revision != policy.revision:
            refusal = await self._refusal(grant, policy)
            self._results[grant.token] = policy.revision, refusal
        if refusal:
            raise PolicyDenied(refusal)

    async def _refusal(self, grant: Grant, policy: Policy) -> str:
        try:
            await self._check(grant, policy)
        except PolicyDenied as error:
            return str(error)
        return ""

    async def _check(self, grant: Grant, policy: Policy) -> None:
        identity = Identity(user=grant.user, organisation=grant.organisation, groups=grant.groups)
        policy.check_credentials(identity, grant.by_policy)
        rules, images = policy.rules_for(identity), _blobs_of(grant)
        if not rules.limit_builds:
            return
        image = parse_reference(grant.image)
        build = await self._builds.get(grant.build_id) if grant.build_id else None
        if build:
            await self._origins.check_build(rules, image, build.submission)
        else:
            images.append(image)
        rules.check_images(each for each in images if not self._origins.is_own(each))
        await self._origins.check(rules, images)


def _blobs_of(grant: Grant) -> list[Reference]:
    """The blobs of other images that the pull adds."""
    layers = (grant.container_config.layers if grant.container_config else None) or ()
    return [blob.reference for blob in blobs_in(layer.location for layer in layers)]
