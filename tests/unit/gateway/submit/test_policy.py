"""The operator's policy: which requests it refuses, wherever an image, channel or repository is named."""

import base64
from pathlib import Path
from typing import Any

import pytest

from gateway.access.images.image_access import ImageAccess
from gateway.adapters.access.policies import PolicyFiles
from gateway.domain.access.identity import ANONYMOUS, Caller, Identity
from gateway.domain.channels import canonical, denied_by
from gateway.domain.server_config import ServerConfig
from gateway.submit.builds.dispatch import Dispatcher
from gateway.submit.builds.start import BuildStarter
from gateway.submit.submit import ContainerRequests
from swell.api.mirrors import MirrorRequest
from swell.base_rules import BaseRules
from swell.errors import BadRequest, PolicyDenied
from swell.oci.reference import parse_reference
from swell.registry.credentials.principal import OPERATOR, PUBLIC
from swell.settings import SettingsInvalid
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import Submission
from tests.unit.gateway.doubles import (
    NOON,
    MemoryQueue,
    MemoryRegistry,
    PublicRegistry,
    ended,
    mirror_starter,
)

from .test_validation import request

DIGEST = "sha256:" + "a" * 64
OWN = "registry.example.com/team/builds"
MEMBER = Caller(Identity(user="ada", organisation="lab.example"), "203.0.113.7", OPERATOR, OPERATOR)
STRANGER = Caller(Identity(user="bob", organisation="other.example"), "203.0.113.7", OPERATOR, OPERATOR)
NAMELESS = Caller(ANONYMOUS, "203.0.113.9", OPERATOR, OPERATOR)

POLICY = """
[everyone]
base_registries = ["docker.io/library", "quay.io/acme"]
denied_channels = ["defaults", "https://channels.example/private"]
build_repositories = ["quay.io/acme/built"]

[organisation."lab.example"]
base_registries = ["quay.io/lab"]
digest_only = true

[[credentials]]
repositories = ["quay.io/acme"]
users = ["ci"]
organisations = ["lab.example"]
groups = ["builders"]
push = true
"""


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def access(server_config: ServerConfig, builds: MemoryBuilds, file: Path) -> ImageAccess:
    policies = PolicyFiles(file, [server_config.repositories.build])
    return ImageAccess(server_config.repositories, PublicRegistry(), builds, policies=policies)


def conda(**members: Any) -> dict[str, Any]:
    return {"packages": {"type": "CONDA"} | members}


def with_base_packages(member: str, packages: str, template: str) -> dict[str, Any]:
    options = {member: {"baseImage": "ubuntu", "basePackages": packages}}
    images = {"condaOpts": "mambaImage", "pixiOpts": "pixiImage"}
    options[member][images[member]] = "ubuntu"
    return conda(entries=["samtools"], channels=["conda-forge"], **options) | {"buildTemplate": template}


