"""Images are signed within a time limit for each attempt."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from builder.adapters.attachments import StoredAttestations
from builder.attest.builds import Attester
from swell.errors import Unavailable
from swell.jobs.messages import BuildDone
from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal
from swell.signing.bundles import KeyNotary
from swell.signing.keys import KeySigner, TrustedKeys
from swell.store.builds.memory import MemoryBuilds
from swell.store.objects import MemoryObjects
from swell.store.records import BuildResult, SigningState, Submission

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


class EndlessAttachments:
    """A registry whose responses never end."""

    async def fetch(self, image: Reference, principal: Principal) -> Document | None:
        await asyncio.Event().wait()
        return None

    async def attach(self, image: Reference, attachments: Mapping[bytes, Document], principal: Principal) -> None:
        await asyncio.Event().wait()


async def built(builds: MemoryBuilds) -> BuildDone:
    """A build that has succeeded, and its event."""
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
    return BuildDone.of(build_id, submission, result)


def attester(builds: MemoryBuilds) -> Attester:
    """An attester whose registry never answers."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Attester(
        builds,
        EndlessAttachments(),
        StoredAttestations(MemoryObjects()),
        KeyNotary(KeySigner(key), TrustedKeys(key.public_key())),
        timeout=timedelta(milliseconds=20),
    )


async def test_an_endless_registry_does_not_keep_a_slot() -> None:
    """The attempt ends, and the event is delivered again: other images are signed meanwhile."""
    builds = MemoryBuilds()
    event = await built(builds)

    with pytest.raises(Unavailable, match="too slow"):
        async with asyncio.timeout(30):
            await attester(builds).on_build_done(event, 1)


async def test_a_signature_that_is_given_up_says_why() -> None:
    """The record of the build has the number of attempts and the last reason, and so has the dead letter."""
    builds = MemoryBuilds()
    event = await built(builds)
    with pytest.raises(Unavailable):
        await attester(builds).on_build_done(event, 200)

    await attester(builds).give_up(event.id, "taken 200 times, and never finished")

    signing = await builds.signing(event.id)
    assert signing is not None and (signing.state, signing.attempts) == (SigningState.GIVEN_UP, 200)
    assert "200 times" in signing.reason and "too slow" in signing.reason
