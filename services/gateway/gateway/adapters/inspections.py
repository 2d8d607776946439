"""What the registry-proxy finds out for us about registries: images by a job, credentials by a call."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

from grpc.aio import Channel

from gateway.adapters.images import PROXY
from swell.api.inspect import Inspection
from swell.errors import Unavailable
from swell.jobs.messages import InspectJob
from swell.jobs.request_reply import request
from swell.jobs.streams import Nats
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.principal import PUBLIC, Principal
from swell.rpc.channel import call
from swell.rpc.v1 import registries_pb2 as pb
from swell.rpc.v1.registries_pb2_grpc import RegistriesStub

PATIENCE = timedelta(seconds=30)
MOST = 256  # who may wait at once, so that slow registries fill neither the gateway nor the queue


class QueuedInspections:
    def __init__(self, nats: Nats) -> None:
        self._nats = nats
        self._places = asyncio.Semaphore(MOST)

    async def inspect(self, image: Reference, platform: Platform | None, principal: Principal = PUBLIC) -> Inspection:
        """What *image* is, within 30 s, as *principal* may read it.

        Raises:
            ManifestUnknown, Denied, UpstreamFailed: the registry has none, shows none, answers nothing.
            BadRequest: the image is an index without *platform*.
            Unavailable: nobody could tell in time, or too many are waiting already.
        """
        if self._places.locked():
            raise Unavailable("too many images are being inspected", retry_after=5)
        async with self._places:
            job = InspectJob(
                id=uuid.uuid4().hex,
                image=str(image),
                platform=str(platform) if platform else None,
                reply=self._nats.client.new_inbox(),
                principal=principal,
                deadline=datetime.now(UTC) + PATIENCE,
            )
            return await request(self._nats, job, Inspection)


class RemoteLogins:
    def __init__(self, channel: Channel) -> None:
        self._stub = RegistriesStub(channel)

    async def accepts(self, registry: str, user_name: str, password: str) -> bool:
        """Whether *registry* takes them; false as well when it cannot be asked within 15 s.

        Raises:
            AddressForbidden: it is where this server must not connect to.
        """
        request = pb.CheckCredentialsRequest(registry=registry, user_name=user_name, password=password)
        return (await call(PROXY, self._stub.CheckCredentials, request, seconds=20)).valid
