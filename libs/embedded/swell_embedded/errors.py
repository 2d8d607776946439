"""What can go wrong with a stack of processes: each says which one, and what to look at."""

from swell.errors import SwellError


class CannotStart(SwellError):
    """The stack cannot start on this machine as it is."""


class ChildDied(SwellError):
    """A process of the stack ended by itself."""
