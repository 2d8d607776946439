"""Images are signed within a time limit for each attempt."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from builder.adapters.attachments import StoredAttestations
from builder.attest import Attester
from swell.errors import Unavailable
from swell.jobs.messages import BuildDone
from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.reference import Reference
from swell.registry.principal import Principal
from swell.signing.keys import KeySigner, TrustedKeys
from swell.store.builds.memory import MemoryBuilds
from swell.store.objects import MemoryObjects
from swell.store.records import BuildResult, Submission

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


class EndlessAttachments:
    """A registry whose responses never end."""

    async def fetch(self, image: Reference, principal: Principal) -> Document | None:
        await asyncio.Event().wait()
        return None

    async def attach(self, image: Reference, manifest: Document, bundle: bytes, principal: Principal) -> None:
        await asyncio.Event().wait()


async def test_an_endless_registry_does_not_keep_a_slot() -> None:
    """The attempt ends, and the event is delivered again: other images are signed meanwhile."""
    key, builds = ec.generate_private_key(ec.SECP256R1()), MemoryBuilds()
    submission = Submission(
        container_id="c44968632f89dd6c",
        target_image="registry.example.org/team/a:1",
        containerfile="FROM a\n",
        platform="linux/amd64",
        created=NOON,
    )
    build_id, _ = await builds.submit(submission)
    result = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON, digest=digest_of(b"a"))
    await builds.finish(build_id, result)
    attester = Attester(
        builds,
        EndlessAttachments(),
        StoredAttestations(MemoryObjects()),
        KeySigner(key),
        TrustedKeys(key.public_key()),
        timeout=timedelta(milliseconds=20),
    )

    with pytest.raises(Unavailable, match="too slow"):
        async with asyncio.timeout(30):
            await attester.on_build_done(BuildDone.of(build_id, submission, result), 1)
