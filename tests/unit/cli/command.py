"""The command line as tests call it."""

from collections.abc import Callable

from click.testing import Result

Run = Callable[..., Result]
