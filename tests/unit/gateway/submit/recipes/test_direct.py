"""Packages as layers: what the template supports, what it refuses, and the job."""

import base64

import pytest

from gateway.submit.submit import ContainerRequests
from swell.api.containers import ContainerConfig, ContainerRequest
from swell.api.package_layers import PackageLayers
from swell.api.packages import CondaOpts, Packages, PackageType
from swell.errors import BadRequest, TooManyRequests, Unavailable
from swell.oci.platform import parse_platform
from swell.recipes.direct import DirectPackages
from swell.recipes.packages import make_recipe
from tests.unit.gateway.doubles import CALLER, CountedBuilds, MemoryQueue, StubSolver

TEMPLATE = "conda/direct:v1"
TEXT = """\
# conda/direct:v1: nothing is run. The packages of conda.yml become layers on this image, below /opt/conda.
FROM ubuntu:24.04
# and: conda-forge::procps-ng
ENV CONDA_PREFIX=/opt/conda PATH="/opt/conda/bin:$PATH"
"""


def packages(*entries: str, environment: str = "", opts: CondaOpts | None = None) -> Packages:
    return Packages(
        type=PackageType.CONDA,
        entries=entries or None,
        channels=("conda-forge", "bioconda"),
        environment=base64.b64encode(environment.encode()).decode() if environment else None,
        conda_opts=opts,
    )


def request(*entries: str, **fields: object) -> ContainerRequest:
    return ContainerRequest(packages=packages(*entries), build_template=TEMPLATE, **fields)  # type: ignore[arg-type]


def test_the_recipe_documents_the_packages() -> None:
    """It is not built; equal packages give equal texts, so equal names."""
    recipe = make_recipe(packages("samtools=1.17"), TEMPLATE, False)
    assert (recipe.containerfile, recipe.template) == (TEXT, TEMPLATE)
    assert recipe.environment == "channels:\n- conda-forge\n- bioconda\ndependencies:\n- samtools=1.17\n"


@pytest.mark.parametrize("spelling", ["direct/v1", "conda-direct/v1"])
def test_the_template_has_the_spellings_of_the_others(spelling: str) -> None:
    """Wave's documentation has three spellings of a template's name."""
    assert make_recipe(packages("samtools"), spelling, False).template == TEMPLATE


def test_the_solver_gets_specs_and_channels() -> None:
    """Base packages are added, channels keep their order; the image of the tool is ignored."""
    opts = CondaOpts(base_image="scratch", base_packages="procps-ng  bash")
    direct = make_recipe(packages("bioconda::samtools=1.17", "numpy >=1.2", opts=opts), TEMPLATE, False).direct
    assert direct == DirectPackages(
        base_image="scratch",
        specs=("bioconda::samtools=1.17", "numpy>=1.2"),
        base_packages=("procps-ng", "bash"),
        channels=("conda-forge", "bioconda"),
    )


def test_a_lock_file_is_complete() -> None:
    """The list of an earlier build makes the same image, without base packages."""
    lock = StubSolver.LOCK
    assert make_recipe(packages(environment=lock), TEMPLATE, False).direct == DirectPackages(
        base_image="ubuntu:24.04", lock=lock
    )


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (packages("samtools", "pip:numpy"), "cannot install pip packages; use conda/micromamba:v2"),
        (packages(environment="dependencies: [pip, {pip: [numpy]}]"), "cannot install pip packages"),
        (packages("https://locks.example.org/lock"), "does not support the URL of a lock file"),
        (packages(environment="dependencies: ['https://x.example.org/a-1-0.conda']"), "by name, not by URL"),
        (packages("a[url=https://x.example.org/a-1-0.conda]"), "by name, not by URL"),
        (packages("defaults::a"), "name the channel itself"),
        (packages(environment="dependencies: [a]\nvariables: {A: b}"), "does not support variables"),
        (packages("samtools", opts=CondaOpts(commands=("RUN true",))), "does not support commands"),
    ],
)
def test_environments_that_need_a_container_are_refused(refused: Packages, message: str) -> None:
    """The message names a template that supports them."""
    with pytest.raises(BadRequest, match=message):
        make_recipe(refused, TEMPLATE, False)


def test_the_channel_defaults_is_a_setting() -> None:
    """Anaconda's channels have their own licence, so the operator enables them, or a mirror of them."""
    asked = Packages(type=PackageType.CONDA, entries=("samtools",), channels=("bioconda", "defaults"))
    with pytest.raises(BadRequest, match="Anaconda's channels, which have their own licence"):
        make_recipe(asked, TEMPLATE, False)
    mirrors = ("https://conda.example.org/main", "https://conda.example.org/r")
    direct = make_recipe(asked, TEMPLATE, False, mirrors).direct
    assert direct and direct.channels == ("bioconda", *mirrors)


