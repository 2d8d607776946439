"""An operator's BuildKit daemon over TCP, with certificates on both sides."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from builder.buildkit.daemons.programs import Programs
from builder.buildkit.operators_daemon import OperatorsDaemon
from builder.choose_engine import open_engine
from builder.settings import EngineSettings
from swell import settings
from swell.errors import Unavailable
from swell_sandbox import cgroups
from tests.certificates import Certificates
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.harness import Output, Registry, free_port

__all__ = ["buildkit", "programs"]

_STARTS_WITHIN = 60.0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The operator's authority, with the certificates of the daemon and of the builder."""
    return Certificates(tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module")
async def address(
    programs: Programs, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The address of a buildkitd that an operator has started as BuildKit's documentation says.

    Source: BuildKit, "Expose BuildKit as a TCP service",
    https://github.com/moby/buildkit/blob/v0.34.2/README.md#expose-buildkit-as-a-tcp-service
    """
    home, port = tmp_path_factory.mktemp("buildkitd"), free_port()
    certificate, key = certificates.server
    options = (
        *("--root", home / "root", "--addr", f"tcp://127.0.0.1:{port}", "--otel-socket-path", home / "otel.sock"),
        *("--tlscacert", certificates.ca_file, "--tlscert", certificate, "--tlskey", key),
        *("--containerd-worker=false", "--oci-worker-net=host", "--oci-worker-snapshotter=native", "--cdi-disabled"),
    )
    own = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--")
    process = await asyncio.create_subprocess_exec(
        *own, programs.buildkitd, *options, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr
    try:
        async with asyncio.timeout(_STARTS_WITHIN):
            async for line in process.stderr:
                if b"running server on" in line:
                    break
        reading = asyncio.create_task(process.stderr.read())
        yield f"tcp://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()
        cgroups.remove("buildkit")  # runc's, for the steps
    await reading


def folder(path: Path, ca_file: Path, certificate: Path, key: Path) -> Path:
    """Return a directory for `SWELL_BUILDKIT_TLS` with copies of the files."""
    path.mkdir()
    for source, name in ((ca_file, "ca.pem"), (certificate, "cert.pem"), (key, "key.pem")):
        shutil.copy(source, path / name)
    return path


@asynccontextmanager
async def opened(programs: Programs, workspace: Path, address: str, tls: Path | None) -> AsyncIterator[OperatorsDaemon]:
    chosen = EngineSettings(workspace=workspace, buildkit_address=address, buildkit_tls=tls)
    async with OperatorsDaemon.open(chosen, programs.buildctl) as engine:
        yield engine


async def test_a_build_uses_a_daemon_over_tls(
    address: str, certificates: Certificates, buildkit: Buildkit, registry: Registry, tmp_path: Path
) -> None:
    """The settings are those of an operator: the address is the content of a file, and the certificates a directory."""
    (tmp_path / "address").write_text(f"{address}\n")
    chosen = settings.read(
        EngineSettings,
        {
            "SWELL_WORKSPACE": str(tmp_path / "workspace"),
            "SWELL_BUILDKIT_ADDRESS_FILE": str(tmp_path / "address"),
            "SWELL_BUILDKIT_TLS": str(folder(tmp_path / "tls", certificates.ca_file, *certificates.client)),
            "SWELL_BUILDKIT_CLIENTS": "all",
            "SWELL_PULL_AUTH_FILE": str(registry.auth_file),
            "SWELL_PUSH_AUTH_FILE": str(registry.auth_file),
            "SWELL_ALLOWED_HOSTS": registry.address,
        },
    )
    output = Output()
    async with open_engine(chosen) as (name, engine):
        digest = await engine.build(buildkit.recipe("RUN echo over-tls\n", made="operator/tls:1"), output)
    assert name.endswith(" of the operator")
    assert "over-tls" in output.text
    assert registry.fetch("operator/tls/manifests/1")[1] == digest


async def test_a_daemon_of_another_authority_is_refused(
    address: str, certificates: Certificates, programs: Programs, tmp_path: Path
) -> None:
    """It could be anyone's, and would get the logins of builds."""
    (tmp_path / "other").mkdir()
    other = Certificates(tmp_path / "other")
    tls = folder(tmp_path / "tls", other.ca_file, *certificates.client)
    with pytest.raises(Unavailable, match=r"cannot be used: .*certificate"):
        async with opened(programs, tmp_path / "workspace", address, tls):
            pytest.fail("it has started")


async def test_the_daemon_refuses_a_client_without_its_certificate(
    address: str, certificates: Certificates, programs: Programs, tmp_path: Path
) -> None:
    """The builder does not start, with a certificate of another authority and without any encryption."""
    (tmp_path / "other").mkdir()
    other = Certificates(tmp_path / "other")
    tls = folder(tmp_path / "tls", certificates.ca_file, *other.client)
    for number, each in enumerate((tls, None)):
        with pytest.raises(Unavailable, match="cannot be used"):
            async with opened(programs, tmp_path / f"workspace{number}", address, each):
                pytest.fail("it has started")


async def test_a_certificate_for_another_name_is_refused(
    address: str, certificates: Certificates, programs: Programs, tmp_path: Path
) -> None:
    """The certificate of the daemon is for 127.0.0.1 and localhost; its address must be one of them."""
    tls = folder(tmp_path / "tls", certificates.ca_file, *certificates.client)
    elsewhere = address.replace("127.0.0.1", "127.0.0.2")
    async with _forwarded(address, elsewhere):
        with pytest.raises(Unavailable, match=r"cannot be used: .*(certificate|127\.0\.0\.2)"):
            async with opened(programs, tmp_path / "workspace", elsewhere, tls):
                pytest.fail("it has started")


async def test_a_missing_file_is_named(
    address: str, certificates: Certificates, programs: Programs, tmp_path: Path
) -> None:
    """Not only that there is no connection."""
    tls = folder(tmp_path / "tls", certificates.ca_file, *certificates.client)
    (tls / "key.pem").unlink()
    with pytest.raises(Unavailable, match=r"key\.pem"):
        async with opened(programs, tmp_path / "workspace", address, tls):
            pytest.fail("it has started")


@asynccontextmanager
async def _forwarded(address: str, elsewhere: str) -> AsyncIterator[None]:
    """Pass connections to *elsewhere* on to *address*, both `tcp://host:port`."""
    host, _, port = elsewhere.removeprefix("tcp://").partition(":")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(*address.removeprefix("tcp://").split(":"))
        copies = _copy(reader, there[1]), _copy(there[0], writer)
        await asyncio.gather(*copies, return_exceptions=True)

    async with await asyncio.start_server(connected, host, int(port)):
        yield


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while content := await reader.read(65536):
        writer.write(content)
    writer.close()
