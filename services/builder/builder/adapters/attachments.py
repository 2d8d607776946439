"""Attachments of images in registries, and their copies in the object store."""

from collections.abc import Mapping
from functools import partial

from swell.concurrency.at_once import at_once
from swell.errors import ManifestInvalid
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.reference import Reference
from swell.provenance import Provenance, parse_provenance
from swell.registry.client import RegistryClient
from swell.registry.credentials.principal import Principal
from swell.registry.push import RegistryPush, fetch_document, upload_blob
from swell.registry.referrers import PUSHES_AT_ONCE, push_referrers
from swell.signing.bundles import MAX_BUNDLE
from swell.signing.statements import BUNDLE, EMPTY
from swell.store.attestations import Attestation, attestation_key
from swell.store.logs import lock_key, provenance_key
from swell.store.objects import Objects
from swell.store.reports import SbomFormat, sbom_key


class RegistryAttachments:
    """See `builder.attest.builds.Attachments`; *client* requests tokens with the actions `pull,push`."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    async def fetch(self, image: Reference, principal: Principal) -> Document | None:
        return await fetch_document(self._client.acting_for(principal), image)

    async def attach(self, image: Reference, attachments: Mapping[bytes, Document], principal: Principal) -> None:
        if (size := max(map(len, attachments))) > MAX_BUNDLE:
            raise ManifestInvalid(f"a bundle of {size} bytes is too large; the limit is {MAX_BUNDLE}")
        client = self._client.acting_for(principal)
        empty = partial(RegistryPush(client).blob, image, digest_of(EMPTY), EMPTY)
        bundles = (partial(upload_blob, client, image, digest_of(bundle), bundle) for bundle in attachments)
        await at_once(PUSHES_AT_ONCE, (empty, *bundles))
        await push_referrers(client, image, tuple(attachments.values()))


class StoredAttestations:
    """See `builder.attest.builds.Store`; *logs* is the bucket of logs."""

    def __init__(self, logs: Objects) -> None:
        self._logs = logs

    async def facts(self, build_id: str) -> Provenance | None:
        content = await self._logs.get(provenance_key(build_id))
        return parse_provenance(content) if content else None

    async def lock(self, build_id: str) -> str:
        content = await self._logs.get(lock_key(build_id))
        return (content or b"").decode(errors="replace")

    async def get(self, build_id: str, kind: Attestation) -> bytes | None:
        return await self._logs.get(attestation_key(build_id, kind))

    async def put(self, build_id: str, kind: Attestation, bundle: bytes) -> None:
        await self._logs.put(attestation_key(build_id, kind), bundle, BUNDLE)


class StoredSboms:
    """See `builder.attest.scans.Sboms`; *reports* is the bucket of the scanner."""

    def __init__(self, reports: Objects) -> None:
        self._reports = reports

    async def spdx(self, repository: str, manifest: Digest) -> bytes | None:
        return await self._reports.get(sbom_key(repository, manifest, SbomFormat.SPDX))
