"""Predicates about a build: how it was made (SLSA provenance), and what it contains (SPDX).

Sources: SLSA, "Provenance", https://slsa.dev/spec/v1.0/provenance; SPDX 2.3, https://spdx.github.io/spdx-spec/v2.3/
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from swell.conda.purl import conda_url, without_secrets
from swell.oci.digest import Digest, hex_of
from swell.provenance import Provenance
from swell.store.records import BuildResult, Submission

BUILD_TYPE = "urn:swell:build:v1"
MAX_PACKAGES = 10_000
_LOCKED = re.compile(
    r"(?P<channel>(?:https?|file)://\S+)/(?P<subdir>[a-z0-9_-]+)/"
    r"(?P<name>[^/\s#]+)-(?P<version>[^-/\s#]+)-(?P<build>[^-/\s#]+?)(?P<type>\.conda|\.tar\.bz2)"
    r"(?:#(?:(?P<algorithm>sha256|md5):)?(?P<hash>[0-9a-f]{32,64}))?"
)

_LICENSE = r"\(*[A-Za-z0-9][A-Za-z0-9.+-]*\)*"
_EXPRESSION = re.compile(rf"{_LICENSE}(?: (?:AND|OR|WITH) {_LICENSE})*")


class CondaPackage(Struct, frozen=True):
    """A package of a lock file; `digest` is `algorithm:<hex>`, or empty."""

    name: str
    version: str
    build: str
    channel: str
    subdir: str
    url: str
    digest: str = ""

    @property
    def purl(self) -> str:
        file = self.url.rpartition("/")[2]
        return conda_url(self.name, self.version, build=self.build, channel=self.channel, subdir=self.subdir, file=file)


def packages_of(lock: str) -> Iterator[CondaPackage]:
    """Yield the packages of *lock*, an explicit lock file of conda; other lines are ignored.

    Source: conda, "Building identical conda environments",
    https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html
    """
    for line in lock.splitlines()[:MAX_PACKAGES]:
        if match := _LOCKED.fullmatch(line.strip()):
            algorithm = match["algorithm"] or ("sha256" if len(match["hash"] or "") == 64 else "md5")
            yield CondaPackage(
                match["name"],
                match["version"],
                match["build"],
                match["channel"],
                match["subdir"],
                line.strip().partition("#")[0],
                f"{algorithm}:{match['hash']}" if match["hash"] else "",
            )


def slsa(
    build_id: str, submission: Submission, result: BuildResult, facts: Provenance | None, lock: str
) -> dict[str, Any]:
    """Return the predicate of SLSA provenance v1 for a build, without any secret or name of a user.

    *facts* are those that the builder has stored; an index of several platforms has none. *lock* is its lock file.
    A step of the build may have printed it, so the digests that the engine has verified count before those in it.
    """
    materials = {package.url: package.digest for package in packages_of(lock)}
    materials |= {each.name: each.digest or "" for each in facts.evidence.materials} if facts else {}
    inputs = {
        "containerFile": submission.containerfile,
        "platform": submission.platform,
        "environment": submission.environment,
        "template": submission.template,
        "buildArgs": submission.options.build_args,
        "target": submission.options.target,
        "labels": submission.options.labels,
        "context": submission.context,
        "layers": submission.layers,
        "includes": submission.included,
    }
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {name: value for name, value in inputs.items() if value},
            "internalParameters": {
                "organisation": submission.organisation,
                "engine": facts.evidence.engine if facts else "",
                "builds": [child.build_id for child in submission.children],
            },
            "resolvedDependencies": [_resource(name, digest) for name, digest in sorted(materials.items())],
        },
        "runDetails": {
            "builder": {"id": "swell", "version": {"swell": facts.version if facts else ""}},
            "metadata": {
                "invocationId": build_id,
                "startedOn": _instant(result.started),
                "finishedOn": _instant(result.finished),
            },
        },
    }


def spdx(
    name: str, digest: Digest, created: datetime, lock: str, facts: Provenance | None = None
) -> dict[str, Any] | None:
    """Return the SPDX 2.3 document of the Conda packages in *lock*; None if it has none.

    Licences are those that the engine has noted in *facts*.
    """
    materials = facts.evidence.materials if facts else ()
    licenses = {each.name: each.license for each in materials if each.license}
    references = _Licenses()
    packages = [
        {
            "SPDXID": f"SPDXRef-package-{number}",
            "name": package.name,
            "versionInfo": package.version,
            "downloadLocation": without_secrets(package.url),
            "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": references.declared(licenses.get(package.url)),
            "checksums": _checksums(package.digest),
            "externalRefs": [
                {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.purl}
            ],
        }
        for number, package in enumerate(sorted(packages_of(lock), key=lambda it: it.url), 1)
    ]
    if not packages:
        return None
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{hex_of(digest)}",
        "creationInfo": {"created": _instant(created), "creators": ["Tool: swell"]},
        "packages": packages,
        **references.fields,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": package["SPDXID"],
            }
            for package in packages
        ],
    }


class _Licenses:
    """The licences of a document; a text that is no SPDX expression becomes a reference to it.

    Source: SPDX 2.3, "Other licensing information detected", https://spdx.github.io/spdx-spec/v2.3/other-licensing-information-detected/
    """

    def __init__(self) -> None:
        self._others: dict[str, str] = {}

    def declared(self, text: str | None) -> str:
        if not text:
            return "NOASSERTION"
        if _EXPRESSION.fullmatch(text):
            return text
        return self._others.setdefault(text, f"LicenseRef-{len(self._others) + 1}")

    @property
    def fields(self) -> dict[str, Any]:
        others = [{"licenseId": name, "extractedText": text} for text, name in self._others.items()]
        return {"hasExtractedLicensingInfos": others} if others else {}


def _resource(uri: str, digest: str) -> Mapping[str, Any]:
    algorithm, _, encoded = digest.partition(":")
    return {"uri": uri} | ({"digest": {algorithm: encoded}} if encoded else {})


def _checksums(digest: str) -> list[dict[str, str]]:
    algorithm, _, encoded = digest.partition(":")
    return [{"algorithm": algorithm.upper(), "checksumValue": encoded}] if encoded else []


def _instant(moment: datetime) -> str:
    return msgspec.json.encode(moment.replace(microsecond=0)).decode().strip('"')
