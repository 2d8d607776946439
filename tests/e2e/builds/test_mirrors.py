"""Mirrors: copies of whole images into a registry of the client, as Wave's clients request and read them.

The same stack signs the images that it builds, and none that it mirrors.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from swell.jobs import streams
from swell.jobs.messages import BuildDone
from swell.net.outbound import Policy, open_session
from swell.oci.document import Document
from swell.oci.platform import parse_platform
from swell.oci.reference import Reference, parse_reference
from swell.programs import find
from swell.registry.client import RegistryClient
from swell.registry.copy import Copier
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell.registry.credentials.principal import OPERATOR
from swell.registry.pull import read_blob
from swell.registry.push import fetch_document
from swell.registry.referrers import fetch_referrers
from swell.signing.bundles import verify
from swell.signing.keys import TrustedKeys
from swell.signing.statements import PROVENANCE, SIGNATURE, SPDX
from swell.testing import rootfs
from swell.testing.http_registry import HttpRegistry, http_registry
from swell.testing.images import Layer, make_image, make_index
from swell_embedded.stack import Stack
from tests.bench.process import CannotMeasure, run
from tests.e2e.busybox import push
from tests.e2e.client import PLAIN, PUSHER, Swell, client_of, until
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams
from tests.integration.registry_copy.places import large_image, referring

KEY = ec.generate_private_key(ec.SECP256R1())
NULLS = dict.fromkeys(("entrypoint", "cmd", "env", "workingDir", "layers"))


@pytest.fixture(scope="module")
async def source() -> AsyncIterator[HttpRegistry]:
    async with http_registry() as registry:
        yield registry


@pytest.fixture(scope="module")
async def stack(
    new_stack: OpenStack, source: HttpRegistry, upstreams: Upstreams, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """A stack whose builder tests kill; a job whose builder died goes to another builder after five seconds."""
    hosts = ",".join((*upstreams.hosts, source.authority))
    home = tmp_path_factory.mktemp("mirrors")
    (home / "signing.pem").write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    settings = {"JOB_LEASE": "PT5S", "ALLOWED_HOSTS": hosts, "BUILD_SBOMS": "true"}
    settings |= dict.fromkeys(("SIGNING_KEY_FILE", "PULL_SIGNING_KEY_FILE"), str(home / "signing.pem"))
    async with new_stack(home / "stack", **settings) as opened:
        yield opened


@pytest.fixture(scope="module")
async def swell(stack: Stack) -> AsyncIterator[Swell]:
    async with client_of(stack.url) as client:
        yield client


@pytest.fixture
async def target(upstreams: Upstreams, source: HttpRegistry) -> AsyncIterator["Target"]:
    async with open_session(Policy(frozenset((*upstreams.hosts, source.authority)))) as session:
        yield Target(upstreams, session)


class Target:
    """The registry that mirrors are pushed to: a real one with HTTP Basic."""

    def __init__(self, upstreams: Upstreams, session: aiohttp.ClientSession) -> None:
        keyring = parse_auth_file(upstreams.auth_file.read_bytes())
        self._session = session
        self.repository = f"{upstreams.basic}/mirrors"
        self._client = RegistryClient(session, keyring).acting_for(OPERATOR)

    async def fetch(self, image: str) -> Document | None:
        return await fetch_document(self._client, parse_reference(image))

    async def missing(self, source: Reference, name: str) -> int:
        """Return the bytes of *source*, in an open registry, that the copy *name* lacks."""
        copier = Copier(RegistryClient(self._session, Keyring()), self._client)
        return (await copier.plan(source, parse_reference(f"{self.repository}/{name}"))).size


def put_index(source: HttpRegistry, name: str) -> Document:
    """Store an index of two platforms in the source."""
    image = source.image(name)
    made = [
        make_image(f"{name} {platform}", platform=platform, layers=2) for platform in ("linux/amd64", "linux/arm64")
    ]
    for each in made:
        layers = (layer.gzipped for layer in each.layers)
        source.put(image.at(each.manifest.digest), each.manifest, each.config.content, *layers)
    index = make_index(*((each.manifest, each.platform) for each in made))
    source.put(image, index)
    return index


async def record_of(swell: Swell, mirror_id: str) -> dict[str, Any]:
    """Wait for the end of a mirror and return its record."""

    async def ended() -> dict[str, Any] | None:
        status, record = await swell.get(f"/v1alpha1/mirrors/{mirror_id}")
        assert status == 200, record
        return record if record["status"] == "COMPLETED" else None

    return await until(ended, seconds=60)


@pytest.mark.row("B6", "R7", "S13", "E7")
async def test_a_mirror_has_the_digest_of_its_source_e7_e17(swell: Swell, source: HttpRegistry, target: Target) -> None:
    """The request of nf-wave, with a config of five nulls: the copy has all platforms, and the status a mirrorId."""
    index, name = put_index(source, "acme/tool:2.1"), f"{source.authority}/acme/tool:2.1"

    answer = await swell.submit(
        containerImage=name, mirror=True, buildRepository=target.repository, containerConfig=NULLS, freeze=False
    )

    image = f"{target.repository}/acme/tool:2.1"
    assert (answer["targetImage"], answer["containerImage"], answer["mirror"]) == (image, image, True)
    assert answer["buildId"].startswith("mr-") and len(answer["buildId"]) == 15 and answer["cached"] is False
    assert not {"containerToken", "expiration", "succeeded"} & answer.keys()
    record = await record_of(swell, answer["buildId"])
    assert (record["digest"], record["exitCode"], record["sourceImage"]) == (index.digest, 0, name)
    copied = await target.fetch(image)
    assert copied is not None and copied.content == index.content
    _, status = await swell.get(f"/v1alpha2/container/{answer['requestId']}/status")
    assert status.get("status"), status
    assert (status["status"], status["succeeded"], status["mirrorId"]) == ("DONE", True, answer["buildId"])
    assert "buildId" not in status
    _, container = await swell.get(f"/v1alpha2/container/{answer['requestId']}")
    assert (container["mirror"], container["buildId"], container["sourceImage"]) == (True, answer["buildId"], image)
    log = (await swell.bytes(f"/v1alpha1/mirrors/{answer['buildId']}/logs")).decode()
    assert f"{image} is {index.digest}" in log


async def test_an_equal_copy_is_cached_and_a_moved_tag_is_not(
    swell: Swell, source: HttpRegistry, target: Target
) -> None:
    """ "Cached" means that the digests are equal now, not that there was a mirror some time ago."""
    put_index(source, "acme/moving:1")
    request = {"containerImage": f"{source.authority}/acme/moving:1", "buildRepository": target.repository}
    first = await swell.submit(mirror=True, **request)
    await record_of(swell, first["buildId"])

    again = await swell.submit(mirror=True, **request)
    assert (again["cached"], again["succeeded"], again["buildId"]) == (True, True, first["buildId"])
    dry = await swell.submit(mirror=True, dryRun=True, **request)
    assert dry["buildId"].endswith("_0") and dry["cached"] is True

    moved = make_image("moved")
    source.put(source.image("acme/moving:1"), moved.manifest, moved.config.content, moved.layers[0].gzipped)
    dry = await swell.submit(mirror=True, dryRun=True, **request)
    assert dry["cached"] is False
    third = await swell.submit(mirror=True, **request)
    assert third["cached"] is False and third["buildId"] != first["buildId"]
    assert (await record_of(swell, third["buildId"]))["digest"] == moved.manifest.digest


async def test_a_killed_builder_finishes_the_mirror_once(
    stack: Stack, swell: Swell, source: HttpRegistry, target: Target
) -> None:
    """While blobs are missing there is no tag; the next builder continues, and there is one result and one event."""
    image = make_image("killed", layers=3)
    for layer in image.layers:
        source.gates[layer.digest] = asyncio.Event()
    source.put(
        source.image("acme/killed:1"), image.manifest, image.config.content, *(each.gzipped for each in image.layers)
    )
    answer = await swell.submit(
        containerImage=f"{source.authority}/acme/killed:1", mirror=True, buildRepository=target.repository
    )
    reads = source.requests["GET blobs"]

    async def is_reading() -> bool:
        return source.requests["GET blobs"] >= reads + 3

    source.gates[image.layers[0].digest].set()
    await until(is_reading)
    stack.kill("builder")
    assert await target.fetch(f"{target.repository}/acme/killed:1") is None
    for gate in source.gates.values():
        gate.set()
    await stack.restart("builder")

    record = await record_of(swell, answer["buildId"])
    assert (record["digest"], record["exitCode"]) == (image.manifest.digest, 0)
    copied = await target.fetch(f"{target.repository}/acme/killed:1")
    assert copied is not None and copied.digest == image.manifest.digest
    assert await events_of(stack, answer["buildId"]) == 1


@pytest.mark.parametrize("mirrors", [1, pytest.param(12, marks=pytest.mark.full)])
async def test_a_mirror_is_finished_once_whenever_its_builder_is_killed(
    stack: Stack, swell: Swell, source: HttpRegistry, target: Target, mirrors: int
) -> None:
    """At any moment: between requests, in the middle of an upload, before or after the tag. A tag that exists is
    complete. Half of the builders that continue are killed, too.
    """
    moments = random.Random(mirrors)  # noqa: S311  (no secret)
    started = time.monotonic()
    await _mirrored(swell, source, target, "undisturbed")
    duration = time.monotonic() - started
    for number in range(mirrors):
        name = f"acme/moment-{mirrors}-{number}"
        index = _put_large(source, name)
        answer = await swell.submit(
            containerImage=f"{source.authority}/{name}:1", mirror=True, buildRepository=target.repository
        )
        for _ in range(2 - number % 2):
            await asyncio.sleep(moments.uniform(0, duration))
            stack.kill("builder")
            if await target.fetch(f"{target.repository}/{name}:1"):
                assert await target.missing(source.image(f"{name}:1"), f"{name}:1") == 0
            await stack.restart("builder")

        record = await record_of(swell, answer["buildId"])
        assert (record["digest"], record["exitCode"]) == (index.digest, 0), record
        copied = await target.fetch(f"{target.repository}/{name}:1")
        assert copied is not None and copied.digest == index.digest
        assert await target.missing(source.image(f"{name}:1"), f"{name}:1") == 0
        assert await events_of(stack, answer["buildId"]) == 1


async def _mirrored(swell: Swell, source: HttpRegistry, target: Target, name: str) -> None:
    """Mirror an image without any disturbance."""
    _put_large(source, f"acme/{name}")
    request = {"containerImage": f"{source.authority}/acme/{name}:1", "buildRepository": target.repository}
    record = await record_of(swell, (await swell.submit(mirror=True, **request))["buildId"])
    assert record["exitCode"] == 0, record


def _put_large(source: HttpRegistry, name: str) -> Document:
    """Store an index of two platforms, each with a layer of 16 MiB, and a document that refers to it."""
    image, made = source.image(f"{name}:1"), []
    for platform in ("linux/amd64", "linux/arm64"):
        manifest, config, layer = large_image(16 << 20)
        source.put(image.at(manifest.digest), manifest, config, layer)
        made.append((manifest, parse_platform(platform)))
    index = make_index(*made)
    source.put(image, index)
    note, content = referring(index, name)
    source.put(image.at(note.digest), note, content)
    return index


async def events_of(stack: Stack, mirror_id: str) -> int:
    """Count the events of the end of a mirror."""
    async with streams.connect(stack.env["SWELL_NATS_URL"], "test") as nats:
        source = await nats.stream.subscribe(BuildDone.subject, ordered_consumer=True)
        pending, count = 1, 0
        while pending:
            message = await source.next_msg(timeout=5)
            pending = message.metadata.num_pending
            count += f'"{mirror_id}"'.encode() in message.data
    return count


async def test_a_mirror_can_be_cancelled(swell: Swell, source: HttpRegistry, target: Target) -> None:
    """The copy stops, nothing is tagged, and the record says so."""
    image = make_image("cancelled")
    source.gates[image.layers[0].digest] = asyncio.Event()
    source.put(source.image("acme/cancelled:1"), image.manifest, image.config.content, image.layers[0].gzipped)
    answer = await swell.submit(
        containerImage=f"{source.authority}/acme/cancelled:1", mirror=True, buildRepository=target.repository
    )

    status, cancelled = await swell.post(f"/v1alpha1/mirrors/{answer['buildId']}/cancel", requestId=answer["requestId"])

    assert (status, cancelled["cancelled"]) == (200, True)
    assert (await record_of(swell, answer["buildId"]))["reason"] == "cancelled"
    source.gates[image.layers[0].digest].set()
    assert await target.fetch(f"{target.repository}/acme/cancelled:1") is None


async def test_a_list_of_images_is_one_job(swell: Swell, source: HttpRegistry, target: Target) -> None:
    """A dry run returns the bytes of each image and what is missing; after the mirror nothing is missing."""
    names = [f"{source.authority}/acme/list-{number}:1" for number in range(3)]
    indexes = [put_index(source, name.partition("/")[2]) for name in names]
    request = {"images": names, "buildRepository": target.repository}

    _, plan = await swell.post("/v1alpha1/mirrors", dryRun=True, **request)
    assert [each["digest"] for each in plan["images"]] == [index.digest for index in indexes]
    assert plan["missing"] == sum(each["size"] for each in plan["images"]) > 0
    assert "mirrorId" not in plan
    _, answer = await swell.post("/v1alpha1/mirrors", **request)
    record = await record_of(swell, answer["mirrorId"])

    assert [each["digest"] for each in record["images"]] == [index.digest for index in indexes]
    for name, index in zip(names, indexes, strict=True):
        copied = await target.fetch(f"{target.repository}/{name.partition('/')[2]}")
        assert copied is not None and copied.digest == index.digest
    _, plan = await swell.post("/v1alpha1/mirrors", dryRun=True, **request)
    assert (plan["missing"], plan["cached"]) == (0, True)
    _, again = await swell.post("/v1alpha1/mirrors", **request)
    assert again["cached"] and "mirrorId" not in again


async def test_a_missing_image_and_a_foreign_repository_are_refused(
    swell: Swell, source: HttpRegistry, target: Target, stack: Stack
) -> None:
    """Nothing is queued: the image is missing, the key has no scope, or the repository belongs to this server."""
    put_index(source, "acme/refused:1")
    there, missing = f"{source.authority}/acme/refused:1", f"{source.authority}/acme/missing:1"

    status, answer = await swell.post(containerImage=missing, mirror=True, buildRepository=target.repository)
    assert (status, "acme/missing" in answer["message"]) == (400, True)
    status, answer = await swell.post(
        containerImage=there, mirror=True, buildRepository=target.repository, towerAccessToken=PLAIN
    )
    assert (status, "operator-push" in answer["message"]) == (403, True)
    own_repository = stack.env["SWELL_BUILD_REPOSITORY"]
    status, answer = await swell.post(
        containerImage=there, mirror=True, buildRepository=own_repository, towerAccessToken=PUSHER
    )
    assert (status, "belongs to this server" in answer["message"]) == (400, True)
    for path in ("", "/logs"):
        status, _ = await swell.get(f"/v1alpha1/mirrors/mr-0123456789ab{path}")
        assert status == 404


async def test_a_built_image_is_signed_and_a_mirror_is_not(
    swell: Swell, source: HttpRegistry, target: Target, upstreams: Upstreams
) -> None:
    """The routes return bundles of the operator's key for the digest of the build; a mirror is not ours to sign."""
    answer = await swell.build(f"FROM {upstreams.image()}\nLABEL signed=yes\n")
    assert (await swell.ended(answer["buildId"]))["succeeded"]
    path = f"/v1alpha1/builds/{answer['buildId']}"
    _, record = await swell.get(path)

    async def signed() -> dict[str, Any] | None:
        status, bundle = await swell.get(f"{path}/signature")
        return bundle if status == 200 else None

    keys = TrustedKeys(KEY.public_key())
    assert verify(msgspec.json.encode(await until(signed)), keys, record["digest"], SIGNATURE) == {}
    _, bundle = await swell.get(f"{path}/provenance")
    predicate = verify(msgspec.json.encode(bundle), keys, record["digest"], PROVENANCE)
    assert "LABEL signed=yes" in predicate["buildDefinition"]["externalParameters"]["containerFile"]

    index = put_index(source, "acme/unsigned:1")
    request = {"containerImage": f"{source.authority}/acme/unsigned:1", "buildRepository": target.repository}
    await record_of(swell, (await swell.submit(mirror=True, **request))["buildId"])
    tag = f"{target.repository}/acme/unsigned:{index.digest.replace(':', '-')}"
    assert await target.fetch(tag) is None


