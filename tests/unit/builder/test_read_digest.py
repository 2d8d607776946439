"""The files of a build in its sandbox are untrusted."""

import os
from pathlib import Path

import pytest

from builder.adapters.commands import read_digest
from builder.domain.failure import BuildFailure
from swell_sandbox import Sandbox

DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    (tmp_path / "work").mkdir()
    return Sandbox(directory=tmp_path, user_id=os.getuid())


def test_a_digest_is_read(sandbox: Sandbox) -> None:
    """Buildah writes it without a newline."""
    (sandbox.work / "digest").write_text(DIGEST)
    assert read_digest(sandbox, "digest") == DIGEST


@pytest.mark.parametrize("content", [b"", b"--all", b"\xff", b"x" * 10_000])
def test_what_is_no_digest_is_refused(sandbox: Sandbox, content: bytes) -> None:
    """It becomes an argument of a command."""
    (sandbox.work / "digest").write_bytes(content)
    with pytest.raises(BuildFailure):
        read_digest(sandbox, "digest")


def test_a_link_is_not_followed(sandbox: Sandbox, tmp_path: Path) -> None:
    """We read as root: a link could lead anywhere, and an error message would show what is there."""
    (tmp_path / "secret").write_text(DIGEST)
    (sandbox.work / "digest").symlink_to(tmp_path / "secret")
    with pytest.raises(BuildFailure):
        read_digest(sandbox, "digest")


def test_a_pipe_does_not_hold_us_up(sandbox: Sandbox) -> None:
    """Opening a pipe would wait for a writer without end."""
    os.mkfifo(sandbox.work / "digest")
    with pytest.raises(BuildFailure):
        read_digest(sandbox, "digest")
