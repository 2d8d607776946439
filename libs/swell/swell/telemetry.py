"""Prometheus metrics of this process, on a separate port.

Source: Prometheus, "Exposition formats", https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from swell.errors import Unavailable
from swell.log import log
from swell.serve import address


@contextmanager
def exposed(listen: str) -> Iterator[None]:
    """Serve `GET /metrics` at *listen* (`host:port`) while the block runs; do nothing when it is empty.

    Raises:
        Unavailable: the port is in use or not allowed.
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
