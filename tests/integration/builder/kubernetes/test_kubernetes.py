"""The kubernetes engine keeps the contract too, in a stand-in for a cluster: no real one can be had here."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from msgspec import structs

from builder.buildkit.daemons.programs import Programs
from builder.domain.failure import BuildFailure
from builder.engine import Engine, Recipe, ignore_step
from builder.kubernetes import cluster as cluster_api
from builder.kubernetes import engine as kubernetes
from builder.kubernetes.engine import KubernetesEngine
from builder.settings import EngineChoice, Isolation, KubernetesSettings
from swell.api.containers import BuildOptions
from swell.errors import Unavailable
from swell.jobs.messages import BuildJob
from swell.oci.digest import Digest, parse_digest
from swell.provenance import Evidence, Material
from swell.registry.credentials.principal import OPERATOR
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import Reason, Submission
from tests.integration.builder.buildah.test_buildah import Buildah
from tests.integration.builder.buildkit.test_buildkit import Buildkit, programs
from tests.integration.builder.contract import (
    EngineContract,
    Subject,
    asleep,
    assert_nothing_left,
    failure_of,
    sleepers,
    until,
)
from tests.integration.builder.harness import OpenEngine, Output, Registry, gzipped_tar
from tests.integration.builder.kubernetes.cluster import Cluster, serving
from tests.unit.builder.test_build import MemoryLogs, Pushed, runner_of

__all__ = ["asleep", "programs"]


class Kubernetes(Buildah):
    """The recipes are buildah's: it is buildah that runs in the pods."""

    def __init__(
        self, registry: Registry, open_engine: OpenEngine, base: str, cluster: Cluster, files: "Files"
    ) -> None:
        super().__init__(registry, open_engine, base, Isolation.OCI)
        self.cluster = cluster
        self.files = files

    def open(self, workspace: Path, **settings: Any) -> AbstractAsyncContextManager[Engine]:  # type: ignore[override]
        settings = {"engine": EngineChoice.BUILDAH} | settings
        return open_cluster(self.registry, self.cluster, self.files, **settings)


class BuildkitPods(Buildkit):
    """Pods with the default engine."""

    def __init__(self, registry: Registry, programs: Programs, base: str, cluster: Cluster, files: "Files") -> None:
        super().__init__(registry, programs, base)
        self.cluster = cluster
        self.files = files

    def open(self, workspace: Path, **settings: Any) -> AbstractAsyncContextManager[Engine]:  # type: ignore[override]
        return open_cluster(self.registry, self.cluster, self.files, **settings)


@asynccontextmanager
async def open_cluster(registry: Registry, cluster: Cluster, files: "Files", **settings: Any) -> AsyncIterator[Engine]:
    known: dict[str, Any] = {"pull_auth_file": registry.auth_file, "push_auth_file": registry.auth_file}
    hosts = {"allowed_hosts": frozenset({registry.address}), "workspace": Path("/nowhere")}
    async with serving(cluster) as config:
        of_cluster = {"kubernetes_image": "swell/builder:1", "kubernetes_config_file": config}
        limit = {"build_timeout": timedelta(seconds=120)}
        wanted = KubernetesSettings(**(known | hosts | of_cluster | limit | settings))
        async with KubernetesEngine.open(wanted, files.link) as engine:
            yield engine


class Files:
    """A store in which pods find what builds are made of."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self.folder = folder

    def link(self, digest: Digest) -> str:
        return f"{self._url}/{digest.partition(':')[2]}"


@pytest.fixture
async def files(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Files]:
    folder = tmp_path_factory.mktemp("files")
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield Files(f"http://127.0.0.1:{port}", folder)
    await runner.cleanup()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def subject(registry: Registry, open_engine: OpenEngine, base: str, cluster: Cluster, files: Files) -> Kubernetes:
    return Kubernetes(registry, open_engine, base, cluster, files)


class TestKubernetes(EngineContract):
    async def test_builds_die_with_a_killed_builder(  # type: ignore[override]  # it takes one fixture more
        self, subject: Subject, tmp_path: Path, asleep: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Builds outlive their builder here: the next builder of the build finds its Job."""
        assert isinstance(subject, Kubernetes | BuildkitPods)
        monkeypatch.setattr(kubernetes, "OUTAGE", timedelta(seconds=1))
        recipe, first, second = subject.good("said once"), Output(), Output()
        async with subject.open(tmp_path) as engine:
            building = asyncio.create_task(engine.build(recipe, first))
            await until(lambda: subject.cluster.secrets, "the Job of the first builder")
            subject.cluster.broken.add("away")  # it cannot take its Job along
            with pytest.raises(Unavailable):
                await building
            subject.cluster.broken.clear()

            digest = await engine.build(recipe, second)

        assert subject.registry.fetch("made/manifests/1")[1] == digest
        assert subject.has_said("said once", second)
        assert len([made for made in subject.cluster.seen if made["kind"] == "Job"]) == 1


