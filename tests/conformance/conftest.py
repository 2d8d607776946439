"""The fixtures of the end-to-end tests: the same stack and the same upstream servers."""

from tests.e2e.fixtures import channel, new_stack, no_secret_left, odd, stack, swell, upstreams, web

__all__ = ["channel", "new_stack", "no_secret_left", "odd", "stack", "swell", "upstreams", "web"]
