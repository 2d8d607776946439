"""Signing: what a builder attaches to an image in a real docker-registry 2.8, which has no referrers API."""

import base64
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from builder.adapters.attachments import RegistryAttachments, StoredSboms
from builder.attest.scans import ScanAttester
from swell.errors import ManifestInvalid, Unavailable
from swell.jobs.messages import SbomStored, ScanDone
from swell.oci.digest import hex_of
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import Keyring
from swell.registry.credentials.principal import OPERATOR
from swell.signing.bundles import verify
from swell.signing.keys import KeySigner
from swell.signing.statements import PROVENANCE, SIGNATURE, SPDX, attachment
from swell.store.attestations import Attestation, attestation_key
from swell.store.logs import lock_key
from swell.store.objects import MemoryObjects
from swell.store.records import SigningState
from swell.store.reports import SbomFormat, sbom_key
from swell.store.scans import PlatformScan, ScanResult, ScanSubmission
from swell.store.scans.memory import MemoryScans
from swell.store.scans.records import build_key
from tests.integration.signing.site import LOCK, Cosign, Site
from tests.integration.store.test_builds import NOON


async def test_an_image_gets_signature_provenance_and_sbom(site: Site) -> None:
    """Each is verified with the public key alone, names the image, and is stored for the routes as well."""
    event, image, _ = await site.built("signed")

    await site.attester().on_build_done(event, 1)

    bundles = await site.attached(image)
    assert bundles.keys() == {SIGNATURE, PROVENANCE, SPDX}
    digest = image.digest
    assert digest is not None
    assert verify(bundles[SIGNATURE], site.keys, digest, SIGNATURE) == {}
    definition = verify(bundles[PROVENANCE], site.keys, digest, PROVENANCE)["buildDefinition"]
    assert {"uri": "docker.io/library/a:1", "digest": {"sha256": "b" * 64}} in definition["resolvedDependencies"]
    assert verify(bundles[SPDX], site.keys, digest, SPDX)["packages"][0]["name"] == "multiqc"
    for kind, predicate_type in zip(Attestation, (SIGNATURE, PROVENANCE, SPDX), strict=True):
        assert await site.logs.get(attestation_key(event.id, kind)) == bundles[predicate_type]


async def test_a_repeated_attempt_adds_nothing(site: Site) -> None:
    """Also after the key was replaced: what a former key has signed stays."""
    event, image, _ = await site.built("twice")
    await site.attester().on_build_done(event, 1)
    before = await site.attached(image)

    await site.attester().on_build_done(event, 2)
    new = KeySigner(ec.generate_private_key(ec.SECP256R1()))
    await site.attester(signer=new).on_build_done(event, 3)

    assert await site.attached(image) == before


async def test_a_failure_is_repeated_and_loses_no_build(site: Site) -> None:
    """The registry refuses: the event is delivered again, and the result of the build is untouched."""
    event, image, _ = await site.built("refused")
    stranger = RegistryClient(site.session, Keyring(), actions="pull,push")

    with pytest.raises(Unavailable, match="is not signed"):
        await site.attester(stranger).on_build_done(event, 1)

    build = await site.builds.get(event.id)
    assert build is not None and build.result is not None and build.result.succeeded
    failed = await site.builds.signing(event.id)
    assert failed is not None and (failed.state, failed.attempts) == (SigningState.RETRYING, 1)
    assert site.registry.authority in failed.reason
    await site.attester().on_build_done(event, 2)
    signed = await site.builds.signing(event.id)
    assert signed is not None and (signed.state, signed.attempts, signed.reason) == (SigningState.SIGNED, 2, "")
    assert (await site.attached(image)).keys() == {SIGNATURE, PROVENANCE, SPDX}


async def test_failed_builds_and_deleted_images_are_not_signed(site: Site) -> None:
    """A deleted image cannot be signed later either, so its event is done."""
    event, _, _ = await site.built("failed")
    await site.attester().on_build_done(msgspec.structs.replace(event, succeeded=False), 1)
    assert await site.logs.get(attestation_key(event.id, Attestation.SIGNATURE)) is None

    gone, image, _ = await site.built("gone")
    build = await site.builds.get(gone.id)
    assert build is not None
    site.builds._builds[gone.id] = msgspec.structs.replace(
        build, submission=msgspec.structs.replace(build.submission, target_image=f"{image.registry}/team/never:1")
    )
    await site.attester().on_build_done(gone, 1)
    assert await site.attached(image) == {}
    signing = await site.builds.signing(gone.id)
    assert signing is not None and signing.state is SigningState.GIVEN_UP and "gone" in signing.reason


async def scanned(site: Site, name: str, lock: str = "") -> tuple[ScanAttester, ScanDone, Reference]:
    """A signed image without lock file, and a scan of it with a stored SBOM."""
    event, image, document = await site.built(name)
    await site.logs.put(lock_key(event.id), lock.encode())
    await site.attester().on_build_done(event, 1)
    scans, reports = MemoryScans(), MemoryObjects()
    submission = ScanSubmission(key=build_key(event.id), image=image.name, created=NOON, build_id=event.id)
    scan_id, _ = await scans.request("d700b75853d8096c", submission, "client")
    scan = await scans.get(scan_id)
    assert scan is not None
    platform = PlatformScan(platform="linux/amd64", digest=document.digest, packages=1)
    await scans.finish(scan, ScanResult(started=NOON, finished=NOON, packages=1, platforms=(platform,)))
    await reports.put(sbom_key(image.name, document.digest, SbomFormat.SPDX), b'{"packages": [{"name": "found"}]}')
    attester = ScanAttester(scans, site.builds, StoredSboms(reports), site.attester())
    done = ScanDone(
        id=scan_id, image=image.name, platform="linux/amd64", succeeded=True, finished=NOON, build_id=event.id
    )
    return attester, done, image


