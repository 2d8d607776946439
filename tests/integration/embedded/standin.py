"""A stand-in for a service: as much as a supervisor sees of one. Run as `python -m NAME` from a folder of copies."""

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


class Healthy(BaseHTTPRequestHandler):
    """GET /health is fine."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


def listen_http(listen: str) -> HTTPServer:
    host, _, port = listen.rpartition(":")
    server = HTTPServer((host, int(port)), Healthy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def listen_grpc(listen: str) -> grpc.Server:
    """The caller keeps what this returns: a forgotten server stops after a second."""
    server = grpc.server(ThreadPoolExecutor(2))
    checks = health.HealthServicer()
    for name in ("", "liveness"):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    server.add_insecure_port(listen)
    server.start()
    return server


def main() -> None:
    name = Path(sys.argv[0]).stem
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    listen = listen_http if name == "gateway" else listen_grpc
    listening = [listen(os.environ["SWELL_LISTEN"])]
    if "SWELL_DATA_LISTEN" in os.environ:
        listening.append(listen_http(os.environ["SWELL_DATA_LISTEN"]))
    sys.stdout.write(f"{name} is up on {len(listening)} ports\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
