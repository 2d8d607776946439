"""The same stack and the same upstreams as of the end-to-end tests."""

from tests.e2e.conftest import new_stack, odd, stack, swell, upstreams, web

__all__ = ["new_stack", "odd", "stack", "swell", "upstreams", "web"]
