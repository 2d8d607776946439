"""A registry with built images, and the real cosign, for tests of signatures."""

import shutil
from pathlib import Path

import pytest
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import ec

from builder.adapters.attachments import RegistryAttachments, StoredAttestations
from builder.attest.builds import Attester
from swell.jobs.messages import BuildDone
from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.reference import Reference, parse_reference
from swell.programs import find
from swell.provenance import Evidence, Inputs, Material, Provenance
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import Keyring
from swell.registry.credentials.principal import OPERATOR
from swell.registry.pull import read_blob
from swell.registry.push import RegistryPush, fetch_document
from swell.registry.referrers import fetch_referrers
from swell.signing.bundles import KeyNotary, Notary
from swell.signing.keys import KeySigner, TrustedKeys
from swell.store.builds.memory import MemoryBuilds
from swell.store.logs import lock_key, provenance_key
from swell.store.objects import MemoryObjects
from swell.store.records import BuildResult, Submission
from swell.testing.images import make_image
from tests.bench.process import CannotMeasure, run
from tests.integration.registry_proxy.support import Registry
from tests.integration.store.test_builds import NOON

LOCK = f"https://conda.anaconda.org/bioconda/noarch/multiqc-1.25-pyhdfd78af_0.conda#sha256:{'a' * 64}\n"

BASE = Material("docker.io/library/a:1", f"sha256:{'b' * 64}")


class Site:
    """A registry with built images, their records and their logs; `attester()` has the key of `signer`."""

    def __init__(self, registry: Registry, client: RegistryClient, session: ClientSession) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self.signer, self.keys = KeySigner(key), TrustedKeys(key.public_key())
        self.builds, self.logs = MemoryBuilds(), MemoryObjects()
        self.client = client
        self.registry = registry
        self.session = session

    def attester(
        self, client: RegistryClient | None = None, signer: KeySigner | None = None, notary: Notary | None = None
    ) -> Attester:
        attachments, store = RegistryAttachments(client or self.client), StoredAttestations(self.logs)
        notary = notary or KeyNotary(signer or self.signer, self.keys)
        return Attester(self.builds, attachments, store, notary)

    async def built(self, name: str) -> tuple[BuildDone, Reference, Document]:
        """Push an image and store its build as if a builder had made it."""
        made, image = make_image(name), parse_reference(f"{self.registry.authority}/team/{name}:1")
        push = RegistryPush(self.client)
        for content in (made.config.content, made.layers[0].gzipped):
            await push.blob(image, digest_of(content), content)
        await push.document(image, made.manifest)
        submission = Submission(
            container_id=f"{abs(hash(name)):016x}"[:16],
            target_image=str(image),
            containerfile="FROM a\n",
            platform="linux/amd64",
            created=NOON,
            push_principal=OPERATOR,
        )
        build_id, _ = await self.builds.submit(submission)
        result = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON, digest=made.manifest.digest)
        await self.builds.finish(build_id, result)
        facts = Provenance(
            build_id=build_id,
            image=str(image),
            digest=made.manifest.digest,
            inputs=Inputs(containerfile="FROM a\n", platform="linux/amd64"),
            evidence=Evidence(engine="buildkit 1", materials=(BASE,)),
            started=NOON,
            ended=NOON,
        )
        await self.logs.put(provenance_key(build_id), facts.encoded())
        await self.logs.put(lock_key(build_id), LOCK.encode())
        event = BuildDone.of(build_id, submission, result)
        return event, image.at(made.manifest.digest), made.manifest

    @property
    def stranger(self) -> RegistryClient:
        """A client that the registry refuses."""
        return RegistryClient(self.session, Keyring(), actions="pull,push")

    async def attach(self, image: Reference, bundle: bytes, manifest: Document) -> None:
        """Attach *bundle* as anyone who may push can."""
        await RegistryAttachments(self.client).attach(image, {bundle: manifest}, OPERATOR)

    async def attached(self, image: Reference) -> dict[str, bytes]:
        """Return the bundles that the registry lists for *image*, by the type of their predicate."""
        bundles = {}
        for digest in await fetch_referrers(self.client, image):
            manifest = await fetch_document(self.client, image.at(digest))
            assert manifest is not None
            kind = manifest.fields["annotations"]["dev.sigstore.bundle.predicateType"]
            assert kind not in bundles
            bundles[kind] = b"".join([piece async for piece in read_blob(self.client, image, manifest.layers[0])])
        return bundles


class Cosign:
    """The real program, with the key of a site and another one."""

    def __init__(self, site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        programs = find("cosign", "cosign")
        found = str(programs[0]) if programs else shutil.which("cosign")
        assert found, "there is no cosign: run `make cosign`"
        self._program = found
        (folder / "config.json").write_bytes(site.registry.auth_file)
        monkeypatch.setenv("DOCKER_CONFIG", str(folder))
        monkeypatch.setenv("HOME", str(folder))
        self.key, self.other = folder / "key.pub", folder / "other.pub"
        self.key.write_bytes(site.signer.public_key)
        self.other.write_bytes(KeySigner(ec.generate_private_key(ec.SECP256R1())).public_key)

    async def accepts(self, image: Reference, *command: str, key: Path | None = None) -> bool:
        """Run *command* of cosign for *image* with a key."""
        return await self.run(image, *command, "--insecure-ignore-tlog", "--key", str(key or self.key))

    async def accepts_identity(
        self, image: Reference, *command: str, trusted_root: Path, identity: str, issuer: str
    ) -> bool:
        """Run *command* of cosign for *image* with the identity of a certificate."""
        flags = "--trusted-root", str(trusted_root), "--certificate-identity", identity
        return await self.run(image, *command, *flags, "--certificate-oidc-issuer", issuer)

    async def run(self, image: Reference, *command: str) -> bool:
        flags = "--allow-http-registry", str(image)
        try:
            await run(self._program, *command, *flags)
        except CannotMeasure as error:
            assert "ended with" in str(error)
            print(error)  # noqa: T201
            return False
        return True
