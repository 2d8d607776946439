"""Remote builds: the specification that a builder passes to a process elsewhere, and the result that it returns."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from builder.domain.cause import shorten
from builder.domain.failure import NO_EXIT_STATUS, BuildFailure
from swell.build_spec import BuildSpec
from swell.jobs.messages import Definition
from swell.oci.digest import Digest, parse_digest
from swell.provenance import Evidence, Material
from swell.store.records import Reason

LONGEST_MESSAGE = 1200
"""Characters of a message; each may take three bytes. Kubernetes keeps 4096 bytes of a container's termination message.

Source: Kubernetes, Determine the Reason for Pod Failure,
https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
"""


LARGEST_EVIDENCE = 3000
"""Bytes of the materials in a result, for the same reason."""


class Source(Struct, frozen=True):
    """A file to download from `url`, which expires; its content must have `digest`."""

    url: str
    digest: Digest


class RemoteBuildSpec(BuildSpec, frozen=True, kw_only=True, omit_defaults=True):
    """The specification of a remote build: a `Recipe` whose files are downloaded from URLs."""

    build_id: str
    context: Source | None = None
    files: Mapping[str, Source] = {}
    sif: Definition | None = None


class RemoteBuildResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of a remote build: the digest of the pushed image, or the reason of the failure."""

    digest: Digest | None = None
    reason: Reason | None = None
    message: str = ""
    exit_status: int = NO_EXIT_STATUS
    evidence: Evidence = Evidence()

    @classmethod
    def succeeded(cls, digest: Digest, evidence: Evidence) -> "RemoteBuildResult":
        """Return the result of a build that has pushed *digest*, with as many of its materials as there is room for."""
        materials = list[Material]()
        size = 0
        for material in evidence.materials:
            size += len(msgspec.json.encode(material)) + 1
            if size > LARGEST_EVIDENCE:
                break
            materials.append(material)
        return cls(digest=digest, evidence=Evidence(engine=evidence.engine, materials=tuple(materials)))

    @classmethod
    def from_failure(cls, failure: BuildFailure) -> "RemoteBuildResult":
        return cls(
            reason=failure.reason, message=shorten(str(failure), LONGEST_MESSAGE), exit_status=failure.exit_status
        )

    def result(self) -> Digest:
        """Return the digest of the pushed image.

        Raises:
            BuildFailure: the build failed.
        """
        if self.digest is not None:
            return parse_digest(self.digest)
        raise BuildFailure(self.reason or Reason.ENGINE, self.message, self.exit_status)


def parse_result(text: str) -> RemoteBuildResult | None:
    """Read a result from JSON; None if *text* is not a result."""
    try:
        result = msgspec.json.decode(text, type=RemoteBuildResult)
    except (msgspec.DecodeError, RecursionError):
        return None
    return result if result.digest or result.reason else None
