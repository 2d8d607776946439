"""What is said about a build: its inputs and its packages, without secrets."""

from datetime import UTC, datetime

from swell.oci.digest import digest_of
from swell.provenance import Evidence, Inputs, Material, Provenance
from swell.signing.predicates import packages_of, slsa, spdx
from swell.store.records import BuildResult, Submission

LOCK = """\
@EXPLICIT
https://conda.anaconda.org/conda-forge/linux-64/libzlib-1.3.1-hb9d3cd8_2.conda#edb0dca6bc32e4f4789199455a1dbeb8
https://conda.anaconda.org/bioconda/noarch/multiqc-1.25-pyhdfd78af_0.tar.bz2#sha256:{}
not a package
""".format("a" * 64)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SUBMISSION = Submission(
    container_id="c44968632f89dd6c",
    target_image="r/i:t",
    containerfile="FROM a\n",
    platform="linux/amd64",
    created=NOON,
    organisation="lab",
)
RESULT = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON, digest=digest_of(b"x"))


def test_packages_have_the_names_of_their_channel() -> None:
    """A purl identifies the package for scanners: type, name, version, build, channel and platform."""
    first, second = packages_of(LOCK)

    assert first.purl == "pkg:conda/libzlib@1.3.1?build=hb9d3cd8_2&channel=conda-forge&subdir=linux-64&type=conda"
    assert first.digest == "md5:edb0dca6bc32e4f4789199455a1dbeb8"
    assert (second.name, second.version, second.digest) == ("multiqc", "1.25", f"sha256:{'a' * 64}")


def test_the_sbom_lists_every_package_once() -> None:
    """In a fixed order, so that a repeated attempt makes the same document; without packages the result is None."""
    document = spdx("r/i:t", digest_of(b"x"), NOON, LOCK)

    assert document is not None
    assert [package["name"] for package in document["packages"]] == ["multiqc", "libzlib"]
    assert document["packages"][1]["checksums"] == [
        {"algorithm": "MD5", "checksumValue": "edb0dca6bc32e4f4789199455a1dbeb8"}
    ]
    assert spdx("r/i:t", digest_of(b"x"), NOON, "") is None


def test_licences_are_those_of_the_solved_packages() -> None:
    """A text that is no expression of SPDX becomes a reference to it; without a licence, nothing is asserted."""
    urls = [package.url for package in packages_of(LOCK)]
    named = [Material(urls[0], license="Zlib OR (MIT AND GPL-2.0-or-later)"), Material(urls[1], license="see file; ok")]
    documents = [
        spdx("r/i:t", digest_of(b"x"), NOON, LOCK, facts_of(*materials)) for materials in (named, (), named[:1])
    ]

    declared = [[each["licenseDeclared"] for each in document["packages"]] for document in documents if document]
    zlib = "Zlib OR (MIT AND GPL-2.0-or-later)"
    assert declared == [["LicenseRef-1", zlib], ["NOASSERTION"] * 2, ["NOASSERTION", zlib]]
    assert documents[0] and documents[0]["hasExtractedLicensingInfos"] == [
        {"licenseId": "LicenseRef-1", "extractedText": "see file; ok"}
    ]
    assert documents[1] and "hasExtractedLicensingInfos" not in documents[1]


def facts_of(*materials: Material) -> Provenance:
    """The stored facts of a build with *materials*."""
    return Provenance(
        build_id="bd-c44968632f89dd6c_1",
        image="r/i:t",
        digest=digest_of(b"x"),
        inputs=Inputs(containerfile="", platform="linux/amd64"),
        evidence=Evidence(engine="conda", materials=materials),
        started=NOON,
        ended=NOON,
    )


def test_the_provenance_has_the_inputs_and_no_user() -> None:
    """The organisation is in it, the client's queue and address are not."""
    facts = Provenance(
        build_id="bd-1_1",
        image="r/i:t",
        digest=digest_of(b"x"),
        inputs=Inputs(containerfile="FROM a\n", platform="linux/amd64"),
        evidence=Evidence(engine="buildkit 1", materials=(Material("docker.io/library/a:1", f"sha256:{'b' * 64}"),)),
        started=NOON,
        ended=NOON,
        version="1.0",
    )

    predicate = slsa("bd-1_1", SUBMISSION, RESULT, facts, LOCK)

    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    assert definition["externalParameters"] == {"containerFile": "FROM a\n", "platform": "linux/amd64"}
    assert definition["internalParameters"] == {"organisation": "lab", "engine": "buildkit 1", "builds": []}
    assert [each["uri"].rpartition("/")[2] for each in definition["resolvedDependencies"]] == [
        "a:1",
        "multiqc-1.25-pyhdfd78af_0.tar.bz2",
        "libzlib-1.3.1-hb9d3cd8_2.conda",
    ]
    assert details["metadata"] == {
        "invocationId": "bd-1_1",
        "startedOn": "2026-11-23T12:00:00Z",
        "finishedOn": "2026-11-23T12:00:00Z",
    }


def test_a_printed_lock_file_does_not_replace_a_verified_digest() -> None:
    """A step can print any lock file; what the engine has verified stays."""
    url = "https://conda.anaconda.org/bioconda/noarch/multiqc-1.25-pyhdfd78af_0.tar.bz2"
    facts = Provenance(
        build_id="bd-1_1",
        image="r/i:t",
        digest=digest_of(b"x"),
        inputs=Inputs(containerfile="FROM a\n", platform="linux/amd64"),
        evidence=Evidence(materials=(Material(url, f"sha256:{'b' * 64}"),)),
        started=NOON,
        ended=NOON,
    )

    dependencies = slsa("bd-1_1", SUBMISSION, RESULT, facts, LOCK)["buildDefinition"]["resolvedDependencies"]

    assert [each["digest"] for each in dependencies if each["uri"] == url] == [{"sha256": "b" * 64}]
