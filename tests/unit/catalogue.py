"""Print `docs/errors.md` from the code: `python -m tests.unit.catalogue > docs/errors.md`."""

import pkgutil
import sys
from importlib import import_module

from swell.errors import SwellError, every_class

_PACKAGES = ("swell", "gateway", "registry_proxy", "builder", "metrics")
_HEAD = """\
# Errors

## Where do I see an error?

An error has the same code and message in the response to a request, in the status of a build, in the output of
`docker pull`, and in the logs.

| where | body of the response |
|---|---|
| outside `/v2` | the JSON object below |
| under `/v2`, and at the data port | `{"errors": [{"code", "message"}]}`, as in the OCI specification |
| a request without an account, where one is needed | 401 without a body |

Under `/v2` the code is `UNKNOWN` if the specification has none for the error.
`Retry-After` is the number of seconds to wait, if waiting helps.

## What does the JSON object contain?

| member | meaning |
|---|---|
| `message` | what happened; Wave's clients print it |
| `code` | one of the codes below |
| `side` | who can fix it: the `client`, the `upstream` registry, or the operator of this `server` |
| `next` | what to do next; missing if the message says it |
| `requestId` | the id of the request in the logs; also in the header `X-Request-Id` |
| `traceId` | the id of the trace in all services; the log has that of the client's `traceparent` as `client_trace_id` |

## Which errors are there?

`python -m tests.unit.catalogue > docs/errors.md` makes this page from the code.

| status | code | what happened | side | what to do next |
|---|---|---|---|---|
"""


def catalogue() -> str:
    """Return the page. Errors with equal texts share a row."""
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