async def test_the_image_of_a_container_file_gets_an_sbom(swell: Swell, upstreams: Upstreams, target: Target) -> None:
    """No scan was requested: the scanner lists the packages after the build, and the builder attaches them."""
    layer = Layer(*rootfs.layer_of(rootfs.debian({"libdemo": "1.0-1"})))
    base = await push(f"{upstreams.open}/acme/with-packages:1", layer)
    answer = await swell.build(f"FROM {base}\nLABEL sbom=yes\n")
    path = f"/v1alpha1/builds/{answer['buildId']}"

    async def attached() -> dict[str, Any] | None:
        status, document = await swell.get(f"{path}/sbom")
        return document if status == 200 and "dsseEnvelope" in document else None

    bundle = msgspec.json.encode(await until(attached, seconds=180))
    digest = (await swell.get(path))[1]["digest"]
    document = verify(bundle, TrustedKeys(KEY.public_key()), digest, SPDX)
    assert "libdemo" in {package["name"] for package in document["packages"]}
    assert (await swell.get(f"{path}/sbom?platform=linux/amd64"))[1] == msgspec.json.decode(bundle)
    assert (await swell.get(f"{path}/sbom?platform=linux/arm64"))[0] == 404


async def test_an_augmented_image_is_signed_at_the_pull(swell: Swell, upstreams: Upstreams) -> None:
    """The token serves a signature and a provenance that names the base, for the digest that clients pull."""
    answer = await swell.submit(containerImage=upstreams.image(), containerConfig={"env": ["SIGNED=yes"]})
    image = parse_reference(answer["targetImage"])
    async with open_session(Policy(frozenset({"localhost", "127.0.0.1"}))) as session:
        client = RegistryClient(session, Keyring())
        document = await fetch_document(client, image)
        assert document is not None
        bundles = {}
        for digest in await fetch_referrers(client, image.at(document.digest)):
            manifest = await fetch_document(client, image.at(digest))
            assert manifest is not None
            kind = manifest.fields["annotations"]["dev.sigstore.bundle.predicateType"]
            bundles[kind] = b"".join([piece async for piece in read_blob(client, image, manifest.layers[0])])

    keys = TrustedKeys(KEY.public_key())
    assert verify(bundles[SIGNATURE], keys, document.digest, SIGNATURE) == {}
    definition = verify(bundles[PROVENANCE], keys, document.digest, PROVENANCE)["buildDefinition"]
    assert definition["externalParameters"]["env"] == ["SIGNED=yes"]
    assert definition["resolvedDependencies"][0]["uri"] == upstreams.image().rpartition(":")[0]