async def test_the_sbom_of_a_scan_is_attached_where_the_build_has_none(site: Site) -> None:
    """A container file has no lock file: the scanner lists its packages. A repeated event adds nothing."""
    attester, done, image = await scanned(site, "scanned")
    assert SPDX not in await site.attached(image)

    await attester.on_scan_done(done, 1)
    bundles = await site.attached(image)
    await attester.on_scan_done(done, 2)

    assert await site.attached(image) == bundles and image.digest is not None
    assert verify(bundles[SPDX], site.keys, image.digest, SPDX)["packages"] == [{"name": "found"}]
    assert await site.logs.get(attestation_key(done.build_id, Attestation.SBOM)) == bundles[SPDX]


async def test_the_sbom_of_an_image_that_is_not_scanned_is_attached(site: Site) -> None:
    """The scanner has listed the packages after the build."""
    attester, done, image = await scanned(site, "listed")
    assert image.digest is not None

    for attempt in (1, 2):
        await attester.on_sbom_stored(SbomStored(id=done.build_id, manifests=(image.digest,)), attempt)
    await attester.on_sbom_stored(SbomStored(id="bd-0123456789abcdef_1", manifests=(image.digest,)), 1)

    bundles = await site.attached(image)
    assert verify(bundles[SPDX], site.keys, image.digest, SPDX)["packages"] == [{"name": "found"}]


async def test_the_sbom_of_a_lock_file_is_not_replaced_by_that_of_a_scan(site: Site) -> None:
    """The packages of the solve are exact."""
    attester, done, image = await scanned(site, "solved", LOCK)
    before = await site.attached(image)

    await attester.on_scan_done(done, 1)

    assert await site.attached(image) == before


async def test_an_sbom_that_cannot_be_attached_is_tried_again(site: Site) -> None:
    """The registry refuses; the build and its signature stay."""
    attester, done, image = await scanned(site, "retried")
    stranger = RegistryClient(site.session, Keyring(), actions="pull,push")
    refused = ScanAttester(attester._scans, site.builds, attester._sboms, site.attester(stranger))

    with pytest.raises(Unavailable, match="is not attached"):
        await refused.on_scan_done(done, 1)

    await attester.on_scan_done(done, 2)
    assert SPDX in await site.attached(image)


ATTESTED = "verify-attestation", "--type"


@pytest.mark.full
async def test_cosign_accepts_the_signature_and_refuses_other_keys(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real program reads our bundles from a registry without the referrers API."""
    cosign = Cosign(site, tmp_path, monkeypatch)
    event, image, _ = await site.built("cosign")
    await site.attester().on_build_done(event, 1)

    for command in (("verify",), (*ATTESTED, "slsaprovenance1"), (*ATTESTED, SPDX)):
        assert await cosign.accepts(image, *command)
        assert not await cosign.accepts(image, *command, key=cosign.other)
    assert not await cosign.accepts(image, *ATTESTED, "https://slsa.dev/provenance/v0.2")


@pytest.mark.full
async def test_cosign_refuses_what_was_replaced(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another layer, another SBOM in the envelope, and the bundle of another image."""
    cosign = Cosign(site, tmp_path, monkeypatch)
    event, signed, _ = await site.built("original")
    await site.attester().on_build_done(event, 1)
    bundles = await site.attached(signed)
    attachments = RegistryAttachments(site.client)

    _, layered, _ = await site.built("layer")
    assert not await cosign.accepts(layered, "verify")

    _, copied, document = await site.built("copied")
    for kind, bundle in bundles.items():
        manifest = attachment(bundle, kind, document)
        await attachments.attach(copied, {bundle: manifest}, OPERATOR)
    assert not await cosign.accepts(copied, "verify")
    assert not await cosign.accepts(copied, *ATTESTED, SPDX)

    _, changed, document = await site.built("sbom")
    fields = msgspec.json.decode(bundles[SPDX])
    statement = msgspec.json.decode(base64.b64decode(fields["dsseEnvelope"]["payload"]))
    statement["subject"][0]["digest"]["sha256"] = hex_of(document.digest)
    statement["predicate"]["packages"] = []
    fields["dsseEnvelope"]["payload"] = base64.b64encode(msgspec.json.encode(statement)).decode()
    bundle = msgspec.json.encode(fields)
    manifest = attachment(bundle, SPDX, document)
    await attachments.attach(changed, {bundle: manifest}, OPERATOR)
    assert not await cosign.accepts(changed, *ATTESTED, SPDX)
    with pytest.raises(ManifestInvalid, match="trusted key"):
        verify(bundle, site.keys, document.digest, SPDX)
