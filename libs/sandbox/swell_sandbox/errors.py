"""Why a sandbox is missing."""

from swell.errors import SwellError


class SandboxUnavailable(SwellError):
    """This machine cannot provide a sandbox."""
