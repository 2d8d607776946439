"""`python -m swell.rpc.probe [PORT]`: exit with 0 if the service of this container is serving, for health checks.

Without PORT, the port of SWELL_LISTEN is asked.

Source: gRPC health checking protocol, https://grpc.io/docs/guides/health-checking/
"""

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SECONDS = 5.0


def is_serving(port: int) -> bool:
    """Whether the server on *port* of this machine says SERVING within 5 s."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in its stubs
        try:
            status = check(health_pb2.HealthCheckRequest(), timeout=SECONDS, wait_for_ready=True).status
        except grpc.RpcError:
            return False
    return bool(status == health_pb2.HealthCheckResponse.SERVING)


def main() -> None:
    listen = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SWELL_LISTEN", "")
    port = listen.rpartition(":")[2]
    if not port.isdigit():
        sys.exit("usage: python -m swell.rpc.probe PORT, or set SWELL_LISTEN to host:port")
    sys.exit(0 if is_serving(int(port)) else f"port {port} is not serving")


if __name__ == "__main__":
    main()
