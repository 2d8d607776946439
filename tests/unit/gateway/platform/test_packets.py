"""Encrypted packets, made by the Platform's side in `tests/platform/crypto.py`, which shares no code with Swell."""

import json
from typing import Any

import pytest

from gateway.platform.packets import decrypt, new_key_pair, packet_context
from swell.errors import PlatformFailed
from tests.platform.crypto import packet_1, packet_2

SECRET: dict[str, Any] = {"discriminator": "container-reg", "userName": "ada", "password": 'p\\ä"ss' * 30}
PRIVATE, PUBLIC = new_key_pair()
OTHER, _ = new_key_pair()
CONTEXT = packet_context("7", "cred-1")


def test_both_versions_come_back_whole() -> None:
    """At any length: the block cipher of version 1 pads."""
    for length in (0, 1, 15, 16, 17):
        secret = {**SECRET, "password": "x" * length}
        assert json.loads(decrypt(packet_1(PUBLIC, secret), PRIVATE, 1)) == secret
    assert json.loads(decrypt(packet_2(PUBLIC, SECRET, "7", "cred-1"), PRIVATE, 2, CONTEXT)) == SECRET


@pytest.mark.parametrize("context", [packet_context("8", "cred-1"), packet_context("7", "cred-2"), b""])
def test_version_2_is_bound_to_its_pairing_and_credential(context: bytes) -> None:
    """A packet of another credential cannot take its place."""
    with pytest.raises(PlatformFailed, match="cannot be decrypted"):
        decrypt(packet_2(PUBLIC, SECRET, "7", "cred-1"), PRIVATE, 2, context)


def test_a_changed_packet_of_version_2_is_refused() -> None:
    """Version 1 cannot notice that."""
    version, mode, key, nonce, content = packet_2(PUBLIC, SECRET, "7", "cred-1").split("\\")
    changed = ("A" if content[5] != "A" else "B").join((content[:5], content[6:]))

    with pytest.raises(PlatformFailed):
        decrypt("\\".join((version, mode, key, nonce, changed)), PRIVATE, 2, CONTEXT)


def test_a_pairing_accepts_its_own_version_only() -> None:
    """An attacker in between cannot remove the authentication."""
    with pytest.raises(PlatformFailed, match="another form"):
        decrypt(packet_1(PUBLIC, SECRET), PRIVATE, 2, CONTEXT)
    with pytest.raises(PlatformFailed, match="another form"):
        decrypt(packet_2(PUBLIC, SECRET, "7", "cred-1"), PRIVATE, 1)


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "1",
        "1\\P",
        "1\\P\\",
        "1\\P\\\\",
        "1\\p\\AAAA\\AAAA",
        "1\\P\\!\\!",
        "1\\P\\AAAA\\AAAA",
        "1\\P\\AAAA\\AAAA\\AAAA",
        packet_1(PUBLIC, SECRET)[:-8],
        "1\\P\\" + "A" * 100_000,
    ],
)
def test_a_malformed_packet_is_refused(packet: str) -> None:
    """Without an unexpected exception, and without work for a huge one."""
    with pytest.raises(PlatformFailed):
        decrypt(packet, PRIVATE, 1)


def test_a_packet_for_another_key_is_refused_or_nonsense() -> None:
    """RSA with PKCS #1 v1.5 may yield a random key; what it decrypts is no JSON of a credential."""
    try:
        content = decrypt(packet_1(PUBLIC, SECRET), OTHER, 1)
    except PlatformFailed:
        return
    assert b"ada" not in content
