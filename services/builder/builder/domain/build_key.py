"""The key of what a job builds."""

import msgspec
from msgspec import structs

from swell.jobs.messages import BuildJob
from swell.oci.digest import digest_of, hex_of


def key_of(job: BuildJob) -> str:
    """Return 64 hexadecimal digits, equal for jobs with equal inputs, credential principals and target images.

    A build that was requested in spite of an existing image has another key than the build of that image.
    """
    return hex_of(
        digest_of(msgspec.json.encode(structs.replace(job, id="", organisation="", tenant="", is_repeated=False)))
    )
