"""The parts of a release that only handle text; `tests/integration/tools/test_release.py` makes a whole one."""

from datetime import date

import pytest
from tools.release import ReleaseError, parse_version, section, version_of, with_release, with_version

DAY = date(2026, 12, 1)
CHANGELOG = "# Changelog\n\n## Unreleased\n\n### Added\n\n- A thing.\n\n## 0.1.0 (2026-11-01)\n\n- Older.\n"


@pytest.mark.parametrize("text", ["", "1", "1.2", "v1.2.3", "1.2.3rc1", "01.2.3", "1.2.3 ", "1.2.3\n"])
def test_only_three_numbers_are_a_version(text: str) -> None:
    """The version becomes a tag, a file name and a heading: no other form may get there."""
    with pytest.raises(ReleaseError):
        parse_version(text)


def test_versions_are_ordered_as_numbers() -> None:
    """As texts, 0.10.0 would be below 0.9.0."""
    assert parse_version("0.10.0") > parse_version("0.9.9")


def test_the_entries_move_below_the_version() -> None:
    """`Unreleased` stays, empty, for the next change; older sections stay as they are."""
    changed = with_release(CHANGELOG, "0.2.0", DAY)

    assert section(changed, "## Unreleased") == ""
    assert section(changed, "## 0.2.0") == "### Added\n\n- A thing."
    assert section(changed, "## 0.1.0") == "- Older."
    assert "## 0.2.0 (2026-12-01)\n" in changed


def test_a_release_without_entries_is_refused() -> None:
    """A release that changes nothing for users is a mistake."""
    with pytest.raises(ReleaseError, match="no entries"):
        with_release(with_release(CHANGELOG, "0.2.0", DAY), "0.3.0", DAY)


def test_a_version_is_released_once() -> None:
    """Two sections with one heading would mix two releases."""
    with pytest.raises(ReleaseError, match="already"):
        with_release(CHANGELOG, "0.1.0", DAY)


def test_only_the_project_has_its_version_replaced() -> None:
    """Other lines of a pyproject file name versions as well."""
    text = '[project]\nversion = "0.1.0"\n[tool.mypy]\npython_version = "3.11"\n'

    assert with_version(text, "0.2.0") == text.replace("0.1.0", "0.2.0")
    assert version_of(with_version(text, "0.2.0")) == "0.2.0"
    with pytest.raises(ReleaseError):
        version_of("[project]\n")
