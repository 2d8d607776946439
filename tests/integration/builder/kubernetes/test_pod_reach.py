"""Pods reach what the builder reaches, in a stand-in for a cluster: by its proxy, with its certificates and logins.

They are given no secret that their build does not need.
"""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from builder.kubernetes.engine import KubernetesEngine
from builder.settings import EngineChoice, KubernetesSettings
from swell.jobs.messages import Definition
from swell.net.outbound import Policy, open_session
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Credentials
from swell.store.records import Reason
from tests.integration.builder.buildah.test_network import outer_address
from tests.integration.builder.conda.test_amazon import Amazon, from_and_to
from tests.integration.builder.contract import failure_of
from tests.integration.builder.harness import Output, Registry
from tests.integration.builder.kubernetes.cluster import Cluster, serving
from tests.integration.builder.outside import NAME, PASSWORD, outside
from tests.integration.registry_proxy.registries.amazon import ECR, KEYS, PUBLIC, Aws
from tests.integration.registry_proxy.support import serving as scripted

GITHUB = Credentials("me", "a token of another server")


class Site:
    """An operator's cluster behind a proxy, and registries at Amazon's and in the house."""

    def __init__(self, amazon: Amazon, cluster: Cluster) -> None:
        self.amazon = amazon
        self.cluster = cluster
        auth = amazon.registry.authorization.removeprefix("Basic ")
        auths = {
            NAME: auth,
            amazon.world.direct: auth,
            ECR: KEYS.encoded,
            PUBLIC: KEYS.encoded,
            "ghcr.io": GITHUB.encoded,
        }
        amazon.auth_file.write_text(json.dumps({"auths": {name: {"auth": each} for name, each in auths.items()}}))

    @asynccontextmanager
    async def engine(self, **changed: Any) -> AsyncIterator[KubernetesEngine]:
        async with serving(self.cluster) as config:
            engine_settings = structs.asdict(self.amazon.settings(Path("/nowhere"))) | {
                "kubernetes_image": "swell/builder:1",
                "kubernetes_config_file": config,
                "engine": EngineChoice.BUILDAH,
            }
            settings = KubernetesSettings(**(engine_settings | changed))
            async with open_session(Policy(settings.allowed_hosts), settings) as session:
                aws = AwsLogins(session, settings)
                async with KubernetesEngine.open(settings, lambda _: None, aws) as engine:
                    yield engine

    @property
    def secret(self) -> dict[str, bytes]:
        """What the last build's pod was given in its Secret."""
        made = next(made for made in reversed(self.cluster.seen) if made["kind"] == "Secret")
        return {name: b64decode(content) for name, content in made["data"].items()}

    @property
    def job(self) -> str:
        return json.dumps(next(made for made in reversed(self.cluster.seen) if made["kind"] == "Job"))

    def lent(self, file: str) -> dict[str, str]:
        """The registries that *file* opens, and who the pod is to them."""
        auths = json.loads(self.secret[file])["auths"]
        return {name: b64decode(entry["auth"]).decode().partition(":")[0] for name, entry in auths.items()}


