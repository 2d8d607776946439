"""Writes `docs/errors.md` from the code: `python -m tests.unit.catalogue > docs/errors.md`."""

import pkgutil
import sys
from importlib import import_module

from swell.errors import SwellError, every_class

_PACKAGES = ("swell", "gateway", "registry_proxy", "builder", "metrics")
_HEAD = """\
# Errors

Every failure is told in the same words wherever it is met: in the answer to a request, in a build's status, by
`docker pull`, and in the log. Outside `/v2` the body is JSON:

| member | says |
|---|---|
| `message` | what happened this time; Wave's clients print it |
| `code` | which of the errors below it is |
| `side` | who can mend it: the `client` who asked, the `upstream` registry, or this `server`'s operator |
| `next` | what to do |
| `requestId` | finds the request in the logs; the header `X-Request-Id` has it too |
| `traceId` | finds all that the request caused, in all services; it is the `traceparent`'s when the client sent one |

Under `/v2`, and where blobs are read, the body is the OCI distribution specification's
`{"errors": [{"code", "message"}]}`, with one of its codes, or `UNKNOWN` where it has none. Where waiting helps,
`Retry-After` tells how many seconds. Who comes without an account where one is needed is answered 401 without a body.

This table is made from the code, by `python -m tests.unit.catalogue > docs/errors.md`.

| status | code | what happened | side | what to do next |
|---|---|---|---|---|
"""


def catalogue() -> str:
    """The whole page; errors that differ from another in nothing but their details share its row."""
    for package in _PACKAGES:
        for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    ours = [cls for cls in every_class() if cls.__module__.partition(".")[0] in _PACKAGES and _is_its_own(cls)]
    return _HEAD + "".join(sorted(_row(cls) for cls in ours))


def _is_its_own(cls: type[SwellError]) -> bool:
    return not {"code", "status", "advice"}.isdisjoint(vars(cls))


def _row(cls: type[SwellError]) -> str:
    return f"| {cls.status} | `{cls.code}` | {cls.summary()} | {cls.side} | {cls.advice} |\n"


if __name__ == "__main__":
    sys.stdout.write(catalogue())
