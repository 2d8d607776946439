"""The job of a build: for one platform, for an index, or for a mirror."""

from gateway.domain.definition import translate
from swell.build_spec import carry
from swell.jobs.messages import BuildJob, IndexJob, MirrorJob
from swell.store.records import Build


def job_of(build: Build) -> BuildJob | IndexJob | MirrorJob:
    """Return the job that makes the image of *build*."""
    submission = build.submission
    if submission.mirror:
        return MirrorJob(id=build.id, target_image=submission.target_image, organisation=submission.organisation)
    if submission.children:
        return IndexJob(
            id=build.id,
            target_image=submission.target_image,
            platform=submission.platform,
            organisation=submission.organisation,
            push_principal=submission.push_principal,
        )
    translation = translate(submission.containerfile) if submission.sif else None
    return carry(
        submission,
        BuildJob,
        id=build.id,
        containerfile=translation.containerfile if translation else submission.containerfile,
        context=submission.context,
        layers=submission.layers,
        organisation=submission.organisation,
        sif=translation.definition if translation else None,
    )