def environment(text: str) -> dict[str, Any]:
    return conda(environment=encoded(text), entries=[])


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"containerFile": encoded("FROM quay.io/other/tool:1\n")}, "base_registries"),
    ({"containerFile": encoded("FROM quay.io/acmeother/tool:1\n")}, "base_registries"),
    ({"containerFile": encoded("FROM ubuntu\nCOPY --from=evil.example/x /a /b\n")}, "base_registries"),
    ({"containerFile": encoded("FROM ubuntu\nRUN --mount=type=bind,from=evil.example/x true\n")}, "base_registries"),
    ({"containerFile": encoded("ARG B=evil.example/x\nFROM ubuntu\nFROM $B\n")}, "base_registries"),
    ({"containerFile": encoded("ARG B\nFROM $B\n"), "buildArgs": {"B": "evil.example/x"}}, "base_registries"),
    ({"containerImage": "quay.io/other/tool:1"}, "base_registries"),
    ({"containerImage": "quay.io/other/tool:1", "dryRun": True}, "base_registries"),
    ({"containerImage": "ubuntu", "containerIncludes": ["quay.io/other/tool:1"]}, "base_registries"),
    (
        {"containerImage": "quay.io/other/x:1", "freeze": True, "buildRepository": "quay.io/acme/built"},
        "base_registries",
    ),
    (
        {
            "containerImage": "ghcr.io/other/x:1",
            "mirror": True,
            "buildRepository": "quay.io/acme/built",
            "towerAccessToken": "key",
        },
        "base_registries",
    ),
    (
        {
            "containerFile": encoded("FROM ubuntu\n"),
            "buildRepository": "quay.io/acme/built",
            "cacheRepository": "evil.example/cache",
        },
        "build_repositories|base_registries",
    ),
    ({"containerFile": encoded("FROM ubuntu\n"), "buildRepository": "quay.io/acme/other"}, "build_repositories"),
    (
        {"containerImage": "ubuntu", "mirror": True, "buildRepository": "evil.example/x", "towerAccessToken": "key"},
        "build_repositories",
    ),
    (conda(entries=["samtools"], channels=["conda-forge", "defaults"]), "denied_channels"),
    (conda(entries=["samtools"], channels=["https://repo.anaconda.com/pkgs/main"]), "denied_channels"),
    (conda(entries=["main::samtools"], channels=["conda-forge"]), "denied_channels"),
    (conda(entries=["https://channels.example/private/linux-64/a-1-0.conda"]), "denied_channels"),
    (conda(entries=["https://lock.example/lock.txt"]), "denied_channels"),
    (environment("channels: [conda-forge, anaconda]\ndependencies: [samtools]\n"), "denied_channels"),
    (environment("dependencies: [anaconda::samtools]\n"), "denied_channels"),
    (with_base_packages("condaOpts", "main::procps-ng", "conda/micromamba:v1"), "denied_channels"),
    (with_base_packages("condaOpts", "which main::procps-ng", "conda/micromamba:v2"), "denied_channels"),
    (with_base_packages("condaOpts", "main::procps-ng", "conda/direct:v1"), "denied_channels"),
    (with_base_packages("pixiOpts", "main::procps-ng", "conda/pixi:v1"), "denied_channels"),
    (
        with_base_packages("condaOpts", "https://channels.example/private/linux-64/a-1-0.conda", "conda/micromamba:v2"),
        "denied_channels",
    ),
    (environment("@EXPLICIT\nhttps://repo.anaconda.com/pkgs/r/linux-64/a-1-0.conda\n"), "denied_channels"),
]
ALLOWED: list[dict[str, Any]] = [
    {"containerFile": encoded("FROM scratch\nCOPY --from=ubuntu:24.04 /a /b\n")},
    {"containerFile": encoded("FROM quay.io/acme/tool:1\nFROM 0\n")},
    {"containerFile": encoded("FROM ubuntu\n"), "buildRepository": "quay.io/acme/built/x"},
    {"containerImage": "quay.io/acme/tool:1"},
]


@pytest.mark.parametrize(("fields", "rule"), REFUSED)
async def test_the_policy_holds_wherever_a_name_stands(
    container_requests: ContainerRequests,
    queue: MemoryQueue,
    registry: MemoryRegistry,
    fields: dict[str, Any],
    rule: str,
) -> None:
    """The refusal names the rule and who can change it, and nothing is started."""
    for image in ("docker.io/library/ubuntu:latest", "quay.io/other/tool:1", "ghcr.io/other/x:1"):
        registry.push(image)

    with pytest.raises(PolicyDenied, match=rf"the rule ({rule}) of this server's policy .*the operator can change it"):
        await container_requests.submit(request(**fields), NAMELESS)

    assert not queue.jobs
    assert not queue.mirrors


@pytest.mark.parametrize("fields", ALLOWED)
async def test_what_the_policy_allows_is_done(
    container_requests: ContainerRequests, registry: MemoryRegistry, fields: dict[str, Any]
) -> None:
    """A path below an allowed one is allowed; so are stages and the repositories of the server."""
    for image in ("docker.io/library/ubuntu:latest", "docker.io/library/ubuntu:24.04", "quay.io/acme/tool:1"):
        registry.push(image)

    assert (await container_requests.submit(request(**fields), STRANGER)).target_image


