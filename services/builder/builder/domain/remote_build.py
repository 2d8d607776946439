"""Errands: what a builder tells a process elsewhere to build, and what comes back of it."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from builder.domain.failure import NO_STATUS, BuildFailure
from swell.build_spec import BuildSpec
from swell.jobs.messages import Definition
from swell.oci.digest import Digest, parse_digest
from swell.store.records import Reason

LONGEST_MESSAGE = 2000  # characters; a cluster keeps 4096 bytes of what a container says at its end


class Source(Struct, frozen=True):
    """A file to be fetched: from *url*, for as long as that is valid, and nothing else than *digest*."""

    url: str
    digest: Digest


class Errand(BuildSpec, frozen=True, kw_only=True, omit_defaults=True):
    """The specification of a remote build: a `Recipe` whose files are downloaded from URLs."""

    build_id: str
    context: Source | None = None
    files: Mapping[str, Source] = {}
    sif: Definition | None = None


class Outcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an errand ended: with the digest of what was pushed, or with a reason."""

    digest: Digest | None = None
    reason: Reason | None = None
    message: str = ""
    exit_status: int = NO_STATUS

    @classmethod
    def of(cls, failure: BuildFailure) -> "Outcome":
        return cls(reason=failure.reason, message=str(failure)[:LONGEST_MESSAGE], exit_status=failure.exit_status)

    def result(self) -> Digest:
        """The digest.

        Raises:
            BuildFailure: there is none, for the reason that is told.
        """
        if self.digest is not None:
            return parse_digest(self.digest)
        raise BuildFailure(self.reason or Reason.ENGINE, self.message, self.exit_status)


def parse_outcome(text: str) -> Outcome | None:
    """What was told at the end; None when that is no outcome."""
    try:
        outcome = msgspec.json.decode(text, type=Outcome)
    except msgspec.DecodeError:
        return None
    return outcome if outcome.digest or outcome.reason else None
