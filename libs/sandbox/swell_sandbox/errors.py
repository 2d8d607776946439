"""Errors of sandboxes."""

from swell.errors import SwellError


class SandboxUnavailable(SwellError):
    """This machine cannot provide a sandbox."""
