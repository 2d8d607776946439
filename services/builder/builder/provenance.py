"""The provenance of a finished build, as it is stored."""

from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from typing import Any

import msgspec

from swell.jobs.messages import BuildJob
from swell.oci.digest import Digest
from swell.provenance import Evidence, Inputs, Provenance


def provenance_of(job: BuildJob, digest: Digest, evidence: Evidence, started: datetime, ended: datetime) -> Provenance:
    """Return the facts of the build of *job*, which has pushed *digest*."""
    return Provenance(
        build_id=job.id,
        image=job.target_image,
        digest=digest,
        inputs=Inputs(
            containerfile=job.containerfile,
            platform=job.platform,
            environment=job.environment,
            packages=job.packages,
            options=job.options,
            context=job.context,
            layers=job.layers,
            definition=job.sif.text if job.sif else None,
        ),
        evidence=evidence,
        started=started,
        ended=ended,
        version=version("builder"),
    )


def masked(provenance: Provenance, mask: Callable[[str], str]) -> Provenance:
    """Return *provenance* with *mask* applied to every text of the evidence, which an engine has written."""
    fields = _masked(msgspec.to_builtins(provenance.evidence), mask)
    return msgspec.structs.replace(provenance, evidence=msgspec.convert(fields, Evidence))


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    match value:
        case str():
            return mask(value)
        case dict():
            return {name: _masked(item, mask) for name, item in value.items()}
        case list():
            return [_masked(item, mask) for item in value]
    return value