@pytest.mark.full
async def test_cosign_verifies_an_image_through_its_token(
    swell: Swell, upstreams: Upstreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token serves the list of signatures, the bundles and their blobs; another key is refused."""
    programs = find("cosign", "cosign")
    assert programs, "there is no cosign: run `make cosign`"
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, key in (("ours", KEY), ("other", ec.generate_private_key(ec.SECP256R1()))):
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub").write_bytes(pem)
    augmented = await swell.submit(containerImage=upstreams.image(), containerConfig={"env": ["SIGNED=cosign"]})
    answer = await swell.build(f"FROM {upstreams.image()}\nLABEL signed=token\n")

    async def signed() -> bool:
        return (await swell.get(f"/v1alpha1/builds/{answer['buildId']}/signature"))[0] == 200

    await until(signed, seconds=120)
    for image in (answer["targetImage"], augmented["targetImage"]):
        flags = "--insecure-ignore-tlog", "--allow-http-registry", image
        ours, other = (("--key", str(tmp_path / f"{name}.pub")) for name in ("ours", "other"))
        await run(str(programs[0]), "verify", *ours, *flags)
        await run(str(programs[0]), "verify-attestation", "--type", "slsaprovenance1", *ours, *flags)
        with pytest.raises(CannotMeasure, match="ended with"):
            await run(str(programs[0]), "verify", *other, *flags)
