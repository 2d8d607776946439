"""`python -m swell.rpc.probe [PORT] [--liveness]`: exit with 0 if the service of this container is ready.

Without PORT, the port of SWELL_LISTEN is asked. What does not work is printed. With `--liveness`, the exit code is 0
while the process answers, even if its backends are unavailable. With certificates (SWELL_RPC_CERTIFICATE_FILE), the
probe uses those of the service.

Source: gRPC health checking protocol, https://grpc.io/docs/guides/health-checking/
"""

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from swell.rpc.health import LIVENESS, READINESS, REPORT
from swell.rpc.settings import of_environment

SECONDS = 5.0


def problem(port: int, service: str = READINESS) -> tuple[str, str]:
    """Ask the server on *port* of this machine; return why it is not serving (or an empty string), and its report."""
    with _channel_to(port) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in its stubs
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            answer, call = check.with_call(request, timeout=SECONDS, wait_for_ready=True)
        except grpc.RpcError:
            return f"port {port} is not serving", ""
        report = str(dict(call.trailing_metadata() or ()).get(REPORT, ""))
    is_serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    return "" if is_serving else f"the service on port {port} is not ready", report


def _channel_to(port: int) -> grpc.Channel:
    """A channel with the certificate of the service, which must be for the name `localhost`, too."""
    rpc = of_environment()
    if not rpc.has_tls:
        return grpc.insecure_channel(f"127.0.0.1:{port}")
    authority, certificate, key = rpc.files()
    return grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(authority, key, certificate))


def main() -> None:
    arguments = [each for each in sys.argv[1:] if each != "--liveness"]
    listen = arguments[0] if arguments else os.environ.get("SWELL_LISTEN", "")
    port = listen.rpartition(":")[2]
    if not port.isdigit():
        sys.exit("usage: python -m swell.rpc.probe PORT [--liveness], or set SWELL_LISTEN to host:port")
    why, report = problem(int(port), LIVENESS if "--liveness" in sys.argv else READINESS)
    if report:
        print(report)  # noqa: T201  a platform shows it beside the result
    sys.exit(why or 0)


if __name__ == "__main__":
    main()
