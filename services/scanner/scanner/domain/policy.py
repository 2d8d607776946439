"""The policy: findings that do not count, each with the reason. Organisations may have other rules.

Source: OpenVEX specification, https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import Annotated, TypeVar
from urllib.parse import unquote

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import replace

from swell.oci.digest import Digest
from swell.store.scans import Finding

Rule = TypeVar("Rule")
Text = Annotated[str, Meta(min_length=1, max_length=1000)]


class Waiver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """*vulnerability*, an id or an alias, does not count until the end of the day `expires`, because of `reason`.

    It is for `package` and for images whose names begin with `image`, if these are given.
    """

    vulnerability: Text
    reason: Text
    expires: date
    package: str = ""
    image: str = ""


class Statement(Struct, frozen=True, kw_only=True):
    """An OpenVEX statement: `packages` in `images` are not affected by `vulnerabilities`.

    Packages are package URLs without qualifiers, images are digests; an empty set means all.
    """

    vulnerabilities: frozenset[str]
    reason: str
    packages: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which findings count; a rule that is None is not set.

    - With `fixable_only`, findings without a fixed version do not count; with `minimum_epss`, those whose probability
      of exploitation is known and lower; with `minimum_age`, those that are known for fewer days. These rules never
      apply to a vulnerability that CISA lists as exploited.
    - Findings in `ignored_packages` do not count.
    - `vex` are paths of OpenVEX documents; `statements` is their content.
    - `organisation` has the policies of organisations by name.
    """

    fixable_only: bool | None = None
    minimum_epss: Annotated[float, Meta(ge=0, le=1)] | None = None
    minimum_age: Annotated[int, Meta(ge=0, le=3650)] | None = None
    ignored_packages: frozenset[str] | None = None
    waivers: tuple[Waiver, ...] = ()
    vex: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()
    organisation: Mapping[str, "Policy"] = {}

    def of(self, organisation: str) -> "Policy":
        """Return the policy for scans of *organisation*: its rules replace equal ones, its waivers are added."""
        own = self.organisation.get(organisation, Policy())
        return Policy(
            fixable_only=_first_set(own.fixable_only, self.fixable_only),
            minimum_epss=_first_set(own.minimum_epss, self.minimum_epss),
            minimum_age=_first_set(own.minimum_age, self.minimum_age),
            ignored_packages=_first_set(own.ignored_packages, self.ignored_packages),
            waivers=own.waivers + self.waivers,
            vex=own.vex + self.vex,
            statements=own.statements + self.statements,
        )

    def revision(self, today: date) -> str:
        """A text that changes when other findings count.

        It changes with the policy, on the day after a waiver expires, and each day if the age of findings counts.
        """
        policies = {name: policy.revision(today) for name, policy in self.organisation.items()}
        waivers = tuple(each for each in self.waivers if each.expires >= today)
        current = replace(self, waivers=waivers, organisation={})
        if current == Policy() and not any(policies.values()):
            return ""
        day = today if self.minimum_age else None
        content = msgspec.json.encode((current, day, policies), order="deterministic")
        return hashlib.sha256(content).hexdigest()[:16]

    def apply(
        self, findings: Iterable[Finding], image: str, digests: Collection[Digest], today: date
    ) -> tuple[Finding, ...]:
        """Return *findings* of *image* with the reason in `waiver` of those that do not count on the day *today*."""
        return tuple(replace(each, waiver=self._reason(each, image, digests, today)) for each in findings)

    def _reason(self, finding: Finding, image: str, digests: Collection[Digest], today: date) -> str:
        names = {finding.id, *finding.aliases}
        for waiver in self.waivers:
            is_meant = waiver.vulnerability in names and waiver.package in {"", finding.package}
            if is_meant and waiver.expires >= today and image.startswith(waiver.image):
                return f"{waiver.reason} (until {waiver.expires})"
        for statement in self.statements:
            is_package = not statement.packages or _without_qualifiers(finding.package_url) in statement.packages
            is_image = not statement.images or not statement.images.isdisjoint(digests)
            if is_package and is_image and not statement.vulnerabilities.isdisjoint(names):
                return statement.reason
        if finding.package in (self.ignored_packages or ()):
            return "the policy ignores the package"
        if finding.is_exploited:
            return ""
        if self.fixable_only and not finding.fixed_version:
            return "no version has a fix"
        if self.minimum_epss and finding.epss is not None and finding.epss < self.minimum_epss:
            return f"the probability of exploitation, {finding.epss:.4f}, is below {self.minimum_epss}"
        if self.minimum_age and finding.known_since and (today - finding.known_since).days < self.minimum_age:
            return f"known since {finding.known_since}, less than {self.minimum_age} days ago"
        return ""


def _first_set(*values: Rule | None) -> Rule | None:
    """Return the first value that is not None."""
    return next((value for value in values if value is not None), None)


class _Name(Struct):
    name: str = ""
    id: str = field(default="", name="@id")
    aliases: tuple[str, ...] = ()


class _Product(Struct):
    id: str = field(default="", name="@id")
    subcomponents: tuple["_Product", ...] = ()


class _Statement(Struct):
    status: str
    vulnerability: _Name | str
    products: tuple[_Product, ...] = ()
    justification: str = ""
    impact_statement: str = ""


class _Document(Struct):
    statements: tuple[_Statement, ...]


def parse_vex(content: bytes) -> list[Statement]:
    """Return the statements of an OpenVEX document that something is not affected, or is fixed.

    A product is an image (`pkg:oci/<name>@sha256:<hex>`), with packages as subcomponents, or a package itself.

    Raises:
        msgspec.MsgspecError: it is not an OpenVEX document.
    """
    statements = []
    for each in msgspec.json.decode(content, type=_Document).statements:
        if each.status not in {"not_affected", "fixed"}:
            continue
        named = each.vulnerability if isinstance(each.vulnerability, _Name) else _Name(name=each.vulnerability)
        names = frozenset(filter(None, (named.name, named.id, *named.aliases)))
        reason = each.impact_statement or each.justification.replace("_", " ") or each.status.replace("_", " ")
        for product in each.products:
            digest = unquote(product.id).partition("@")[2].partition("?")[0]
            is_image = product.id.startswith("pkg:oci/")
            if is_image and not digest:
                continue  # a statement about every version of an image is about none that can be checked
            packages = [part.id for part in product.subcomponents] if is_image else [product.id]
            statements.append(
                Statement(
                    vulnerabilities=names,
                    reason=f"OpenVEX: {reason}"[:1000],
                    packages=frozenset(map(_without_qualifiers, packages)),
                    images=frozenset({digest}) if is_image else frozenset(),
                )
            )
    return statements


def _without_qualifiers(package_url: str) -> str:
    return unquote(package_url.partition("?")[0].partition("#")[0])