async def test_the_job_has_the_lock_file(
    container_requests: ContainerRequests, queue: MemoryQueue, solver: StubSolver
) -> None:
    """The builder does not solve again, so it installs the same packages."""
    answer = await container_requests.submit(request("samtools=1.17"), CALLER)
    assert queue.jobs[0].packages == PackageLayers(base_image="ubuntu:24.04", lock=StubSolver.LOCK)
    assert queue.jobs[0].containerfile == TEXT
    assert solver.asked[0][0].specs == ("samtools=1.17",)
    assert answer.target_image.rpartition(":")[2].startswith("samtools-1.17--")


async def test_unsolvable_packages_are_not_queued(
    container_requests: ContainerRequests, queue: MemoryQueue, solver: StubSolver, limits: CountedBuilds
) -> None:
    """The error has the explanation; no build is started or counted."""
    solver.impossible = "nothing provides samtools"
    with pytest.raises(BadRequest, match="nothing provides samtools"):
        await container_requests.submit(request("samtools"), CALLER)
    assert queue.jobs == []
    assert limits.taken == 0


async def test_a_running_build_is_not_solved_again(container_requests: ContainerRequests, solver: StubSolver) -> None:
    """The same request is the same image, even if the channels have changed."""
    first = await container_requests.submit(request("samtools"), CALLER)
    second = await container_requests.submit(request("samtools"), CALLER)
    assert (first.build_id, len(solver.asked)) == (second.build_id, 1)


async def test_each_platform_is_solved_separately(container_requests: ContainerRequests, solver: StubSolver) -> None:
    """Another platform has other packages."""
    await container_requests.submit(request("samtools", container_platform="arm64"), CALLER)
    assert solver.asked[0][1] == parse_platform("linux/arm64")


async def test_a_dry_run_solves_the_packages(
    container_requests: ContainerRequests, queue: MemoryQueue, solver: StubSolver, limits: CountedBuilds
) -> None:
    """It fails where the request would fail; nothing is queued or counted."""
    answer = await container_requests.submit(request("samtools=1.17", dry_run=True), CALLER)
    assert "samtools-1.17--" in answer.target_image
    assert (queue.jobs, [packages.specs for packages, _ in solver.asked]) == ([], [("samtools=1.17",)])
    solver.impossible = "nothing provides samtools"
    with pytest.raises(BadRequest, match="nothing provides samtools"):
        await container_requests.submit(request("samtools=1.17", dry_run=True), CALLER)
    assert (queue.jobs, limits.taken) == ([], 0)


async def test_a_dry_run_solves_for_each_platform(
    container_requests: ContainerRequests, solver: StubSolver, limits: CountedBuilds
) -> None:
    """A package can be missing for one of them. The solver is shared, so each solution counts as a build meanwhile."""
    both = request("samtools", dry_run=True, container_platform="linux/amd64,linux/arm64")
    await container_requests.submit(both, CALLER)
    assert [platform.architecture for _, platform in solver.asked] == ["amd64", "arm64"]
    limits.most = 0
    with pytest.raises(TooManyRequests):
        await container_requests.submit(both, CALLER)
    assert len(solver.asked) == 2


async def test_a_dry_run_without_the_solver_has_a_warning(
    container_requests: ContainerRequests, solver: StubSolver
) -> None:
    """The name is known without it."""
    solver.trouble = Unavailable("the builder does not answer")
    answer = await container_requests.submit(request("samtools", dry_run=True), CALLER)
    assert (answer.cached, answer.warnings) == (False, ("the packages are not solved: the builder does not answer",))


async def test_a_frozen_config_is_part_of_the_job(container_requests: ContainerRequests, queue: MemoryQueue) -> None:
    """The name depends on it; the builder adds it to the image."""
    opts = CondaOpts(base_image="scratch", base_packages=None)
    config = ContainerConfig(env=("A=1",))
    for number, added in enumerate((None, config)):
        container_request = ContainerRequest(
            packages=packages("samtools", opts=opts),
            build_template=TEMPLATE,
            freeze=True,
            build_repository="quay.io/me/mine",
            container_config=added,
        )
        await container_requests.submit(container_request, CALLER)
        assert queue.jobs[number].packages == PackageLayers(base_image="scratch", lock=StubSolver.LOCK, config=added)
    assert queue.jobs[1].containerfile.endswith('# the lines below were added by freeze\nENV A="1"\n')
    assert queue.jobs[0].target_image != queue.jobs[1].target_image


def test_sif_files_are_not_supported() -> None:
    """A SIF file has no layers."""
    with pytest.raises(BadRequest, match="does not support SIF files"):
        make_recipe(packages("samtools"), TEMPLATE, True)