@pytest.fixture
def buildkit_pods(registry: Registry, programs: Programs, base: str, cluster: Cluster, files: Files) -> BuildkitPods:
    return BuildkitPods(registry, programs, base, cluster, files)


@pytest.mark.full
class TestBuildkitPods(TestKubernetes):
    @pytest.fixture
    def subject(self, buildkit_pods: BuildkitPods) -> Subject:
        return buildkit_pods


async def test_a_pod_builds_with_buildkit_and_the_secrets_of_its_build(
    buildkit_pods: BuildkitPods, tmp_path: Path
) -> None:
    """A feature that buildah lacks. Secrets are in the Secret of the Job, and masked in the pod's own log."""
    (tmp_path / "npm").write_text("t0ken-of-the-operator")
    secrets = {"token": b"t0ken-of-the-operator"}
    step = "RUN --mount=type=secret,id=token,env=TOKEN <<EOF\necho got $TOKEN\nEOF\n"
    recipe = structs.replace(buildkit_pods.recipe(step), options=BuildOptions(build_secrets={"token": "npm"}))
    async with buildkit_pods.open(tmp_path) as engine:
        noted = list[Evidence]()
        digest = await engine.build(structs.replace(recipe, secrets=secrets), Output(), ignore_step, noted.append)

    base = Material(buildkit_pods.base, buildkit_pods.registry.fetch("base/manifests/1")[1])
    assert (noted[0].engine[:11], noted[0].materials) == ("buildkit 0.", (base,))
    cluster = buildkit_pods.cluster
    assert buildkit_pods.registry.fetch("made/manifests/1")[1] == digest
    assert any("got ***" in line for line in cluster.said)
    job, secret = (next(made for made in cluster.seen if made["kind"] == kind) for kind in ("Job", "Secret"))
    assert base64.b64decode(secret["data"]["build-secret.npm"]) == secrets["token"]
    assert {"name": "SWELL_BUILD_SECRETS", "value": "npm=/swell/build-secret.npm"} in environment_of(job)
    assert "t0ken" not in json.dumps(job) and not any("t0ken" in line for line in cluster.said)


