"""The requirements of each image: all that its service imports, and no more."""

from pathlib import Path

import pytest
from tools.image_requirements import ROOT, SERVICES, blocks, closure, requirements_of

LOCKED = (ROOT / "requirements.txt").read_text()
TWO = """\
one==1 \\
    --hash=sha256:a \\
    --hash=sha256:b
Two.Words==2 ; python_full_version < '3.11.3' \\
    --hash=sha256:c
"""


def test_a_block_keeps_its_hashes_and_its_marker() -> None:
    """pip refuses a package without a hash, and one that is not for its Python."""
    found = dict(blocks(TWO))

    assert list(found) == ["one", "two-words"]
    assert "".join(found.values()) == TWO


@pytest.mark.parametrize("service", SERVICES)
def test_every_dependency_of_a_service_is_locked(service: str) -> None:
    """Else its image cannot be built with hashes."""
    own = {path.name for folder in ("libs", "services") for path in Path(ROOT / folder).iterdir()}
    own |= {"swell-embedded", "swell-sandbox"}
    locked = {name for name, _ in blocks(LOCKED)}
    named = {name for name, _ in blocks(requirements_of(service, LOCKED))}

    assert named == closure(service) & locked
    assert named, service
    assert not named & own


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_no_tools_of_developers(service: str) -> None:
    """All of the lock file would make an image of more than 1 GB."""
    assert not {"pytest", "mypy", "ruff", "hypothesis", "schemathesis"} & closure(service)


def test_a_dependency_of_an_older_python_counts() -> None:
    """The image may have another Python than this environment: redis needs async-timeout before 3.11.3."""
    assert "async-timeout" in closure("metrics")
