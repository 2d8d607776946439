"""The policy: what does not count has a reason, and what is exploited counts."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from scanner.adapters.policy_file import PolicyFile
from scanner.domain.policy import Policy, Waiver, parse_vex
from swell.oci.digest import digest_of
from swell.settings import SettingsInvalid
from swell.store.scans import Finding, SeverityLevel

TODAY = date(2026, 11, 23)
IMAGE, DIGEST = "quay.io/acme/tool:1", digest_of(b"image")
DEMO = Finding(
    id="CVE-2026-0001",
    aliases=("GHSA-1",),
    severity=SeverityLevel.HIGH,
    package="libdemo",
    version="1.0-1",
    package_url="pkg:deb/debian/libdemo@1.0-1?arch=amd64",
    epss=0.001,
)


def waiver_of(policy: Policy, today: date = TODAY, **changes: Any) -> str:
    finding = Finding(**{name: getattr(DEMO, name) for name in Finding.__struct_fields__} | changes)
    (judged,) = policy.apply([finding], IMAGE, {DIGEST}, today)
    return judged.waiver


def waiver(**fields: Any) -> Policy:
    values: dict[str, Any] = {"vulnerability": "CVE-2026-0001", "reason": "not reachable", "expires": TODAY} | fields
    return Policy(waivers=(Waiver(**values),))


def test_without_a_policy_everything_counts() -> None:
    """The revision of no policy is that of old records."""
    assert waiver_of(Policy()) == ""
    assert Policy().revision(TODAY) == ""


@pytest.mark.parametrize(
    ("fields", "is_waived"),
    [
        ({}, True),
        ({"vulnerability": "GHSA-1"}, True),
        ({"vulnerability": "CVE-2026-0002"}, False),
        ({"package": "libdemo"}, True),
        ({"package": "lib"}, False),
        ({"image": "quay.io/acme/"}, True),
        ({"image": "quay.io/other/"}, False),
        ({"expires": TODAY - timedelta(days=1)}, False),
    ],
)
def test_a_waiver_is_for_what_it_names_until_it_expires(fields: dict[str, Any], is_waived: bool) -> None:
    """The reason is in the record; the last day is included."""
    assert (waiver_of(waiver(**fields)) == f"not reachable (until {TODAY})") is is_waived


def test_the_revision_changes_when_a_waiver_expires() -> None:
    """Then stored results are judged again."""
    policy = waiver()

    assert policy.revision(TODAY) == policy.revision(TODAY - timedelta(days=9)) != ""
    assert policy.revision(TODAY + timedelta(days=1)) == ""


def test_rules_about_fixes_and_probabilities_spare_what_is_exploited() -> None:
    """CISA's catalogue is evidence; a probability is not."""
    fixable, likely = Policy(fixable_only=True), Policy(minimum_epss=0.01)

    assert waiver_of(fixable) == "no version has a fix"
    assert waiver_of(fixable, fixed_version="1.1") == ""
    assert waiver_of(likely) == "the probability of exploitation, 0.0010, is below 0.01"
    assert waiver_of(likely, epss=None) == waiver_of(likely, epss=0.01) == ""
    assert waiver_of(fixable, is_exploited=True) == waiver_of(likely, is_exploited=True) == ""
    assert waiver_of(Policy(ignored_packages=frozenset({"libdemo"})), is_exploited=True)


def test_new_findings_do_not_count_until_they_have_the_minimum_age() -> None:
    """Stored results are judged again each day; what is exploited, or has no date, counts at once."""
    policy, fixed = Policy(minimum_age=14), TODAY - timedelta(days=13)

    assert waiver_of(policy, known_since=fixed) == f"known since {fixed}, less than 14 days ago"
    assert waiver_of(policy, TODAY + timedelta(days=1), known_since=fixed) == ""
    assert waiver_of(policy) == waiver_of(policy, known_since=fixed, is_exploited=True) == ""
    assert policy.revision(TODAY) != policy.revision(TODAY + timedelta(days=1))


def test_an_organisation_has_other_rules_and_more_waivers() -> None:
    """Rules that it does not set are the operator's; its waivers are for it alone."""
    own = Policy(fixable_only=False, waivers=waiver(package="libdemo").waivers)
    policy = Policy(fixable_only=True, minimum_epss=0.01, organisation={"lab.example": own})

    assert waiver_of(policy.of("")) == waiver_of(policy.of("other.example")) == "no version has a fix"
    assert waiver_of(policy.of("lab.example")).startswith("not reachable")
    assert waiver_of(policy.of("lab.example"), id="CVE-2026-0009", aliases=()).endswith("is below 0.01")
    assert waiver_of(policy.of("lab.example"), id="CVE-2026-0009", aliases=(), epss=0.5) == ""


