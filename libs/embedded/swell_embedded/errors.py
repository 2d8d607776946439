"""Errors of the stack; each message names the process and the next step."""

from swell.errors import SwellError


class CannotStart(SwellError):
    """The stack cannot start on this machine; the message says what to change."""


class ChildDied(SwellError):
    """A process of the stack ended unexpectedly."""
