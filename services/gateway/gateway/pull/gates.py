"""What may have changed since a token was given: the policy, stored credentials, and the scan of the image."""

from typing import NamedTuple, Protocol

from gateway.domain.grant import Grant
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import Principal


class ScanGate(Protocol):
    async def check(self, grant: Grant) -> None:
        """Raise `ScanDenied` if the required scan of *grant* does not allow the image; wait for the end of the scan."""


class Vault(Protocol):
    async def check(self, principal: Principal, image: Reference) -> None:
        """Raise `Denied` if a stored credential for *image* was deleted since *principal* got its rights."""


class PolicyGate(Protocol):
    def allows(self, grant: Grant) -> bool:
        """Whether *grant* is known to be allowed, without waiting."""

    async def check(self, grant: Grant) -> None:
        """Raise `PolicyDenied` if the policy has changed since the request, and does not allow *grant*."""


class Gates(NamedTuple):
    """Required scans are enforced with `scan`; each of the three may be missing."""

    policy: PolicyGate | None = None
    vault: Vault | None = None
    scan: ScanGate | None = None

    async def check(self, grant: Grant) -> None:
        """Check that the image of *grant* may still be served.

        Raises:
            PolicyDenied: a policy that is newer than the token does not allow it.
            Denied: the stored credential with which the image was requested is deleted.
            ScanDenied: a required scan does not allow the image, and scans are enforced at the pull.
            Unavailable: the scan takes longer than a pull may wait.
        """
        if self.policy and not self.policy.allows(grant):
            await self.policy.check(grant)
        if self.vault:
            await self.vault.check(grant.principal, parse_reference(grant.image))
        if self.scan:
            await self.scan.check(grant)


NO_GATES = Gates()
