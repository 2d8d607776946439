"""The process that signs with certificates of Fulcio."""

from pathlib import Path

import pytest

from builder.keyless.process import _certificates


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
