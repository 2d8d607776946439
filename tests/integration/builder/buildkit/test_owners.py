"""Owners of files: those of builds are the ids 0 to 65535, and what has others says so."""

import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator

import pytest

from builder.adapters.registry import registry_push
from builder.buildkit.daemons.programs import Programs
from builder.buildkit.engine import BuildkitEngine
from swell.net.outbound import Policy, open_session
from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.reference import parse_reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import parse_auth_file
from swell.registry.credentials.principal import OPERATOR
from swell.store.records import Reason
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.contract import failure_of
from tests.integration.builder.harness import Output, Registry

__all__ = ["buildkit", "programs"]

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
async def daemons(
    registry: Registry, programs: Programs, base: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BuildkitEngine]:
    """One engine for all owners."""
    async with Buildkit(registry, programs, base).open(tmp_path_factory.mktemp("owners")) as engine:
        yield engine


async def base_of(registry: Registry, owner: int) -> str:
    """Push an image with a file of *owner*, and return its name."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        member = tarfile.TarInfo("data/file")
        member.uid = member.gid = owner
        tar.addfile(member, io.BytesIO())
    layer = gzip.compress(plain.getvalue(), mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(plain.getvalue())]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": digest_of(layer), "size": len(layer)}],
    }
    image = parse_reference(f"{registry.address}/owners/base:{owner}")
    async with open_session(Policy(frozenset({registry.address}))) as session:
        keys = parse_auth_file(registry.auth_file.read_bytes())
        push = registry_push(RegistryClient(session, keys, actions="pull,push").acting_for(OPERATOR))
        for content in (config, layer):
            await push.blob(image, digest_of(content), content)
        await push.document(image, Document(MANIFEST, json.dumps(manifest).encode()))
    return str(image)


async def test_the_largest_owner_works(daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry) -> None:
    """In a base image, in a step, for COPY, and as the user of a step."""
    base = await base_of(registry, 65535)
    steps = (
        f"COPY --from={base} /data /data\nCOPY --chown=65535:65535 <<EOF /x\nx\nEOF\n"
        "RUN chown 65535:65535 /bin/busybox && [ $(stat -c %u:%g /x) = 65535:65535 ]"
        " && [ $(stat -c %u:%g /data/file) = 65535:65535 ]\nUSER 65535\nRUN [ $(id -u) = 65535 ]\n"
    )
    await daemons.build(buildkit.recipe(steps), Output())


async def test_a_larger_owner_in_copy_is_the_reason(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """The author of the container file can choose another one; no path of the builder is shown."""
    failure = await failure_of(daemons, buildkit.recipe("COPY --chown=70000:70000 <<EOF /x\nx\nEOF\n"))
    assert failure.reason is Reason.RECIPE
    assert "owner of /x is above 65535" in str(failure)
    assert "/tmp/work" not in str(failure)


async def test_a_larger_owner_in_a_base_image_is_the_reason(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry
) -> None:
    """Some images contain the large ids of the people who made them."""
    base = await base_of(registry, 1_000_000)
    for recipe in (buildkit.recipe("RUN true\n", base=base), buildkit.recipe(f"COPY --from={base} /data /data\n")):
        failure = await failure_of(daemons, recipe)
        assert failure.reason is Reason.BASE_IMAGE
        assert "owner of /data/file is above 65535" in str(failure)


async def test_a_step_with_a_larger_user_says_so(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """runc only says that an argument is invalid."""
    failure = await failure_of(daemons, buildkit.recipe("USER 70000\nRUN true\n"))
    assert failure.reason is Reason.RECIPE
    assert "above 65535" in str(failure)
