"""Secrets at rest: what is stored reveals nothing, and opens only in its own record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands.encryption import main
from swell.encryption import EncryptionKeys, key_id_of, new_key, parse_keys
from swell.errors import DecryptionFailed
from swell.settings import SettingsInvalid

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def both() -> EncryptionKeys:
    return EncryptionKeys({"new": NEW, "old": OLD})


@given(st.binary(max_size=300), st.text(max_size=40))
def test_a_secret_is_read_again(secret: bytes, record: str) -> None:
    """Any bytes, in a record of any name."""
    keys = EncryptionKeys({"a": OLD})

    assert keys.decrypt(keys.encrypt(secret, record), record) == secret


def test_equal_secrets_look_different() -> None:
    """Two users with one password must not be recognisable."""
    keys = EncryptionKeys({"a": OLD})

    assert keys.encrypt(b"password", "r") != keys.encrypt(b"password", "r")


def test_a_secret_in_another_record_does_not_open() -> None:
    """A person with access to Redis could otherwise copy the secret of one user into the record of another."""
    keys = EncryptionKeys({"a": OLD})

    with pytest.raises(DecryptionFailed):
        keys.decrypt(keys.encrypt(b"password", "vault:alice"), "vault:mallory")


@given(st.data())
def test_a_changed_ciphertext_does_not_open(data: st.DataObject) -> None:
    """One changed byte anywhere: version, key id, nonce, content or tag."""
    keys = both()
    ciphertext = bytearray(keys.encrypt(b"password", "r"))
    at = data.draw(st.integers(0, len(ciphertext) - 1))
    ciphertext[at] ^= data.draw(st.integers(1, 255))

    try:
        plaintext = keys.decrypt(bytes(ciphertext), "r")
    except DecryptionFailed:
        return
    pytest.fail(f"byte {at} does not count: {plaintext!r}")


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    """During a rotation, services read what the former key has encrypted."""
    before = EncryptionKeys({"old": OLD}).encrypt(b"password", "r")

    assert both().decrypt(before, "r") == b"password"
    assert not both().is_current(before)
    assert key_id_of(both().encrypt(b"password", "r")) == "new"


def test_a_missing_key_is_named() -> None:
    """The operator has removed a key too early."""
    with pytest.raises(DecryptionFailed, match="key new of"):
        EncryptionKeys({"old": OLD}).decrypt(both().encrypt(b"password", "r"), "r")


@pytest.mark.parametrize("stored", [b"", b"password", b"swell1", b"swell1.old", b"swell1.old.!", b"swell1..AAAA"])
def test_text_that_is_no_ciphertext_is_refused(stored: bytes) -> None:
    """What another program has written is never returned as a secret."""
    with pytest.raises(DecryptionFailed):
        both().decrypt(stored, "r")


def test_keys_are_read_from_the_setting() -> None:
    """Entries are separated by commas or lines, as it is easier in a file."""
    first, second = new_key("2026-12"), new_key("2026-11")
    keys = parse_keys(f"{first},\n {second}\n")

    assert keys and keys.current == "2026-12"
    assert keys.decrypt(parse_keys(second).encrypt(b"x", "r"), "r") == b"x"  # type: ignore[union-attr]
    assert parse_keys(" \n") is None


@pytest.mark.parametrize("text", ["AAAA", "id:AAAA", ":" + "A" * 44, "i/d:" + "A" * 43 + "=", "id:" + "A" * 43])
def test_a_wrong_key_is_not_in_the_message(text: str) -> None:
    """The message is logged."""
    with pytest.raises(SettingsInvalid) as error:
        parse_keys(text)
    assert text.partition(":")[2] not in str(error.value) or text.partition(":")[2] == ""


def test_two_keys_with_one_id_are_refused() -> None:
    """Which of them decrypts would depend on their order."""
    with pytest.raises(SettingsInvalid, match="two keys"):
        parse_keys(f"{new_key('a')},{new_key('a')}")


def test_keys_are_not_in_their_representation() -> None:
    """It appears in messages of unexpected errors."""
    assert str(OLD) not in repr(both())
    assert "old" in repr(both())


def test_the_command_prints_a_key_that_the_setting_accepts(capsys: pytest.CaptureFixture[str]) -> None:
    """The operator copies the line."""
    main(["new-key", "2026-12"])

    keys = parse_keys(capsys.readouterr().out)
    assert keys and keys.current == "2026-12"


def test_the_command_refuses_an_id_with_a_colon() -> None:
    """The entry could not be read."""
    with pytest.raises(SystemExit, match="the id of a key"):
        main(["new-key", "a:b"])