async def test_a_pod_without_privileges_has_what_rootless_buildkit_needs(
    buildkit_pods: BuildkitPods, tmp_path: Path
) -> None:
    """As BuildKit's documentation says: no profile that refuses namespaces and mounts. The API's schema accepts it."""
    async with buildkit_pods.open(tmp_path, kubernetes_privileged=False) as engine:
        await engine.build(buildkit_pods.good("made without"), Output())

    job = next(made for made in buildkit_pods.cluster.seen if made["kind"] == "Job")
    context = job["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    assert (context["privileged"], context["capabilities"]["drop"]) == (False, ["ALL"])
    assert context["seccompProfile"] == context["appArmorProfile"] == {"type": "Unconfined"}


def environment_of(job: dict[str, Any]) -> list[dict[str, str]]:
    return list(job["spec"]["template"]["spec"]["containers"][0]["env"])


async def test_a_build_that_went_on_without_its_builder_is_reported_as_it_was(
    subject: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its times are the Job's, and its log is the pod's, though the builder that began it has died long ago."""
    monkeypatch.setattr(kubernetes, "OUTAGE", timedelta(seconds=1))
    recipe = subject._recipe("RUN for n in $(seq 1 20); do echo line $n; done; sleep 2\n")
    builds, logs, before = MemoryBuilds(), MemoryLogs(), datetime.now(UTC)
    build_id, _ = await builds.submit(
        Submission(
            container_id="c",
            target_image=recipe.target_image,
            containerfile=recipe.containerfile,
            platform=recipe.platform,
            created=before,
        )
    )
    job = BuildJob(
        id=build_id,
        target_image=recipe.target_image,
        containerfile=recipe.containerfile,
        platform=recipe.platform,
        principal=OPERATOR,
        push_principal=OPERATOR,
    )
    async with subject.open(tmp_path) as engine:
        first = asyncio.create_task(runner_of(engine, builds, MemoryLogs()).build(job, 1))
        await until(lambda: subject.cluster.secrets, "the Job of the first builder")
        subject.cluster.broken.add("away")  # it dies, and leaves its Job
        with pytest.raises(Unavailable):
            await first
        subject.cluster.broken.clear()
        (pod,) = subject.cluster.pods
        await until(lambda: subject.cluster.pods[pod]["status"]["phase"] == "Succeeded", "the end of the pod")
        ended = datetime.now(UTC)
        pushed = Pushed(parse_digest(subject.registry.fetch("made/manifests/1")[1]))

        await runner_of(engine, builds, logs, pushed=pushed).build(job, 2)

    build = await builds.get(job.id)
    assert build and build.result
    assert build.result.succeeded
    assert build.result.duration >= timedelta(seconds=2)
    assert before <= build.result.started < build.result.finished <= ended
    assert [line for line in logs.lines if line.startswith(b"line ")] == [b"line %d" % n for n in range(1, 21)]
    assert subject.cluster.jobs == {}


async def test_every_line_comes_once_though_the_stream_breaks(subject: Kubernetes, tmp_path: Path) -> None:
    """An API server ends long streams whenever it likes."""
    subject.cluster.broken.add("cut")
    output = Output()
    recipe = subject._recipe("RUN for n in $(seq 1 40); do echo line $n; done\n")
    async with subject.open(tmp_path) as engine:
        await engine.build(recipe, output)
    assert [line for line in output if line.startswith(b"line ")] == [b"line %d" % n for n in range(1, 41)]


async def test_a_pod_that_does_not_begin_is_given_up(subject: Kubernetes, tmp_path: Path) -> None:
    """With the cluster's own words, for the operator."""
    subject.cluster.broken.add("stuck")
    async with subject.open(tmp_path, kubernetes_patience=timedelta(seconds=2)) as engine:
        failure = await failure_of(engine, subject.good("never"))
        assert subject.cluster.jobs == {}
    assert failure.reason is Reason.ENGINE
    assert "ImagePullBackOff: Back-off pulling image" in str(failure)


async def test_a_pod_that_the_kernel_killed_is_reported(subject: Kubernetes, tmp_path: Path) -> None:
    """The pod has no termination message, but its status has the reason."""
    subject.cluster.broken.add("killed")
    async with subject.open(tmp_path) as engine:
        failure = await failure_of(engine, subject.good("nothing"))
    assert failure.reason is Reason.MEMORY


async def test_a_build_moves_on_when_its_machine_is_emptied(subject: Kubernetes, tmp_path: Path) -> None:
    """That is no fault of the recipe's; its Job has another pod made, and that one's end counts."""
    subject.cluster.broken.add("emptied")
    output = Output()
    async with subject.open(tmp_path) as engine:
        digest = await engine.build(subject.good("moved"), output)
    assert subject.registry.fetch("made/manifests/1")[1] == digest
    assert b"(the cluster has evicted the pod of this build)" in output
    assert len([made for made in subject.cluster.seen if made["kind"] == "Job"]) == 1


async def test_a_deleted_pod_ends_the_build(subject: Kubernetes, tmp_path: Path) -> None:
    """At once, in the cluster's words, and not when the time is over."""
    subject.cluster.broken.add("deleted")
    async with subject.open(tmp_path) as engine:
        failure = await failure_of(engine, subject.good("nothing"))
    assert failure.reason is Reason.ENGINE
    assert "BackoffLimitExceeded" in str(failure)


async def test_a_deleted_job_fails_the_build(subject: Kubernetes, tmp_path: Path, asleep: int) -> None:
    """The build does not wait for a Job that an administrator has removed."""
    recipe = subject.endless(asleep)
    async with subject.open(tmp_path) as engine:
        building = asyncio.create_task(failure_of(engine, recipe))
        await until(lambda: sleepers(asleep), "the build's processes")
        await subject.cluster.remove(recipe.build_id.replace("_", "-"))
        failure = await building
    assert failure.reason is Reason.ENGINE
    assert "was removed from the cluster" in str(failure)


async def test_lines_that_went_with_their_machine_are_not_waited_for(
    subject: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster has the result of the build, although its log cannot be read any more."""
    monkeypatch.setattr(kubernetes, "LAST_LINES", timedelta(seconds=1))
    subject.cluster.broken |= {"killed", "dumb"}
    output = Output()
    async with subject.open(tmp_path) as engine:
        with pytest.raises(BuildFailure) as failure:
            await engine.build(subject.good("nothing"), output)
    assert failure.value.reason is Reason.MEMORY
    assert b"(the last lines of this build are not available from the cluster)" in output


async def test_a_connection_that_is_lost_silently_does_not_hold_up_the_end(
    subject: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load balancer in front of the API server can drop connections silently."""
    monkeypatch.setattr(cluster_api, "SILENCE", timedelta(seconds=2))
    subject.cluster.broken.add("mute")
    output = Output()
    async with subject.open(tmp_path) as engine:
        digest = await engine.build(subject.good("all the same"), output)
    assert subject.registry.fetch("made/manifests/1")[1] == digest
    assert subject.has_said("all the same", output)


async def test_a_busy_cluster_costs_no_build_its_attempt(subject: Kubernetes, tmp_path: Path) -> None:
    """Starting again would write every line twice."""
    subject.cluster.broken.add("busy")
    output = Output()
    recipe = subject._recipe("RUN for n in $(seq 1 4); do echo line $n; sleep 1; done\n")
    async with subject.open(tmp_path) as engine:
        await engine.build(recipe, output)
    assert [line for line in output if line.startswith(b"line ")] == [b"line %d" % n for n in range(1, 5)]


async def test_a_quota_is_waited_for(subject: Kubernetes, tmp_path: Path) -> None:
    """The quota is free when other builds have ended, so the job is delivered again."""
    subject.cluster.broken.add("quota")
    async with subject.open(tmp_path) as engine:
        with pytest.raises(Unavailable, match="exceeded quota"):
            await engine.build(subject.good("later"), Output())


async def test_a_job_that_is_being_removed_is_not_taken_for_ours(subject: Kubernetes, tmp_path: Path) -> None:
    """Its pod is about to be killed: the build waits in its queue until that is over."""
    recipe = subject.good("later")
    name = recipe.build_id.replace("_", "-")
    metadata = {"name": name, "namespace": "swell", "uid": "old", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    subject.cluster.jobs[name] = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
    async with subject.open(tmp_path) as engine:
        with pytest.raises(Unavailable, match="being removed"):
            await engine.build(recipe, Output())


async def test_a_context_goes_by_a_link(subject: Kubernetes, tmp_path: Path) -> None:
    """Contexts are larger than what a cluster keeps; the pod sees that it is the right one."""
    context = gzipped_tar(tmp_path / "context.tar.gz", {"greeting": b"hello from a context"})
    recipe = Recipe(
        principal=OPERATOR,
        push_principal=OPERATOR,
        build_id="bd-context_1",
        target_image=f"{subject.registry.address}/made:1",
        containerfile=f"FROM {subject._base}\nCOPY greeting /\nRUN cat /greeting; echo\n",
        context=context,
    )
    async with subject.open(tmp_path) as engine:
        with pytest.raises(BuildFailure) as missing:
            await engine.build(recipe, Output())
        (subject.files.folder / _hex(context)).write_bytes(context.read_bytes())
        output = Output()
        await engine.build(recipe, output)
        (subject.files.folder / _hex(context)).write_bytes(b"something else")
        with pytest.raises(BuildFailure) as wrong:
            await engine.build(recipe, Output())
    assert missing.value.reason is Reason.CONTEXT
    assert b"hello from a context" in output
    assert "another digest" in str(wrong.value)


async def test_a_job_says_what_a_cluster_must_know(subject: Kubernetes, tmp_path: Path) -> None:
    """Its limits, its machine, and that it is never begun again; secrets are in a Secret that goes with it."""
    async with subject.open(
        tmp_path, kubernetes_node_selector=("pool=builds",), kubernetes_cpu="2", build_memory=1 << 30
    ) as engine:
        recipe = subject.good("built")
        await engine.build(recipe, Output())
    job, secret = subject.cluster.seen
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["metadata"]["name"] == secret["metadata"]["name"] == recipe.build_id.replace("_", "-")
    assert (job["spec"]["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert job["spec"]["activeDeadlineSeconds"] > 60
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "pool": "builds"}
    assert container["resources"]["limits"] == {"memory": str((1 << 30) + (512 << 20)), "cpu": "2"}
    assert pod["automountServiceAccountToken"] is False
    assert "secret" not in str(job).replace("secretName", "").replace("'secret'", "")
    assert subject.cluster.secrets == subject.cluster.jobs == {}


async def test_cancelling_a_build_removes_its_job(subject: Kubernetes, tmp_path: Path, asleep: int) -> None:
    """No pod goes on after the build."""
    recipe = subject.endless(asleep)
    async with subject.open(tmp_path) as engine:
        building = asyncio.create_task(engine.build(recipe, Output()))
        await until(lambda: sleepers(asleep), "the build's processes")
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
        assert subject.cluster.jobs == {}
        await assert_nothing_left(subject, tmp_path, recipe.build_id, asleep)


async def test_the_engine_does_not_open_without_a_cluster(subject: Kubernetes, tmp_path: Path) -> None:
    """The operator sees the error at the start of the service."""
    subject.cluster.broken.add("away")
    with pytest.raises(Unavailable, match="unable to handle"):
        async with subject.open(tmp_path):
            pytest.fail("opened")


def _hex(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
