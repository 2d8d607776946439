"""All calls between services with certificates, as operators set them for a stack of `make up`."""

from pathlib import Path

import pytest

from swell.errors import Unavailable
from swell_embedded.processes.probes import grpc_health
from swell_embedded.stack import Stack
from tests.certificates import Certificates
from tests.e2e.client import client_of
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams


async def test_services_that_need_certificates_start_and_build(
    new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probes of `make up` show the certificate, and a caller without one is refused."""
    certificates = Certificates(tmp_path)
    certificate, key = certificates.server
    files = {"CA_FILE": certificates.ca_file, "CERTIFICATE_FILE": certificate, "CERTIFICATE_KEY_FILE": key}
    settings = {f"RPC_{name}": str(path) for name, path in files.items()}
    for name, path in settings.items():
        monkeypatch.setenv(f"SWELL_{name}", path)  # as for `make up`, whose probes have the environment of its services

    async with new_stack(tmp_path / "stack", **settings) as stack, client_of(stack.url) as swell:
        build = await swell.build(f"FROM {upstreams.image()}\nRUN echo built > /built\n")
        assert (await swell.ended(build["buildId"]))["succeeded"]
        monkeypatch.undo()
        with pytest.raises(Unavailable):
            await grpc_health(_port(stack))()


def _port(stack: Stack) -> int:
    return int(stack.program("metrics").environment["SWELL_LISTEN"].rpartition(":")[2])