@pytest.fixture
async def site(registry: Registry, base: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with scripted() as script, outside(registry, tmp_path, login="AWS:first") as world:
        amazon = Amazon(Aws(script), world, registry, script.authority, tmp_path)
        (tmp_path / "cluster").mkdir()
        yield Site(amazon, Cluster(tmp_path / "cluster"))


def made(site: Site, recipe: Recipe) -> str:
    repository, _, tag = recipe.target_image.rpartition("/")[2].partition(":")
    return site.amazon.registry.fetch(f"{repository}/manifests/{tag}")[1]


async def test_a_pod_goes_through_the_proxy_to_a_registry_of_the_house(site: Site) -> None:
    """The proxy's password is in the Secret: Jobs are shown to many."""
    recipe = from_and_to(NAME, NAME, "pod:1")
    async with site.engine() as engine:
        assert await engine.build(recipe, Output()) == made(site, recipe)

    assert set(site.amazon.world.requests) == {f"CONNECT {NAME}:443 HTTP/1.1"}
    assert PASSWORD.replace("@", "%40") in site.secret["SWELL_HTTPS_PROXY"].decode()
    assert PASSWORD.replace("@", "%40") not in site.job
    assert site.lent("pull.json") == {f"{NAME}/base": "swell"}
    assert site.lent("push.json") == {f"{NAME}/pod": "swell"}


async def test_a_pod_trusts_the_operators_certificates_without_a_proxy(site: Site) -> None:
    """The setting SWELL_CA_FILE does not depend on a proxy."""
    direct = site.amazon.world.direct
    recipe = from_and_to(direct, direct, "direct:1")
    async with site.engine(https_proxy=None) as engine:
        assert await engine.build(recipe, Output()) == made(site, recipe)
    async with site.engine(https_proxy=None, ca_file=None) as engine:
        refused = await failure_of(engine, recipe)

    assert "certificate" in str(refused)
    assert not site.amazon.world.requests


@pytest.mark.parametrize("sif", [None, Definition()])
async def test_a_pod_is_given_logins_and_never_aws_keys(site: Site, sif: Definition | None) -> None:
    """Who sees a login may pull and push for some hours; a key is good for all that its owner may do."""
    recipe = structs.replace(from_and_to(ECR, ECR, "amazon:1"), sif=sif)
    async with site.engine() as engine:
        assert await engine.build(recipe, Output()) == made(site, recipe)

    assert site.amazon.aws.signers == [(KEYS.user, "eu-west-1", "ecr")]
    assert site.lent("pull.json") == {f"{ECR}/base": "AWS"}
    assert site.lent("push.json") == {f"{ECR}/amazon": "AWS"}
    for engine_settings in (site.job.encode(), *site.secret.values()):
        assert KEYS.user.encode() not in engine_settings
        assert KEYS.password.encode() not in engine_settings


async def test_a_pod_uses_a_cache_at_amazon(site: Site) -> None:
    """The pod gets a login to the registry of the cache."""
    first, second = Output(), Output()
    for output in (first, second):
        async with site.engine() as engine:
            recipe = from_and_to(NAME, NAME, step="echo ran $((6 * 7))", cache_repository=f"{ECR}/pods")
            await engine.build(recipe, output)

    assert "ran 42" in first.text
    assert "ran 42" not in second.text and "Using cache" in second.text
    assert site.lent("push.json") == {f"{NAME}/made": "swell", f"{ECR}/pods": "AWS"}


async def test_a_pod_does_without_a_cache_that_it_has_no_login_to(site: Site) -> None:
    """A cache never fails a build, and wrong keys do not appear in its log."""
    auth = Credentials(*b64decode(site.amazon.registry.authorization.removeprefix("Basic ")).decode().split(":"))
    site.amazon.hold({NAME: auth, ECR: Credentials(KEYS.user, "wrong")})
    recipe, output = from_and_to(NAME, NAME, "without:1", cache_repository=f"{ECR}/pods"), Output()
    async with site.engine() as engine:
        assert await engine.build(recipe, output) == made(site, recipe)

    assert f"the cache {ECR}/pods cannot be used" in output.text
    assert site.lent("push.json") == {f"{NAME}/without": "swell"}


async def test_keys_that_aws_does_not_take_make_no_job(site: Site) -> None:
    """A build that is known to fail does not start a pod."""
    site.amazon.hold({ECR: Credentials(KEYS.user, "wrong")})
    async with site.engine() as engine:
        with pytest.raises(BuildFailure, match=f"{ECR} cannot be exchanged for a login") as caught:
            await engine.build(from_and_to(ECR, ECR), Output())

    assert caught.value.reason is Reason.BASE_IMAGE
    assert site.cluster.seen == []


async def test_steps_in_pods_receive_the_proxy_if_the_operator_sets_it(site: Site) -> None:
    """What a pod writes is kept by the cluster, too: there its password is masked already."""
    step = "env | grep -i proxy; wget -q -O - http://packages.example/; echo"
    proxy, output = site.amazon.world.proxy(), Output()
    async with site.engine(http_proxy=proxy, proxy_for_steps=True) as engine:
        await engine.build(from_and_to(NAME, NAME, step=step), output)

    assert b"by the proxy" in output
    assert "http_proxy=http://ada:***@" in output.text
    assert PASSWORD.replace("@", "%40") not in "\n".join(site.cluster.said)


async def test_pods_keep_to_the_networks_that_are_denied(site: Site) -> None:
    """And to the other limits of the way out."""
    ours = outer_address()
    settings = {"denied_networks": (f"{ours}/32",), "https_proxy": None, "answer_timeout": timedelta(seconds=7.5)}
    async with site.engine(**settings) as engine:
        failure = await failure_of(engine, from_and_to(site.amazon.world.direct, NAME))

    assert failure.reason is Reason.BASE_IMAGE
    assert "no route to host" in str(failure)
    assert "PT7.500000S" in site.job
