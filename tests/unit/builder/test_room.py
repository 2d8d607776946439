"""What a build leaves in its room is not trusted."""

import os
from pathlib import Path

import pytest

from builder.adapters.room import Room
from builder.domain.failure import BuildFailure

DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def room(tmp_path: Path) -> Room:
    (tmp_path / "work").mkdir()
    return Room(path=tmp_path, workspace=tmp_path, bases=tmp_path, user_id=os.getuid())


def test_a_digest_is_read(room: Room) -> None:
    """Buildah writes it without a newline."""
    (room.work / "digest").write_text(DIGEST)
    assert room.read_digest("digest") == DIGEST


@pytest.mark.parametrize("content", [b"", b"--all", b"\xff", b"x" * 10_000])
def test_what_is_no_digest_is_refused(room: Room, content: bytes) -> None:
    """It becomes an argument of a command."""
    (room.work / "digest").write_bytes(content)
    with pytest.raises(BuildFailure):
        room.read_digest("digest")


def test_a_link_is_not_followed(room: Room, tmp_path: Path) -> None:
    """We read as root: a link could lead anywhere, and an error message would show what is there."""
    (tmp_path / "secret").write_text(DIGEST)
    (room.work / "digest").symlink_to(tmp_path / "secret")
    with pytest.raises(BuildFailure):
        room.read_digest("digest")


def test_a_pipe_does_not_hold_us_up(room: Room) -> None:
    """Opening one waits for a writer, for ever if there is none."""
    os.mkfifo(room.work / "digest")
    with pytest.raises(BuildFailure):
        room.read_digest("digest")


def test_credentials_are_for_the_builds_user_alone(room: Room, tmp_path: Path) -> None:
    """They lie there for a moment, until the command has opened them."""
    content = b'{"auths": {"a": {}}}'
    room.lend_credentials(content)
    lent = tmp_path / "auth.json"
    assert (lent.stat().st_mode & 0o777, lent.read_bytes()) == (0o600, content)
