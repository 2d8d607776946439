"""The series of a build: what its user calls the image, whatever its versions are."""

import pytest

from gateway.submit.request import BuildRequest
from gateway.submit.series import series_of
from swell.naming.image_name import tools_of
from swell.oci.platform import parse_platform

REPOSITORY = "r.example/team"


def series(
    containerfile: str = "", environment: str | None = None, *, client: str = "me", image: str = f"{REPOSITORY}:1"
) -> str:
    template = "conda/micromamba:v2" if environment else None
    request = BuildRequest(
        repository=REPOSITORY,
        blobs={},
        platforms=(parse_platform("linux/amd64"),),
        containerfile=containerfile,
        environment=environment,
        tools=tools_of(environment) if environment else (),
        template=template,
    )
    return series_of(request, image, client)


def packages(*specs: str) -> str:
    return "dependencies:\n" + "".join(f"- {spec}\n" for spec in specs)


def test_versions_and_order_of_packages_do_not_count() -> None:
    """A scientist who updates a tool wants to see what else has changed."""
    first = series(environment=packages("bioconda::samtools=1.17", "bwa"))

    assert first
    assert first == series(environment=packages("bwa=0.7.18", "samtools=1.21"))
    assert first != series(environment=packages("samtools=1.21"))


def test_the_name_of_an_environment_counts_instead_of_its_packages() -> None:
    """It is a name that its user has chosen."""
    first = series(environment="name: rnaseq\n" + packages("star"))

    assert first == series(environment="name: rnaseq\n" + packages("star", "salmon"))


def test_tags_of_the_images_below_a_container_file_do_not_count() -> None:
    """A newer base and another step are versions of the same image."""
    first = series("FROM ubuntu:22.04\nRUN a\n")

    assert first == series("FROM ubuntu:24.04\nRUN b\n")
    assert first != series("FROM debian:12\nRUN a\n")


@pytest.mark.parametrize("other", [{"client": "you"}, {"image": "r.example/other:1"}])
def test_clients_and_repositories_have_their_own_series(other: dict[str, str]) -> None:
    """No page shows a build of somebody else as the one before."""
    assert series("FROM a\n") != series("FROM a\n", **other)


@pytest.mark.parametrize("containerfile", ["", "Bootstrap: docker\nFrom: a\n", "FROM scratch\nCOPY a /\n"])
def test_what_has_no_name_has_no_series(containerfile: str) -> None:
    """Its page compares builds of equal inputs."""
    assert series(containerfile) == ""
