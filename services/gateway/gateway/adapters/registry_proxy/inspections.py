"""Requests to the registry-proxy: inspect an image (a NATS job), check credentials (a gRPC call)."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

from grpc.aio import Channel

from gateway.adapters.registry_proxy.images import PROXY
from swell.api.inspect import Inspection
from swell.errors import Unavailable
from swell.jobs.messages import InspectJob
from swell.jobs.request_reply import request
from swell.jobs.streams import Nats
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.credentials.principal import PUBLIC, Principal
from swell.rpc.channel import call
from swell.rpc.v1 import registries_pb2 as pb
from swell.rpc.v1.registries_pb2_grpc import RegistriesStub

TIMEOUT = timedelta(seconds=30)
MAX_PENDING = 256  # so that slow registries fill neither the gateway nor the queue


class QueuedInspections:
    def __init__(self, nats: Nats) -> None:
        self._nats = nats
        self._slots = asyncio.Semaphore(MAX_PENDING)

    async def inspect(
        self, image: Reference, platform: Platform | None, principal: Principal = PUBLIC, *, referrers: bool = False
    ) -> Inspection:
        """Describe *image*, read as *principal*, within 30 s; with its *referrers*.

        Raises:
            ManifestUnknown: the registry does not have the image.
            Denied: *principal* may not read it.
            UpstreamFailed: the registry does not respond.
            BadRequest: the image is an index without *platform*.
            Unavailable: no response in time, or 256 inspections are pending.
        """
        if self._slots.locked():
            raise Unavailable("too many images are being inspected", retry_after=5)
        async with self._slots:
            job = InspectJob(
                id=uuid.uuid4().hex,
                image=str(image),
                platform=str(platform) if platform else None,
                reply=self._nats.client.new_inbox(),
                principal=principal,
                referrers=referrers,
                deadline=datetime.now(UTC) + TIMEOUT,
            )
            return await request(self._nats, job, Inspection)


class RemoteLogins:
    def __init__(self, channel: Channel) -> None:
        self._stub = RegistriesStub(channel)

    async def accepts(self, registry: str, user_name: str, password: str) -> bool:
        """Whether *registry* accepts the credentials; False also if it does not respond within 15 s.

        Raises:
            AddressForbidden: the operator does not allow connections to the registry's address.
        """
        request = pb.CheckCredentialsRequest(registry=registry, user_name=user_name, password=password)
        return (await call(PROXY, self._stub.CheckCredentials, request, seconds=20)).valid
