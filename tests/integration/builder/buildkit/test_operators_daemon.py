"""Builds with a buildkitd that the operator has started, at an address of a setting."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from builder.adapters.registry import registry_push
from builder.buildkit.daemons.daemon import FOLDER_NAME, open_daemon
from builder.buildkit.daemons.programs import Programs
from builder.buildkit.operators_daemon import OperatorsDaemon
from builder.choose_engine import open_engine
from builder.domain.failure import BuildFailure
from builder.engine import ignore_step
from builder.settings import BuildkitClients, EngineChoice, EngineSettings
from builder.sif.push import Sifs
from swell.api.containers import BuildOptions
from swell.errors import Unavailable
from swell.jobs.messages import Definition
from swell.net.outbound import Policy, open_session
from swell.provenance import Evidence
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import parse_auth_file
from swell.registry.credentials.principal import OPERATOR, PUBLIC
from swell.store.records import Reason
from swell_sandbox.forwarding import forwarding
from tests.integration.builder.buildkit.test_buildkit import LOOK, Buildkit, buildkit, programs
from tests.integration.builder.contract import asleep, failure_of, files_with, sleepers, until
from tests.integration.builder.harness import Output, Registry, gzipped_tar

__all__ = ["asleep", "buildkit", "programs"]


@pytest.fixture(scope="module")
async def address(
    registry: Registry, programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """A daemon that outlives the builders of these tests; it reaches the registry."""
    home = tmp_path_factory.mktemp("operator")
    (home / FOLDER_NAME).mkdir()
    host, _, port = registry.address.partition(":")
    async with open_daemon(EngineSettings(workspace=home), programs, limited=True) as daemon:
        listening = await daemon.listen([(host, int(port))])
        async with forwarding({(host, int(port)): listening[0]}):
            yield f"unix://{daemon.directory}/work/run/buildkitd.sock"


class Operator:
    def __init__(self, registry: Registry, programs: Programs, address: str) -> None:
        self.registry = registry
        self._programs = programs
        self.address = address

    def settings(self, workspace: Path, **settings: Any) -> EngineSettings:
        known: dict[str, Any] = {"pull_auth_file": self.registry.auth_file, "push_auth_file": self.registry.auth_file}
        known |= {"allowed_hosts": frozenset({self.registry.address}), "build_timeout": timedelta(seconds=120)}
        known |= {"buildkit_address": self.address, "buildkit_clients": BuildkitClients.ALL, "workspace": workspace}
        return EngineSettings(**(known | settings))

    @asynccontextmanager
    async def open(self, workspace: Path, sifs: Sifs | None = None, **settings: Any) -> AsyncIterator[OperatorsDaemon]:
        wanted = self.settings(workspace, **settings)
        async with OperatorsDaemon.open(wanted, self._programs.buildctl, sifs) as engine:
            yield engine


@pytest.fixture
def operator(registry: Registry, programs: Programs, address: str) -> Operator:
    return Operator(registry, programs, address)


async def test_a_build_uses_the_daemon_at_the_address(
    operator: Operator, buildkit: Buildkit, registry: Registry, tmp_path: Path
) -> None:
    """With its context, options and logins, and the same annotations; nothing of it is left on this machine."""
    context = gzipped_tar(tmp_path / "context.tar.gz", {"file": b"of the context"})
    recipe = buildkit.recipe("ARG V\nCOPY file /file\nRUN echo $V $(cat /file)\n", made="operator/a:1")
    options = BuildOptions(build_args={"V": "value"})
    recipe, noted = structs.replace(recipe, context=context, options=options), list[Evidence]()
    output = Output()
    async with operator.open(tmp_path / "workspace") as engine:
        digest = await engine.build(recipe, output, ignore_step, noted.append)

    assert "value of the context" in output.text
    assert registry.fetch("operator/a/manifests/1")[1] == digest
    annotations = registry.manifest("operator/a", "1")["annotations"]
    assert annotations["org.opencontainers.image.base.name"] == buildkit.base
    assert [material.name for material in noted[0].materials] == [buildkit.base]
    assert list((tmp_path / "workspace/builds").iterdir()) == []


async def test_the_choice_is_visible(operator: Operator, tmp_path: Path) -> None:
    """At the start, and in the name for `/health`. It cannot be combined with the choice of another engine."""
    async with open_engine(operator.settings(tmp_path)) as (name, engine):
        assert isinstance(engine, OperatorsDaemon)
        assert name.startswith("buildkit 0.") and name.endswith(" of the operator")
    with pytest.raises(Unavailable, match="exclude each other"):
        async with open_engine(operator.settings(tmp_path, engine=EngineChoice.BUILDAH)):
            pytest.fail("it has started")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("unix:///nowhere/buildkitd.sock", "cannot be used"),
        ("tcp://buildkit.example.org:1234", "SWELL_BUILDKIT_TLS"),
        ("http://127.0.0.1:1234", "unix:///path or tcp://host:port"),
    ],
)
async def test_an_address_that_cannot_be_used_stops_the_builder(
    operator: Operator, tmp_path: Path, address: str, message: str
) -> None:
    """Credentials of the operator are sent there, so a connection to another machine is encrypted."""
    with pytest.raises(Unavailable, match=message):
        async with operator.open(tmp_path, buildkit_address=address):
            pytest.fail("it has started")


async def test_only_builds_that_anyone_may_repeat_are_run_by_default(
    operator: Operator, buildkit: Buildkit, tmp_path: Path
) -> None:
    """The daemon gives what it has stored to every build: private bases, what steps made with secrets or proxies."""
    private = buildkit.recipe("RUN true\n")
    secret = structs.replace(private, containerfile="FROM scratch\nCOPY <<E /e\nE\n", secrets={"a": b"secret"})
    plain = structs.replace(private, containerfile="FROM scratch\nCOPY <<E /e\nE\n")
    proxied = structs.replace(plain, options=BuildOptions(build_args={"HTTP_proxy": "http://192.0.2.1"}))
    async with operator.open(tmp_path, buildkit_clients=BuildkitClients.PUBLIC) as engine:
        for refused, what in ((private, "private images"), (secret, "secrets"), (proxied, "proxies")):
            failure = await failure_of(engine, refused)
            assert what in str(failure) and "SWELL_BUILDKIT_CLIENTS" in str(failure)
        await engine.build(plain, Output())


async def test_a_shared_base_image_is_everyones(operator: Operator, buildkit: Buildkit, tmp_path: Path) -> None:
    """The operator has said that every client may read it."""
    shared = (operator.registry.address,)
    recipe = structs.replace(buildkit.recipe("RUN echo shared\n"), principal=PUBLIC)
    async with operator.open(tmp_path, buildkit_clients=BuildkitClients.PUBLIC, shared_registries=shared) as engine:
        await engine.build(recipe, Output())


async def test_secrets_and_logins_are_in_no_file_and_no_step(
    operator: Operator, buildkit: Buildkit, registry: Registry, tmp_path: Path
) -> None:
    """They go to buildctl through a pipe, into memory."""
    login = registry.authorization.removeprefix("Basic ").encode()
    steps = f"{LOOK}RUN --mount=type=secret,id=a test $(rev /run/secrets/a) = terces-ym\n"
    recipe = structs.replace(buildkit.recipe(steps), secrets={"a": b"my-secret"})
    output = Output()
    async with operator.open(tmp_path) as engine:
        await engine.build(recipe, output)
    assert login not in b"\n".join(output)
    assert files_with(login, tmp_path) == files_with(b"my-secret", tmp_path) == []


async def test_a_cancelled_build_ends_in_the_daemon(
    operator: Operator, buildkit: Buildkit, tmp_path: Path, asleep: int
) -> None:
    """The daemon notices that its client is gone."""
    recipe = buildkit.recipe(f"RUN sleep {asleep}\n")
    async with operator.open(tmp_path) as engine:
        build = asyncio.create_task(engine.build(recipe, Output()))
        await until(lambda: sleepers(asleep), "the step")
        build.cancel()
        with pytest.raises(asyncio.CancelledError):
            await build
        await until(lambda: not sleepers(asleep), "the end of the step")


async def test_a_sif_file_is_made_of_the_image(
    operator: Operator, buildkit: Buildkit, registry: Registry, tmp_path: Path
) -> None:
    """The image comes back from the daemon, and is converted here."""
    recipe = structs.replace(buildkit.recipe("RUN echo hello > /hello\n", made="operator/sif:1"), sif=Definition())
    async with open_session(Policy(frozenset({registry.address}))) as session:
        keyring = parse_auth_file(registry.auth_file.read_bytes())
        sifs = Sifs(registry_push(RegistryClient(session, keyring, actions="pull,push")), limit=1 << 30, memory=4 << 30)
        async with operator.open(tmp_path, sifs) as engine:
            await engine.build(recipe, Output())
    layers = registry.manifest("operator/sif", "1")["layers"]
    assert [layer["mediaType"] for layer in layers] == ["application/vnd.sylabs.sif.layer.v1.sif"]


async def test_failures_have_their_reasons(operator: Operator, buildkit: Buildkit, tmp_path: Path) -> None:
    """As with daemons of the builder: a failing step, a missing base image, a refused frontend, a refused push."""
    (tmp_path / "push.json").write_text(json.dumps({"auths": {}}))
    foreign = structs.replace(buildkit.bad(), containerfile="# syntax=example.org/other\nFROM scratch\n")
    async with operator.open(tmp_path / "workspace") as engine:
        assert (await failure_of(engine, buildkit.bad())).reason is Reason.RECIPE
        assert (await failure_of(engine, buildkit.baseless())).reason is Reason.BASE_IMAGE
        assert "syntax line" in str(await failure_of(engine, foreign))
    unpushed = structs.replace(foreign, containerfile="FROM scratch\nCOPY <<E /e\nE\n")
    async with operator.open(tmp_path / "workspace", push_auth_file=tmp_path / "push.json") as engine:
        assert (await failure_of(engine, unpushed)).reason is Reason.PUSH


async def test_a_container_file_reads_no_other_image_with_the_login_for_the_push(
    operator: Operator, buildkit: Buildkit, registry: Registry, tmp_path: Path
) -> None:
    """The daemon gets that login, and an ONBUILD of a base image could name what others have pushed there."""
    async with operator.open(tmp_path) as engine:
        await engine.build(buildkit.recipe("RUN echo theirs > /theirs\n", made="operator/theirs:1"), Output())
        trigger = f"ONBUILD COPY --from={registry.address}/operator/theirs:1 /theirs /stolen\n"
        await engine.build(buildkit.recipe(trigger, made="operator/trigger:1"), Output())
        recipe = buildkit.recipe("", base=f"{registry.address}/operator/trigger:1", made="operator/stolen:1")
        with pytest.raises(BuildFailure, match="denied by policy"):
            await engine.build(recipe, Output())
    assert recipe.principal == OPERATOR
