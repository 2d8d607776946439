"""Builds from and to Amazon's registries: the operator has AWS keys, and the engines' registries want logins.

AWS is scripted and checks every signature. The registries are a real one, under Amazon's names at the end of a proxy,
which takes nothing but the login that AWS has given.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from msgspec import structs

from builder.adapters.registry import pusher, registry_push
from builder.buildah.engine import BuildahEngine
from builder.conda.engine import CondaEngine
from builder.engine import Engine, Recipe
from builder.settings import CondaSettings, Isolation
from builder.sif.push import Sifs
from swell.jobs.messages import Definition
from swell.net.outbound import Policy, open_session
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import OPERATOR
from swell.store.records import Reason
from tests.integration.builder.conda import channel
from tests.integration.builder.conda.test_conda_contract import Direct
from tests.integration.builder.contract import failure_of
from tests.integration.builder.harness import Output, Registry
from tests.integration.builder.outside import Outside, outside
from tests.integration.registry_proxy.registries.amazon import ECR, KEYS, PUBLIC, ROLE, SESSION, Aws
from tests.integration.registry_proxy.support import said, serving


class Amazon:
    """What an operator has who keeps images at Amazon's: settings, and an auth file with keys."""

    def __init__(self, aws: Aws, world: Outside, registry: Registry, script_authority: str, folder: Path) -> None:
        self.aws = aws
        self.world = world
        self.registry = registry
        self.auth_file = folder / "auth.json"
        self.hosts = frozenset({registry.address, script_authority})
        self.hold({ECR: KEYS, PUBLIC: KEYS})

    def hold(self, entries: dict[str, Credentials]) -> None:
        """Have an auth file of *entries*, and of the plain registry's."""
        auths = {self.registry.address: {"auth": self.registry.authorization.removeprefix("Basic ")}}
        auths |= {name: {"auth": credentials.encoded} for name, credentials in entries.items()}
        self.auth_file.write_text(json.dumps({"auths": auths}))

    def settings(self, workspace: Path, **changed: Any) -> CondaSettings:
        conda_settings = structs.asdict(self.aws.settings) | {
            "workspace": workspace,
            "pull_auth_file": self.auth_file,
            "push_auth_file": self.auth_file,
            "allowed_hosts": self.hosts,
            "https_proxy": self.world.proxy(),
            "ca_file": self.world.ca_file,
            "build_timeout": timedelta(seconds=60),
        }
        return CondaSettings(**(conda_settings | changed))

    @asynccontextmanager
    async def engine(self, workspace: Path, **changed: Any) -> AsyncIterator[BuildahEngine]:
        settings = self.settings(workspace, **changed)
        async with self._asking(settings) as (session, aws):
            sifs = Sifs(registry_push(pusher(session, settings, aws)), limit=64 << 20, memory=2 << 30)
            async with BuildahEngine.open(settings, sifs, aws) as engine:
                yield engine

    @asynccontextmanager
    async def conda(self, workspace: Path, hosts: frozenset[str]) -> AsyncIterator[Engine]:
        settings = self.settings(workspace, allowed_hosts=self.hosts | hosts)
        async with self._asking(settings) as (session, aws), CondaEngine.open(settings, session, aws) as engine:
            yield engine

    @asynccontextmanager
    async def _asking(self, settings: CondaSettings) -> AsyncIterator[tuple[ClientSession, AwsLogins]]:
        async with open_session(Policy(settings.allowed_hosts), settings) as session:
            yield session, AwsLogins(session, settings)


@pytest.fixture
async def amazon(registry: Registry, base: str, tmp_path: Path) -> AsyncIterator[Amazon]:
    async with serving() as script, outside(registry, tmp_path, login="AWS:first") as world:
        yield Amazon(Aws(script), world, registry, script.authority, tmp_path)


def from_and_to(source: str, target: str, made: str = "made:1", step: str = "true", **wanted: Any) -> Recipe:
    containerfile = f"FROM {source}/base:1\nRUN {step}\n"
    return Recipe(
        principal=OPERATOR,
        push_principal=OPERATOR,
        build_id="bd-amazon_1",
        target_image=f"{target}/{made}",
        containerfile=containerfile,
        **wanted,
    )


@pytest.mark.parametrize(
    ("host", "isolation", "service"),
    [
        (ECR, Isolation.OCI, ("eu-west-1", "ecr")),
        (ECR, Isolation.CHROOT, ("eu-west-1", "ecr")),
        (PUBLIC, Isolation.OCI, ("us-east-1", "ecr-public")),
    ],
)
async def test_a_build_from_and_to_amazon(
    amazon: Amazon, host: str, isolation: Isolation, service: tuple[str, str], tmp_path: Path
) -> None:
    """One exchange serves all that buildah does, and the next builds."""
    async with amazon.engine(tmp_path / "w", isolation=isolation) as engine:
        for made in ("first", "second"):
            digest = await engine.build(from_and_to(host, host, f"{made}:1"), Output())
            assert amazon.registry.fetch(f"{made}/manifests/1")[1] == digest

    assert amazon.aws.signers == [(KEYS.user, *service)]
    assert set(amazon.world.requests) == {f"CONNECT {host}:443 HTTP/1.1"}


