"""Sign the images of builds: attach a signature, the provenance and the SBOM to what was pushed.

It happens after a build has its result, so a failure loses no build. It is repeated until it succeeds, and the record
of the build has the state of the last attempt.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from builder.measures import SIGNINGS
from swell.errors import ManifestUnknown, SwellError, Unavailable
from swell.jobs.messages import BuildDone
from swell.log import log
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import Reference, parse_reference
from swell.provenance import Provenance
from swell.registry.credentials.principal import Principal
from swell.signing.bundles import Notary
from swell.signing.predicates import packages_of, slsa, spdx
from swell.signing.signed_by import SignedBy, signed_by
from swell.signing.statements import PROVENANCE, SIGNATURE, SPDX, Subject, Unsigned, attachment, encode_statement
from swell.store.attestations import Attestation
from swell.store.builds import Builds
from swell.store.records import Build, BuildResult, Signing, SigningState

Predicate = tuple[str, Mapping[str, Any]]
"""The type of a predicate, and its content."""

ORAS = "oras://"
MOST_REASON = 500  # characters
NO_SIGNER = SignedBy()
ATTEMPT = timedelta(minutes=2)
"""The longest attempt: a registry that sends one byte now and then must not stop the signatures of other images."""


class Attachments(Protocol):
    async def fetch(self, image: Reference, principal: Principal) -> Document | None:
        """Return the manifest or index of *image*; None if it is missing."""

    async def attach(self, image: Reference, attachments: Mapping[bytes, Document], principal: Principal) -> None:
        """Push *attachments*, bundles and the manifests that attach them to *image*; list them as its referrers.

        Raises:
            SwellError: the registry refuses or fails.
        """


class Store(Protocol):
    async def facts(self, build_id: str) -> Provenance | None:
        """Return what the builder has stored about a build of one platform."""

    async def lock(self, build_id: str) -> str:
        """Return the lock file of a build of packages; empty if it has none."""

    async def get(self, build_id: str, kind: Attestation) -> bytes | None:
        """Return the stored bundle; None if it is missing."""

    async def put(self, build_id: str, kind: Attestation, bundle: bytes) -> None:
        """Store *bundle* for clients; raises `Unavailable`."""


class Attester:
    """Signs by *notary*. An attempt takes at most *timeout*."""

    def __init__(
        self,
        builds: Builds,
        attachments: Attachments,
        store: Store,
        notary: Notary,
        timeout: timedelta = ATTEMPT,
    ) -> None:
        self._timeout = timeout.total_seconds()
        self._builds = builds
        self._attachments = attachments
        self._store = store
        self._notary = notary

    async def on_build_done(self, event: BuildDone, delivery: int) -> None:
        """Attach everything to the image of *event*; a repeated call attaches the same bytes again.

        Raises:
            Unavailable: the registry or the store fails; the event has to be delivered again.
        """
        if not event.succeeded:
            return
        build = await self._builds.get(event.id)
        if build is None or build.submission.mirror or not (build.result and build.result.digest):
            return
        try:
            async with asyncio.timeout(self._timeout):
                signer = await self._attest(build, build.result)
        except ManifestUnknown as error:
            log.error("image not signed: it is gone", build_id=build.id, error=str(error))
            await self._record(build.id, SigningState.GIVEN_UP, delivery, f"the image is gone: {error}")
        except (SwellError, TimeoutError) as error:
            reason = str(error) or "the registry is too slow for a signature"
            log.warning("image not signed, trying again", build_id=build.id, attempt=delivery, error=reason)
            await self._record(build.id, SigningState.RETRYING, delivery, reason)
            raise Unavailable(f"the image of {build.id} is not signed: {reason}") from error
        else:
            log.info(
                "image signed",
                build_id=build.id,
                digest=build.result.digest,
                key=signer.key_id or None,
                identity=signer.identity or None,
            )
            await self._record(build.id, SigningState.SIGNED, delivery, signer=signer)

    async def give_up(self, build_id: str, why: str) -> None:
        """Record that no further attempt follows; the dead letter can be replayed.

        Raises:
            Unavailable: the store does not answer.
        """
        known = await self._builds.signing(build_id)
        last = f"; at last: {known.reason}" if known and known.reason else ""
        await self._record(build_id, SigningState.GIVEN_UP, known.attempts if known else 0, f"its job {why}{last}")

    async def _record(
        self, build_id: str, state: SigningState, attempt: int, reason: str = "", signer: SignedBy = NO_SIGNER
    ) -> None:
        signing = Signing(
            state=state,
            attempts=attempt,
            time=datetime.now(UTC),
            reason=reason[:MOST_REASON],
            key_id=signer.key_id,
            identity=signer.identity,
            issuer=signer.issuer,
        )
        await self._builds.put_signing(build_id, signing)
        SIGNINGS.labels(state.name.lower().replace("_", "-")).inc()

    async def has_sbom(self, build_id: str) -> bool:
        """Whether the image of *build_id* has an SBOM, or gets one of its lock file."""
        lock = await self._store.lock(build_id)
        return any(packages_of(lock)) or await self._store.get(build_id, Attestation.SBOM) is not None

    async def attach_sbom(self, build: Build, manifest: Digest, document: Mapping[str, Any]) -> None:
        """Attach the SPDX *document* to *manifest*, the image of *build* or of one of its platforms.

        Raises:
            SwellError: as of `Attachments`.
        """
        image = await self._fetch(build, manifest)
        await self._attach(build, image, {Attestation.SBOM: (SPDX, document)})

    async def _attest(self, build: Build, result: BuildResult) -> SignedBy:
        """Attach everything to the image of *build*; return who has signed it."""
        document, facts, lock = await asyncio.gather(
            self._fetch(build, Digest(str(result.digest))), self._store.facts(build.id), self._store.lock(build.id)
        )
        predicates: dict[Attestation, Predicate] = {
            Attestation.PROVENANCE: (PROVENANCE, slsa(build.id, build.submission, result, facts, lock)),
            Attestation.SIGNATURE: (SIGNATURE, {}),
        }
        if packages := spdx(build.submission.target_image, document.digest, result.finished, lock, facts):
            predicates[Attestation.SBOM] = (SPDX, packages)
        bundles = await self._attach(build, document, predicates)
        return signed_by(bundles[Attestation.SIGNATURE])

    async def _fetch(self, build: Build, manifest: Digest) -> Document:
        image = _image_of(build).at(manifest)
        if (document := await self._attachments.fetch(image, build.submission.push_principal)) is None:
            raise ManifestUnknown(f"{image} is not in the registry")
        return document

    async def _attach(
        self, build: Build, document: Document, predicates: Mapping[Attestation, Predicate]
    ) -> Mapping[Attestation, bytes]:
        """Sign *predicates*, attach them to *document*, and store them if that is the image of *build*."""
        subject = Subject(build.submission.target_image.removeprefix(ORAS), document.digest)
        earlier = await asyncio.gather(*(self._store.get(build.id, kind) for kind in predicates))
        statements = [
            Unsigned(encode_statement(subject, kind, predicate), document.digest, kind, stored)
            for (kind, predicate), stored in zip(predicates.values(), earlier, strict=True)
        ]
        bundles = await self._notary.sign(statements)
        attachments = {
            bundle: attachment(bundle, statement.predicate_type, document)
            for statement, bundle in zip(statements, bundles, strict=True)
        }
        await self._attachments.attach(_image_of(build), attachments, build.submission.push_principal)
        signed = dict(zip(predicates, bundles, strict=True))
        if build.result and build.result.digest == document.digest:
            await asyncio.gather(*(self._store.put(build.id, kind, bundle) for kind, bundle in signed.items()))
        return signed


def _image_of(build: Build) -> Reference:
    return parse_reference(build.submission.target_image.removeprefix(ORAS))
