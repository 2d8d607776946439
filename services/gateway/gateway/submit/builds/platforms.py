"""Check that a builder can run the steps of a build."""

from collections.abc import Sequence
from typing import Protocol

from gateway.submit.request import BuildRequest
from swell.errors import PlatformUnsupported
from swell.oci.platform import Platform


class WorkerCapabilities(Protocol):
    async def missing(self, platform: Platform) -> Sequence[str]:
        """What each builder lacks to run steps for *platform*, in words.

        Empty if a builder supports it, or if no builder is known at the moment.
        """


async def check_platforms(capabilities: WorkerCapabilities, request: BuildRequest) -> None:
    """Check that a builder supports each platform for which the build of *request* runs steps.

    Raises:
        PlatformUnsupported: no builder runs steps for one of them.
    """
    for platform in request.platforms if request.runs_steps else ():
        if missing := await capabilities.missing(platform):
            raise PlatformUnsupported(
                f"no builder of this server can run steps for {platform}; what it lacks: {'; or '.join(missing)}"
            )