async def test_a_role_is_assumed_for_builds(amazon: Amazon, tmp_path: Path) -> None:
    """Its session is kept like a login."""
    amazon.hold({ECR: ROLE})
    async with amazon.engine(tmp_path / "w") as engine:
        await engine.build(from_and_to(ECR, ECR), Output())

    assert amazon.aws.signers == [(KEYS.user, "eu-west-1", "sts"), (SESSION[0], "eu-west-1", "ecr")]


async def test_a_cache_at_amazon_is_used(amazon: Amazon, tmp_path: Path) -> None:
    """It is read and written in the middle of a build whose base image is elsewhere."""
    first, second, cache = Output(), Output(), f"{ECR}/cache"
    for folder, output in (("one", first), ("two", second)):
        async with amazon.engine(tmp_path / folder) as engine:
            plain = amazon.registry.address
            await engine.build(from_and_to(plain, plain, step="echo ran $((6 * 7))", cache_repository=cache), output)

    assert "ran 42" in first.text
    assert "ran 42" not in second.text and "Using cache" in second.text


async def test_a_cache_without_a_login_is_left_alone(amazon: Amazon, tmp_path: Path) -> None:
    """A cache never fails a build."""
    amazon.hold({ECR: Credentials(KEYS.user, "wrong")})
    output, plain = Output(), amazon.registry.address
    async with amazon.engine(tmp_path / "w") as engine:
        await engine.build(from_and_to(plain, plain, cache_repository=f"{ECR}/cache"), output)

    [warning] = [line for line in output if b"cannot be used" in line]
    assert b"AWS does not take the credentials" in warning
    assert not amazon.world.requests


async def test_a_sif_file_is_pushed_to_amazon(amazon: Amazon, tmp_path: Path) -> None:
    """The push of a SIF file uses the exchanged login too."""
    recipe = structs.replace(from_and_to(ECR, f"oras://{ECR}", "sif:1"), sif=Definition())
    async with amazon.engine(tmp_path / "w") as engine:
        digest = await engine.build(recipe, Output())

    assert amazon.registry.fetch("sif/manifests/1")[1] == digest


async def test_packages_are_laid_on_a_base_of_amazons(amazon: Amazon, tmp_path: Path) -> None:
    """And their builds share the login: AWS throttles those who ask for each."""
    (tmp_path / "channel").mkdir()
    with channel.serving(tmp_path / "channel") as served:
        direct = Direct(amazon.registry, served, f"{ECR}/base:1")
        async with amazon.conda(tmp_path / "w", frozenset({served.url.removeprefix("http://")})) as engine:
            for made in ("one", "two"):
                recipe = structs.replace(direct.good("packages"), target_image=f"{ECR}/{made}:1")
                digest = await engine.build(recipe, Output())
                assert amazon.registry.fetch(f"{made}/manifests/1")[1] == digest

    assert amazon.aws.signers == [(KEYS.user, "eu-west-1", "ecr")]


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (from_and_to(ECR, "127.0.0.1:9"), Reason.BASE_IMAGE),
        (from_and_to("scratch", ECR), Reason.PUSH),
    ],
)
async def test_keys_that_aws_does_not_take_are_what_a_build_fails_of(
    amazon: Amazon, recipe: Recipe, reason: Reason, tmp_path: Path
) -> None:
    """It says which registry's, and shows them to none: neither the wrong ones nor those of others."""
    amazon.hold({ECR: Credentials(KEYS.user, "wrong")})
    if reason is Reason.PUSH:
        recipe = structs.replace(recipe, containerfile=f"FROM {amazon.registry.address}/base:1\nRUN true\n")
    async with amazon.engine(tmp_path / "w") as engine:
        failure = await failure_of(engine, recipe)

    assert failure.reason is reason
    assert f"credentials for {ECR} cannot be exchanged for a login: AWS does not take the credentials" in str(failure)
    assert "wrong" not in str(failure)
    assert not amazon.world.requests


async def test_an_aws_that_does_not_answer_is_waited_for_no_longer_than_a_registry(
    amazon: Amazon, tmp_path: Path
) -> None:
    """The build fails, rather than to hold its place until it times out."""
    async with serving() as silent:
        silent.on("/", said(503, Retry_After="2"))
        hosts = amazon.hosts | {silent.authority}
        options = {"aws_ecr_endpoint": f"{silent.url}/", "allowed_hosts": hosts, "answer_timeout": timedelta(seconds=1)}
        async with amazon.engine(tmp_path / "w", **options) as engine:
            failure = await failure_of(engine, from_and_to(ECR, ECR))

    assert failure.reason is Reason.BASE_IMAGE
    assert "does not respond in time" in str(failure)


async def test_an_aws_in_trouble_is_nothing_to_builds_that_name_it_not(amazon: Amazon, tmp_path: Path) -> None:
    """The auth file has all that an operator has; most builds need little of it."""
    amazon.hold({ECR: Credentials(KEYS.user, "wrong"), PUBLIC: Credentials(KEYS.user, "wrong")})
    plain = amazon.registry.address
    async with amazon.engine(tmp_path / "w") as engine:
        await engine.build(from_and_to(plain, plain), Output())

    assert not amazon.aws.signers
