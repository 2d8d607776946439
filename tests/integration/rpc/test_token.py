"""Calls between services that are not on one machine need their shared secret."""

from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from msgspec import structs

from swell.errors import Unavailable
from swell.rpc.channel import call, connect
from swell.rpc.server import answering
from swell.rpc.settings import RpcSettings
from swell.rpc.v1 import counters_pb2 as pb
from swell.rpc.v1.counters_pb2_grpc import CountersStub, add_CountersServicer_to_server
from swell.serve import Address
from swell.settings import SettingsInvalid
from swell_embedded.ports import Ports
from tests.certificates import Certificates
from tests.integration.rpc.test_calls import Counters, seven

TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def where() -> Address:
    return Address("127.0.0.1", Ports.free().metrics)


def register(server: grpc.aio.Server) -> None:
    add_CountersServicer_to_server(Counters(seven), server)


async def count(where: Address, token: str) -> int:
    async with connect(f"127.0.0.1:{where.port}", RpcSettings(token=token)) as channel:
        return (await call("counter", CountersStub(channel).GetCount, pb.GetCountRequest(), seconds=30)).count


async def test_a_caller_with_the_token_is_answered(where: Address) -> None:
    """All services of one installation share it."""
    async with answering(where, register, settings=RpcSettings(token=TOKEN)):
        assert await count(where, TOKEN) == 7


@pytest.mark.parametrize("token", ["", TOKEN[:-1], TOKEN.upper()])
async def test_a_caller_without_the_token_is_refused_by_name(where: Address, token: str) -> None:
    """Any client that reaches the port could read private images; an operator who mixed up two secrets learns which."""
    async with answering(where, register, settings=RpcSettings(token=TOKEN)):
        with pytest.raises(Unavailable, match="counter refuses the SWELL_RPC_TOKEN"):
            await count(where, token)


async def test_health_is_open(where: Address) -> None:
    """Probes of a platform have no secret."""
    async with (
        answering(where, register, settings=RpcSettings(token=TOKEN)),
        connect(f"127.0.0.1:{where.port}") as channel,
    ):
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in its stubs
        health = await check(health_pb2.HealthCheckRequest(), timeout=30)

    assert health.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(("host", "token"), [("0.0.0.0", ""), ("0.0.0.0", "short"), ("127.0.0.1", "short")])
async def test_an_open_port_without_a_good_token_does_not_start(where: Address, host: str, token: str) -> None:
    """A missing secret must not mean that none is required."""
    with pytest.raises(SettingsInvalid, match="SWELL_RPC_TOKEN"):
        async with answering(Address(host, where.port), register, settings=RpcSettings(token=token)):
            pass


async def test_loopback_needs_no_token(where: Address) -> None:
    """`make up` has one machine for all services."""
    async with answering(where, register):
        assert await count(where, "") == 7


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("rpc"))


def with_tls(certificates: Certificates, token: str = "", name: str = "127.0.0.1") -> RpcSettings:
    certificate, key = certificates.issue(name)
    return RpcSettings(
        token=token, ca_file=certificates.ca_file, certificate_file=certificate, certificate_key_file=key
    )


async def counted(where: Address, settings: RpcSettings) -> int:
    async with connect(f"127.0.0.1:{where.port}", settings) as channel:
        return (await call("counter", CountersStub(channel).GetCount, pb.GetCountRequest(), seconds=3)).count


async def test_services_with_certificates_need_no_token(where: Address, certificates: Certificates) -> None:
    """The certificates of both are checked; nothing else is answered, not even health."""
    everywhere = Address("0.0.0.0", where.port)
    async with answering(everywhere, register, settings=with_tls(certificates)):
        assert await counted(where, with_tls(certificates, name="gateway")) == 7
        with pytest.raises(Unavailable):
            await counted(where, RpcSettings())


async def test_a_certificate_of_another_authority_is_refused(
    where: Address, certificates: Certificates, tmp_path: Path
) -> None:
    """Also one whose authority the caller trusts."""
    stranger = with_tls(Certificates(tmp_path))
    async with answering(where, register, settings=with_tls(certificates)):
        with pytest.raises(Unavailable):
            await counted(where, structs.replace(stranger, ca_file=certificates.ca_file))
    async with answering(where, register, settings=stranger):
        with pytest.raises(Unavailable):
            await counted(where, with_tls(certificates))


async def test_a_certificate_and_a_token_are_both_checked(where: Address, certificates: Certificates) -> None:
    """An authority that has other clients, too, needs the token."""
    async with answering(where, register, settings=with_tls(certificates, TOKEN)):
        assert await counted(where, with_tls(certificates, TOKEN)) == 7
        with pytest.raises(Unavailable, match="SWELL_RPC_TOKEN"):
            await counted(where, with_tls(certificates))


async def test_a_missing_file_is_named(where: Address, certificates: Certificates) -> None:
    """Without its key, a certificate would be a reason to answer without one."""
    incomplete = structs.replace(with_tls(certificates), certificate_key_file=None)
    with pytest.raises(SettingsInvalid, match="SWELL_RPC_CERTIFICATE_KEY_FILE must be set"):
        async with answering(where, register, settings=incomplete):
            pass
