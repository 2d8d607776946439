"""Figures for the operator: this process's Prometheus metrics, on a port of their own."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from swell.errors import Unavailable
from swell.log import log
from swell.serve import address


@contextmanager
def exposed(listen: str) -> Iterator[None]:
    """Answer `GET /metrics` at *listen* (`host:port`) while the block runs; nowhere when it is empty.

    Raises:
        Unavailable: the port cannot be had.
    """
    if not listen:
        yield
        return
    where = address(listen)
    try:
        server, thread = start_http_server(where.port, where.host)
    except OSError as error:
        raise Unavailable(f"cannot listen on {listen}: {error.strerror}") from error
    log.info("metrics exposed", host=where.host, port=where.port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
