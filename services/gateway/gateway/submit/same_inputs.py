"""Records of one container id have the same inputs."""

from swell.errors import BadRequest
from swell.store.records import Build, Submission


def check_same_inputs(latest: Build | None, submission: Submission) -> None:
    """Check that the record *latest* of the image of *submission*, if there is one, has the same inputs.

    Otherwise a client could publish a harmless container file with the id of another one, which it has built before:
    everyone who builds it would get that image.

    Raises:
        BadRequest: the inputs are other ones.
    """
    known, wanted = latest.submission.fingerprint if latest else "", submission.fingerprint
    if known and wanted and known != wanted:
        raise BadRequest(
            f"another request has the container id {submission.container_id}, so {submission.target_image} is another "
            "image; change the container file, for example a comment in it"
        )