async def test_an_organisation_has_rules_of_its_own(
    container_requests: ContainerRequests, registry: MemoryRegistry
) -> None:
    """They replace the same rules of everyone; the others stay."""
    images = (f"quay.io/lab/tool@{DIGEST}", "quay.io/lab/tool:1")
    for image in images:
        registry.push(image)

    assert await container_requests.submit(request(containerImage=images[0]), MEMBER)
    for fields, rule in (
        ({"containerImage": images[1]}, "digest_only"),
        ({"containerImage": "ubuntu"}, "base_registries"),
        (conda(entries=["samtools"], channels=["defaults"]), "denied_channels"),
    ):
        with pytest.raises(PolicyDenied, match=rule) as refused:
            await container_requests.submit(request(**fields), MEMBER)
        assert ("of the organisation lab.example" in str(refused.value)) is (rule != "denied_channels")
    with pytest.raises(PolicyDenied):
        await container_requests.submit(request(containerImage=images[0]), STRANGER)


async def test_an_image_that_only_the_builder_can_determine_is_refused(container_requests: ContainerRequests) -> None:
    """Without a policy the build would report it; here it could be any image."""
    text = "FROM ubuntu\nCOPY --from=$NAME /a /b\n"
    with pytest.raises(BadRequest):
        await container_requests.submit(request(containerFile=encoded(text)), STRANGER)


async def test_the_builder_gets_the_rules_that_it_has_to_enforce(
    container_requests: ContainerRequests, queue: MemoryQueue, builds: MemoryBuilds, registry: MemoryRegistry
) -> None:
    """ONBUILD triggers name images that the gateway does not see."""
    answer = await container_requests.submit(request(containerFile=encoded("FROM ubuntu\n")), NAMELESS)
    await container_requests.submit(request(containerFile=encoded(f"FROM quay.io/lab/x@{DIGEST}\n")), MEMBER)

    allowed = ("docker.io/library", "quay.io/acme")
    assert queue.jobs[0].base_rules == BaseRules(allowed=allowed, own=(OWN,))
    assert queue.jobs[1].base_rules == BaseRules(allowed=("quay.io/lab",), digest_only=True, own=(OWN,))
    build = await builds.get(answer.build_id or "")
    assert build and build.submission.base_rules == queue.jobs[0].base_rules


@pytest.mark.parametrize("depth", [1, 2])
async def test_an_image_of_this_server_is_no_way_around_the_rules_of_an_organisation(
    container_requests: ContainerRequests, builds: MemoryBuilds, registry: MemoryRegistry, depth: int
) -> None:
    """Another client, under other rules, may have built it; the refusal does not name what it was built from."""
    base = "ubuntu"
    for _ in range(depth):
        built = await container_requests.submit(request(containerFile=encoded(f"FROM {base}\n")), STRANGER)
        await builds.finish(str(built.build_id), ended(succeeded=True))
        base = str(built.container_image)
        registry.push(base)
    recipe = encoded(f"FROM {base}\nRUN true\n")

    for fields in ({"containerImage": base}, {"containerFile": recipe}):
        with pytest.raises(PolicyDenied, match="rule base_registries .* of the organisation lab.example") as refused:
            await container_requests.submit(request(**fields), MEMBER)
        assert base in str(refused.value) and "ubuntu" not in str(refused.value)
    assert await container_requests.submit(request(containerFile=recipe), STRANGER)


async def test_a_layer_of_an_image_of_this_server_is_no_way_around_the_rules_either(
    container_requests: ContainerRequests, builds: MemoryBuilds, registry: MemoryRegistry
) -> None:
    """Its base is allowed, and its context was a blob of a registry that is not."""
    submission = Submission(
        container_id="made",
        target_image=f"{OWN}:made",
        containerfile="FROM ubuntu\nCOPY . .\n",
        platform="linux/amd64",
        created=NOON,
        sources=(f"docker://ghcr.io/v2/other/x/blobs/{DIGEST}",),
    )
    await builds.submit(submission)
    registry.push(f"{OWN}:made")

    with pytest.raises(PolicyDenied, match="rule base_registries"):
        await container_requests.submit(request(containerImage=f"{OWN}:made"), NAMELESS)


