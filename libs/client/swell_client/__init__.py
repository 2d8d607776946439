"""The Python client of Swell: `Client`, and `AsyncClient` for asyncio. See `docs/python.md`.

    from swell_client import Client

    with Client("https://swell.example.org") as swell:
        image = swell.build(packages=["samtools=1.17"]).wait(log=print)

Names are imported when they are used: `import swell_client` takes a few milliseconds.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swell_client._async.client import AsyncClient
    from swell_client._async.container import AsyncContainer
    from swell_client._sync.client import Client
    from swell_client._sync.container import Container
    from swell_client.errors import (
        BuildFailed,
        LogUnavailable,
        NotDone,
        RequestFailed,
        SwellClientError,
        UnexpectedAnswer,
        Unreachable,
    )
    from swell_client.packing import PackedLayer, PackError, pack_context, pack_layer
    from swell_client.retry import RetryPolicy

_HOMES = {
    "AsyncClient": "_async.client",
    "AsyncContainer": "_async.container",
    "Client": "_sync.client",
    "Container": "_sync.container",
    **dict.fromkeys(
        (
            *("BuildFailed", "LogUnavailable", "NotDone", "RequestFailed", "SwellClientError", "UnexpectedAnswer"),
            "Unreachable",
        ),
        "errors",
    ),
    **dict.fromkeys(("PackError", "PackedLayer", "pack_context", "pack_layer"), "packing"),
    "RetryPolicy": "retry",
}

__all__ = [
    "AsyncClient",
    "AsyncContainer",
    "BuildFailed",
    "Client",
    "Container",
    "LogUnavailable",
    "NotDone",
    "PackError",
    "PackedLayer",
    "RequestFailed",
    "RetryPolicy",
    "SwellClientError",
    "UnexpectedAnswer",
    "Unreachable",
    "pack_context",
    "pack_layer",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - with the first name

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
