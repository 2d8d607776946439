"""What images of this server were built from, by the records of their builds."""

from collections.abc import Callable, Iterable

from msgspec import Struct

from gateway.domain.base_images import images_in_recipe
from gateway.domain.policy import ClientRules
from swell.errors import BadRequest
from swell.naming.image_name import ORAS
from swell.oci.platform import parse_platform
from swell.oci.reference import BLOB_SCHEME, Reference, parse_blob_location
from swell.store.builds import Builds
from swell.store.records import FROM_CLIENT, Build, Submission

MAX_IMAGES = 100  # of one recipe, and that one image was built from


class Blob(Struct, frozen=True):
    """A blob that is an input of a build; `reference` has its digest."""

    reference: Reference


Input = Reference | Blob


def name_of(each: Input) -> Reference:
    return each.reference if isinstance(each, Blob) else each


class Origins:
    """*is_own* says whether an image is in a repository of this server."""

    def __init__(self, builds: Builds, is_own: Callable[[Reference], bool]) -> None:
        self._builds = builds
        self._is_own = is_own

    async def check(self, rules: ClientRules, images: Iterable[Reference]) -> None:
        """Check what those of *images* that are of this server were built from.

        Raises:
            PolicyDenied: *rules* do not allow it: other clients, such as anonymous ones, may have other rules.
            BadRequest: only a builder can determine it.
        """
        if rules.base_rules.is_empty:
            return
        for image in dict.fromkeys(filter(self._is_own, images)):
            rules.check_origin(image, await self._bases(image))

    async def _bases(self, image: Reference) -> list[Reference]:
        """The inputs of *image*, also through others of this server; none without a record."""
        found, pending = dict[Reference, None](), [image]
        while pending:
            build = await latest_build(self._builds, pending.pop())
            bases = [*map(name_of, inputs_of_record(build.submission))] if build and not build.submission.mirror else []
            pending += [base for base in bases if base not in found and self._is_own(base)]
            found |= dict.fromkeys(bases)
            if len(found) > MAX_IMAGES:
                raise BadRequest(f"{image} was built from more than {MAX_IMAGES} images")
        return list(found)


async def latest_build(builds: Builds, image: Reference) -> Build | None:
    """Return the newest build of *image*, which may be a SIF file."""
    return await builds.latest(str(image)) or await builds.latest(f"{ORAS}{image}")


def inputs_of_record(submission: Submission) -> list[Input]:
    """The base images of a build, and the blobs of other repositories that it had as context or layers."""
    return [*images_of_record(submission), *blobs_in(submission.sources or ())]


def blobs_in(sources: Iterable[str]) -> list[Blob]:
    """The blobs among *sources*, as in `Submission`."""
    return [Blob(parse_blob_location(source)) for source in sources if source.startswith(BLOB_SCHEME)]


def images_of_record(submission: Submission) -> list[Reference]:
    """The base images of a build."""
    base = submission.packages.base_image if submission.packages else None
    platforms = map(parse_platform, submission.platform.split(","))
    return images_in_recipe(
        submission.containerfile,
        platforms,
        sif=submission.sif,
        base=base,
        included=submission.included,
        options=submission.options,
    )


def has_files_of_client(submission: Submission) -> bool:
    """Whether a build had files that only its client is known to have; also if the record does not say it."""
    if submission.sources is None:
        return submission.context is not None or bool(submission.layers)
    return FROM_CLIENT in submission.sources
