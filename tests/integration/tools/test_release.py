"""`make release` in a temporary repository with the files of this one."""

import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


class Repository:
    """A git repository at *path* whose `main` has one commit with the files of the working tree."""

    def __init__(self, path: Path) -> None:
        self.path = path
        files = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout.split("\0")  # fmt: skip
        for name in filter(None, files):
            if (ROOT / name).is_file():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes((ROOT / name).read_bytes())
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Test")
        self.git("config", "user.email", "test@example.org")
        self.commit()

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Start")

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run make with this project's virtual environment, without building another one.

        `make test` runs this as a recipe: a make in a make reports the directories that it enters.
        """
        command = ["make", "--no-print-directory", "-o", ".venv/ready", f"BIN={ROOT}/.venv/bin", *arguments]
        return subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=False)

    @property
    def state(self) -> tuple[str, str, str]:
        return self.git("rev-parse", "HEAD"), self.git("status", "--porcelain"), self.git("tag", "--list")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## Unreleased\n\n- A change for users.\n\n## 0.0.1 (2026-01-01)\n\n- Old.\n")
    made.commit()
    return made


def test_a_release_is_one_commit_with_its_tag_and_wheels(repository: Repository) -> None:
    """Version, changelog, baseline and wheels belong together: each comes from the same tree as the tag."""
    before = repository.git("rev-parse", "HEAD")

    made = repository.make("release", "VERSION=9.8.7")

    assert made.returncode == 0, made.stdout + made.stderr
    assert repository.git("rev-parse", "v9.8.7^{commit}") == repository.git("rev-parse", "HEAD")
    assert repository.git("rev-parse", "HEAD^") == before
    assert repository.git("log", "-1", "--format=%s") == "Release 9.8.7"
    assert repository.git("status", "--porcelain") == ""
    versions = repository.git("grep", "-h", "^version = ", "--", "*pyproject.toml").splitlines()
    packages = [*repository.path.glob("libs/*/pyproject.toml"), *repository.path.glob("services/*/pyproject.toml")]
    assert versions == ['version = "9.8.7"'] * (1 + len(packages))
    wheels = sorted((repository.path / "dist").glob("*.whl"))
    assert {wheel.name.split("-")[1] for wheel in wheels} == {"9.8.7"}
    assert len(wheels) == len(packages)
    for wheel in wheels:
        assert zipfile.ZipFile(wheel).testzip() is None
    sums = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=repository.path / "dist", check=False)
    assert sums.returncode == 0
    notes = repository.make("release-notes", "VERSION=v9.8.7")
    assert notes.stdout.strip() == "- A change for users."
    again = repository.make("release", "VERSION=9.8.7")
    assert again.returncode != 0
    assert "exists already" in again.stderr


def test_a_dry_run_changes_nothing(repository: Repository) -> None:
    """It shows the notes of the release, so that they can be read before they are published."""
    before = repository.state

    made = repository.make("release", "VERSION=9.8.7", "DRY_RUN=1")

    assert made.returncode == 0, made.stderr
    assert "- A change for users." in made.stdout
    assert repository.state == before
    assert not (repository.path / "dist").exists()


def test_a_tree_with_changes_is_refused(repository: Repository) -> None:
    """A release contains what the branch contains: a change that was forgotten would get lost or slip in."""
    (repository.path / "README.md").write_text("changed")

    made = repository.make("release", "VERSION=9.8.7")

    assert made.returncode != 0
    assert "README.md" in made.stderr


def test_another_branch_and_an_older_version_are_refused(repository: Repository) -> None:
    """Both are slips of the hand that a published tag makes permanent."""
    older = repository.make("release", "VERSION=0.0.2")
    repository.git("checkout", "--quiet", "-b", "topic")
    elsewhere = repository.make("release", "VERSION=9.8.7")

    assert "not above" in older.stderr
    assert "branch main" in elsewhere.stderr


def test_a_step_that_fails_leaves_the_tree_as_it_was(repository: Repository) -> None:
    """A half-made release would be committed by the next try. Here the protos cannot be compiled."""
    (repository.path / "protos/swell/rpc/v1/broken.proto").write_text("nonsense")
    repository.commit()
    before = repository.state

    made = repository.make("release", "VERSION=9.8.7")

    assert made.returncode != 0
    assert "nothing has been released" in made.stderr
    assert repository.state == before
