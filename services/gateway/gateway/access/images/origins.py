"""What images of this server were built from, by the records of their builds."""

from collections.abc import Callable, Iterable

from msgspec import Struct

from gateway.domain.base_images import images_in_recipe
from gateway.domain.named_channels import channels_of_record
from gateway.domain.policy import ClientRules
from swell.errors import BadRequest
from swell.naming.image_name import ORAS
from swell.oci.platform import parse_platform
from swell.oci.reference import BLOB_SCHEME, Reference, parse_blob_location
from swell.store.builds import Builds
from swell.store.records import FROM_CLIENT, Build, Submission

MAX_IMAGES = 100  # of one recipe, and that one image was built from
MAX_BLOBS = 101  # a context, and the layers of a request


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
        self.is_own = is_own

    async def check(self, rules: ClientRules, images: Iterable[Reference]) -> None:
        """Check what those of *images* that are of this server were built from.

        Raises:
            PolicyDenied: *rules* do not allow it: other clients, such as anonymous ones, may have other rules.
            BadRequest: only a builder can determine it.
        """
        for image in dict.fromkeys(filter(self.is_own, images)) if rules.limit_builds else ():
            build = await latest_build(self._builds, image)
            if build and not build.submission.mirror:
                await self.check_build(rules, image, build.submission)

    async def check_build(self, rules: ClientRules, image: Reference, submission: Submission) -> None:
        """Check what *image* of the build *submission* was made from; raises as `check`."""
        if not rules.limit_builds:
            return
        submissions, inputs = await self._made_of(image, submission)
        rules.check_origin(image, inputs)
        for each in submissions if rules.rules.denied_channels else ():
            rules.check_channels(image, channels_of_record(each))

    async def _made_of(self, image: Reference, submission: Submission) -> tuple[list[Submission], list[Reference]]:
        """The builds that *image* was made by, through others of this server, and all their inputs."""
        submissions, inputs = [submission], dict[Reference, None]()
        for each in submissions:
            added = [name for name in map(name_of, inputs_of_record(each)) if name not in inputs]
            inputs |= dict.fromkeys(added)
            if len(inputs) > MAX_IMAGES + MAX_BLOBS:
                raise BadRequest(f"{image} was built from more than {MAX_IMAGES} images")
            for own in filter(self.is_own, added):
                build = await latest_build(self._builds, own)
                if build and not build.submission.mirror:
                    submissions.append(build.submission)
        return submissions, list(inputs)


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