def test_each_organisation_has_its_revision() -> None:
    """A change for one judges only its own scans again."""
    lab = Policy(fixable_only=True, organisation={"lab.example": waiver()})
    plain = Policy(fixable_only=True)

    assert lab.of("").revision(TODAY) == lab.of("other.example").revision(TODAY) == plain.revision(TODAY)
    assert lab.of("lab.example").revision(TODAY) != plain.revision(TODAY)
    assert lab.revision(TODAY) not in {plain.revision(TODAY), lab.revision(TODAY + timedelta(days=1))}


def vex(*products: dict[str, Any], status: str = "not_affected", vulnerability: Any = None) -> bytes:
    statement = {
        "vulnerability": vulnerability or {"name": "CVE-2026-0001"},
        "products": products,
        "status": status,
        "justification": "vulnerable_code_not_in_execute_path",
    }
    return json.dumps({"@context": "https://openvex.dev/ns/v0.2.0", "statements": [statement]}).encode()


PACKAGE = {"@id": "pkg:deb/debian/libdemo@1.0-1?arch=arm64"}


@pytest.mark.parametrize(
    ("document", "is_waived"),
    [
        (vex(PACKAGE), True),
        (vex(PACKAGE, status="fixed"), True),
        (vex(PACKAGE, vulnerability="CVE-2026-0001"), True),
        (vex(PACKAGE, vulnerability={"name": "X", "aliases": ["GHSA-1"]}), True),
        (vex(PACKAGE, status="affected"), False),
        (vex(PACKAGE, status="under_investigation"), False),
        (vex({"@id": "pkg:deb/debian/libdemo@1.1"}), False),
        (vex({"@id": f"pkg:oci/tool@{DIGEST.replace(':', '%3A')}?repository_url=quay.io/acme"}), True),
        (vex({"@id": f"pkg:oci/tool@{DIGEST}", "subcomponents": [PACKAGE]}), True),
        (vex({"@id": f"pkg:oci/tool@{DIGEST}", "subcomponents": [{"@id": "pkg:deb/debian/x@1"}]}), False),
        (vex({"@id": f"pkg:oci/tool@sha256:{'0' * 64}"}), False),
        (vex({"@id": "pkg:oci/tool"}), False),
        (vex(), False),
    ],
)
def test_openvex_statements_are_about_packages_and_images(document: bytes, is_waived: bool) -> None:
    """A statement about another package, or about an image without digest, waives nothing."""
    policy = Policy(statements=tuple(parse_vex(document)))

    assert (waiver_of(policy) == "OpenVEX: vulnerable code not in execute path") is is_waived


def test_the_policy_file_is_read_again(tmp_path: Path) -> None:
    """A wrong file does not replace a policy; without one, the scanner does not start."""
    file = tmp_path / "policy.toml"
    with pytest.raises(SettingsInvalid):
        PolicyFile(file)
    file.write_text('vex = ["a.json"]\n[[waivers]]\nvulnerability = "A"\nreason = "r"\nexpires = 2027-01-01\n')
    (tmp_path / "a.json").write_bytes(vex(PACKAGE))
    policies = PolicyFile(file)
    assert len(policies.current().waivers) == len(policies.current().statements) == 1

    file.write_text("fixable_onyl = true\n")
    assert len(policies.current().waivers) == 1
    file.write_text("fixable_only = true\n")
    assert policies.current() == Policy(fixable_only=True)
    file.write_text('[organisation."lab.example"]\nminimum_age = 7\nvex = ["a.json"]\n')
    assert policies.current().of("lab.example").minimum_age == 7
    assert len(policies.current().of("lab.example").statements) == 1
    assert policies.current().of("") == Policy()
    (tmp_path / "a.json").write_bytes(vex(PACKAGE, PACKAGE))
    assert len(policies.current().of("lab.example").statements) == 2


@pytest.mark.parametrize(
    "text",
    [
        '[[waivers]]\nvulnerability = "A"\nexpires = 2027-01-01\n',
        '[[waivers]]\nvulnerability = "A"\nreason = ""\nexpires = 2027-01-01\n',
        '[[waivers]]\nvulnerability = "A"\nreason = "r"\n',
        "minimum_epss = 2\n",
        'vex = ["missing.json"]\n',
        "[[statements]]\nvulnerabilities = []\nreason = 'x'\n",
        "not toml",
        "minimum_age = -1\n",
        "[organisation.a.organisation.b]\nminimum_age = 1\n",
    ],
)
def test_a_policy_without_reason_or_expiry_is_refused(tmp_path: Path, text: str) -> None:
    """The message names the file."""
    file = tmp_path / "policy.toml"
    file.write_text(text)

    with pytest.raises(SettingsInvalid, match=r"policy\.toml"):
        PolicyFile(file)


def test_without_a_file_everything_counts() -> None:
    """The default."""
    assert PolicyFile(None).current() == Policy()
