"""Builds of one container id have the same inputs."""

from swell.store.builds import Builds
from swell.store.builds.queue import has_other_inputs, inputs_of
from swell.store.records import Build, Submission


async def check_same_inputs(builds: Builds, latest: Build | None, submission: Submission) -> None:
    """Check that *latest*, the newest build of the image of *submission*, and builds before it had the same inputs.

    Otherwise a client could publish a harmless container file with the id of another one, which it has built before:
    everyone who builds it would get that image.

    Raises:
        BadRequest: the inputs are other ones.
        Unavailable: the store does not answer.
    """
    known = inputs_of(latest.submission) if latest else ""
    if not known and submission.fingerprint:
        known = await builds.inputs(submission.container_id)
    if known and submission.fingerprint and known != inputs_of(submission):
        raise has_other_inputs(submission)
