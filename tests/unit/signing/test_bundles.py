"""Bundles: signed by the operator's key, about one digest and one type; anything else is refused."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from swell.errors import ManifestInvalid
from swell.oci.digest import digest_of
from swell.settings import SettingsInvalid
from swell.signing.bundles import pre_authentication_encoding, sign, verify
from swell.signing.keys import KeySigner, TrustedKeys, load_signer, load_trusted_keys
from swell.signing.statements import BUNDLE, PROVENANCE, SIGNATURE, Subject, attachment, encode_statement
from swell.testing.images import make_image

IMAGE = make_image("signed").manifest
SUBJECT = Subject("registry.example/team/tool:1", IMAGE.digest)


def new_key() -> tuple[KeySigner, TrustedKeys]:
    key = ec.generate_private_key(ec.SECP256R1())
    return KeySigner(key), TrustedKeys(key.public_key())


async def signed(signer: KeySigner, predicate: dict[str, Any], kind: str = PROVENANCE) -> bytes:
    return await sign(encode_statement(SUBJECT, kind, predicate), signer)


async def test_a_bundle_is_verified_with_the_public_key() -> None:
    """And returns what was said about the image."""
    signer, keys = new_key()

    bundle = await signed(signer, {"buildDefinition": {"buildType": "x"}})

    assert verify(bundle, keys, IMAGE.digest, PROVENANCE) == {"buildDefinition": {"buildType": "x"}}
    assert json.loads(bundle)["mediaType"] == BUNDLE


def test_the_signed_bytes_are_those_of_the_protocol() -> None:
    """The example of the DSSE specification."""
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")

    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


async def test_equal_statements_have_equal_bundles() -> None:
    """A repeated attempt attaches the same manifest, so an image never has two signatures of one build."""
    signer, _ = new_key()

    assert await signed(signer, {"a": 1, "b": 2}) == await signed(signer, {"b": 2, "a": 1})


async def test_another_key_image_type_or_payload_is_refused() -> None:
    """Each of them would let someone pass another statement off as the operator's."""
    signer, keys = new_key()
    _, others = new_key()
    bundle = await signed(signer, {"a": 1})
    fields = json.loads(bundle)
    payload = base64.b64decode(fields["dsseEnvelope"]["payload"]).replace(b'"a":1', b'"a":2')
    fields["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()

    for content, trusted, digest, kind in (
        (bundle, others, IMAGE.digest, PROVENANCE),
        (bundle, keys, digest_of(b"another image"), PROVENANCE),
        (bundle, keys, IMAGE.digest, SIGNATURE),
        (json.dumps(fields).encode(), keys, IMAGE.digest, PROVENANCE),
        (b"{}", keys, IMAGE.digest, PROVENANCE),
        (b"[" * 100_000, keys, IMAGE.digest, PROVENANCE),
    ):
        with pytest.raises(ManifestInvalid):
            verify(content, trusted, digest, kind)


async def test_a_statement_is_read_after_its_signature() -> None:
    """Anyone can attach a bundle to an image in a registry; a payload of some megabytes could become gigabytes."""
    signer, keys = new_key()
    stranger, _ = new_key()
    with pytest.raises(ManifestInvalid, match="trusted key"):
        verify(await sign(b"[" * 100_000, stranger), keys, IMAGE.digest, PROVENANCE)
    with pytest.raises(ManifestInvalid, match="statement"):
        verify(await sign(b"[" * 100_000, signer), keys, IMAGE.digest, PROVENANCE)


async def test_former_keys_stay_trusted() -> None:
    """After a rotation, old images are verified with the old key, new ones with the new key."""
    old, new = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pems = [key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in (old, new)]
    keys = load_trusted_keys(b"\n".join(pems))

    for key in (old, new):
        assert verify(await signed(KeySigner(key), {}), keys, IMAGE.digest, PROVENANCE) == {}


def test_only_keys_of_the_default_algorithm_are_accepted() -> None:
    """ECDSA with P-256 is what cosign expects; the message does not contain the key."""
    private = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    good = ec.generate_private_key(ec.SECP256R1())
    assert load_signer(good.private_bytes(*private)).key_id

    other_curve = ec.generate_private_key(ec.SECP384R1()).private_bytes(*private)
    for content in (other_curve, rsa.generate_private_key(65537, 2048).private_bytes(*private), b"no key"):
        with pytest.raises(SettingsInvalid):
            load_signer(content)


async def test_the_manifest_names_the_image_and_the_bundle() -> None:
    """Registries list it as a referrer; cosign reads the type of the predicate from its annotations."""
    signer, _ = new_key()
    bundle = await signed(signer, {}, SIGNATURE)

    manifest = attachment(bundle, SIGNATURE, IMAGE)

    fields = manifest.fields
    assert fields["subject"] == {"mediaType": IMAGE.media_type, "digest": IMAGE.digest, "size": IMAGE.size}
    assert (fields["artifactType"], manifest.layers[0].digest) == (BUNDLE, digest_of(bundle))
    assert fields["annotations"]["dev.sigstore.bundle.predicateType"] == SIGNATURE