async def test_a_list_of_mirrors_follows_the_policy(
    server_config: ServerConfig,
    registry: MemoryRegistry,
    builds: MemoryBuilds,
    starter: BuildStarter,
    access: ImageAccess,
    dispatcher: Dispatcher,
) -> None:
    """The sources as bases, the targets as repositories of builds."""
    mirrors = mirror_starter(server_config, registry, builds, starter, access, dispatcher)
    lists = {
        "base_registries": ("ghcr.io/other/x", "quay.io/acme/built"),
        "build_repositories": ("ubuntu", "quay.io/x"),
    }
    for rule, (image, target) in lists.items():
        with pytest.raises(PolicyDenied, match=rule):
            await mirrors.submit(MirrorRequest(images=(image,), build_repository=target), STRANGER)


def test_credentials_are_for_those_that_the_policy_names(file: Path) -> None:
    """By user, organisation or group; anonymous clients get none, with any name."""
    policy = PolicyFiles(file, []).current()
    for identity in (
        Identity(user="ci"),
        Identity(user="x", organisation="lab.example"),
        Identity(user="x", groups=("a", "builders")),
    ):
        given = policy.with_credentials(identity)
        assert (given.pulls_as, given.pushes_as) == ("operator:quay.io/acme", "operator:quay.io/acme")
    for identity in (ANONYMOUS, Identity(user="x"), Identity(organisation="lab.example"), Identity(user="lab.example")):
        assert policy.with_credentials(identity).pulls_as == PUBLIC


def test_the_policy_is_read_again_when_it_changes(file: Path) -> None:
    """An invalid file changes nothing: the rules must not vanish by a typing error."""
    policies = PolicyFiles(file, [])
    image = parse_reference("quay.io/other/x:1")
    for text, is_allowed in (
        ('[everyone]\nbase_registries = ["quay.io"]\n', True),
        ("[everyone]\nbase_registry = []\n", True),
        ("[everyone]\nbase_registries = []\n", False),
        ("", True),
    ):
        file.write_text(text)
        rules = policies.current().rules_for(ANONYMOUS)
        assert rules.base_rules.allows(image) is is_allowed, text


@pytest.mark.parametrize("text", ["[everyone", "[all]\n", '[everyone]\nbase_registries = "x"\n', "[[credentials]]\n"])
def test_an_invalid_policy_stops_the_server(tmp_path: Path, text: str) -> None:
    """At the start: a server without its policy would allow everything."""
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(SettingsInvalid, match="policy"):
        PolicyFiles(path, [])


@pytest.mark.parametrize(
    ("channel", "is_denied"),
    [
        ("defaults", True),
        ("DEFAULTS", True),
        ("https://repo.anaconda.com/pkgs/main/linux-64", True),
        ("http://user:pass@REPO.anaconda.com:443//pkgs/./r/", True),
        ("https://conda.anaconda.org/t/tk-123/main", True),
        ("https://conda.anaconda.org/%6Dain", True),
        ("pkgs/main", True),
        ("https://repo.continuum.io/pkgs/free/", True),
        ("https://conda-static.anaconda.org/acme/linux-64", True),
        ("anaconda/label/dev", True),
        ("acme", True),
        ("https://conda.anaconda.org/acme/noarch", True),
        ("acme2", False),
        ("conda-forge", False),
        ("https://conda.anaconda.org/conda-forge", False),
        ("https://mirror.example/main", False),
    ],
)
def test_a_channel_is_recognised_in_all_its_forms(channel: str, is_denied: bool) -> None:
    """By name, by URL, with a token, a label or a platform."""
    assert (denied_by(channel, ("defaults", "acme")) is not None) is is_denied, canonical(channel)


@pytest.mark.parametrize(
    ("rules", "places", "allowed"),
    [
        ((), ("quay.io/acme",), ("quay.io/acme",)),
        (("quay.io",), (), ("quay.io",)),
        (("quay.io",), ("quay.io/acme", "docker.io"), ("quay.io/acme",)),
        (("quay.io/acme/a", "ghcr.io"), ("quay.io/acme",), ("quay.io/acme/a",)),
        (("quay.io/acme",), ("quay.io/acmeother",), ("invalid.",)),
    ],
)
def test_the_limits_of_a_key_and_of_the_policy_hold_together(
    rules: tuple[str, ...], places: tuple[str, ...], allowed: tuple[str, ...]
) -> None:
    """The builder allows only what is below both; nothing in common allows nothing."""
    assert BaseRules(allowed=rules).limited_to(places).allowed == allowed
