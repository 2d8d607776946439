"""The stacks of the tests, and what their scanner knows."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from swell.testing.vulnerabilities import Vulnerability
from swell_embedded.stack import Stack

VULNERABILITIES = (
    Vulnerability(id="CVE-2026-0001", package="libdemo", fixed="1.1", distribution="debian 12", description="demo"),
    Vulnerability(id="CVE-2026-0002", package="tiny", severity="negligible", distribution="debian 12"),
)
"""What the scanner of a stack knows."""


OpenStack = Callable[..., AbstractAsyncContextManager[Stack]]
