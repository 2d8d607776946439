"""Pushing blobs and documents ourselves, to a real registry that wants a password."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from builder.adapters.registry import registry_push
from builder.domain.failure import BuildFailure
from swell.net.outbound import Policy, open_session
from swell.oci.digest import digest_of
from swell.oci.reference import parse_reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell.registry.credentials.principal import OPERATOR
from swell.registry.push import RegistryPush
from swell.store.records import Reason
from swell.testing.images import make_image, make_index
from tests.integration.builder.harness import Registry


@pytest.fixture
async def push(registry: Registry) -> AsyncIterator[RegistryPush]:
    async with open_session(Policy(frozenset({registry.address}))) as session:
        yield registry_push(
            RegistryClient(session, parse_auth_file(registry.auth_file.read_bytes()), actions="pull,push").acting_for(
                OPERATOR
            )
        )


async def test_what_was_pushed_is_there_byte_for_byte(registry: Registry, push: RegistryPush, tmp_path: Path) -> None:
    """Blobs from memory and from a file, then the manifest that names them, then an index of it."""
    made, image = make_image("ours"), parse_reference(f"{registry.address}/pushed/whole:1")
    layer = tmp_path / "layer"
    layer.write_bytes(made.layers[0].gzipped)
    index = make_index((made.manifest, made.platform))

    await push.blob(image, made.config.digest, made.config.content)
    await push.blob(image, made.layers[0].digest, layer)
    await push.document(image.at(made.manifest.digest), made.manifest)
    digest = await push.document(image, index)

    assert registry.fetch(f"pushed/whole/blobs/{made.layers[0].digest}")[0] == made.layers[0].gzipped
    assert registry.fetch(f"pushed/whole/manifests/{made.manifest.digest}")[0] == made.manifest.content
    fetched = await push.fetch(image)
    assert fetched is not None
    assert (fetched.digest, fetched.content) == (digest, index.content)


async def test_pushing_again_changes_nothing(registry: Registry, push: RegistryPush) -> None:
    """A job that is delivered twice may push twice; a blob that is there is not sent again."""
    image, content = parse_reference(f"{registry.address}/pushed/twice:1"), b"the same bytes"

    await push.blob(image, digest_of(content), content)
    await push.blob(image, digest_of(content), b"")  # would be refused, were it sent

    assert registry.fetch(f"pushed/twice/blobs/{digest_of(content)}")[0] == content


async def test_a_blob_with_other_bytes_than_its_digest_is_refused(registry: Registry, push: RegistryPush) -> None:
    """The registry checks; what it says is a failure to push, not of the recipe."""
    image = parse_reference(f"{registry.address}/pushed/wrong:1")

    with pytest.raises(BuildFailure) as failure:
        await push.blob(image, digest_of(b"one"), b"another")

    assert failure.value.reason is Reason.PUSH


async def test_who_shows_no_credentials_may_not_push(registry: Registry) -> None:
    """And the message says so, without a trace of any secret."""
    async with open_session(Policy(frozenset({registry.address}))) as session:
        stranger = registry_push(RegistryClient(session, Keyring(), actions="pull,push"))
        with pytest.raises(BuildFailure, match="401") as failure:
            await stranger.blob(parse_reference(f"{registry.address}/pushed/secret:1"), digest_of(b"x"), b"x")

    assert failure.value.reason is Reason.PUSH


async def test_what_is_not_there_is_none(registry: Registry, push: RegistryPush) -> None:
    """Absence is an answer."""
    assert await push.fetch(parse_reference(f"{registry.address}/pushed/nothing:1")) is None
