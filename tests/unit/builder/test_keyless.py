"""The process that signs with certificates of Fulcio."""

import sys
from pathlib import Path

import pytest

from builder.keyless.notary import KeylessNotary
from builder.keyless.process import _certificates
from builder.settings import SigningSettings
from swell.errors import Unavailable
from swell.oci.digest import digest_of
from swell.signing.keys import TrustedKeys
from swell.signing.statements import SIGNATURE, Unsigned
from swell.store.objects import MemoryObjects


@pytest.mark.parametrize("is_directory", [False, True])
def test_the_operators_certificates_stand_beside_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_directory: bool
) -> None:
    """Also on systems without a file of all certificates, as Ubuntu 22.04: public servers are then verified by them."""
    own, file, directory = tmp_path / "own.pem", tmp_path / "all.pem", tmp_path / "certs"
    directory.mkdir()
    own.write_bytes(b"own")
    if is_directory:
        (directory / "0a775a30.0").write_bytes(b"system")
        (directory / "other.pem").write_bytes(b"the same again")
    else:
        file.write_bytes(b"system")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(directory))

    assert _certificates(own) == b"system\nown"


async def test_a_process_that_cannot_be_started_is_no_failure_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be too many processes; five such attempts within a minute would give up the signature."""
    file = tmp_path / "file"
    file.write_text("{}")
    settings = SigningSettings(
        workspace=tmp_path,
        keyless_trusted_root_file=file,
        keyless_signing_config_file=file,
        keyless_token_file=file,
    )
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))

    with pytest.raises(Unavailable, match="cannot be started"):
        await KeylessNotary(settings, MemoryObjects(), TrustedKeys()).sign(
            [Unsigned(b"{}", digest_of(b"image"), SIGNATURE, None)]
        )
