"""A policy that is newer than a token: what it forbids is refused at the next pull."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.access.images.origins import Origins
from gateway.access.policy_gate import PolicyGate
from gateway.adapters.access.policies import PolicyFiles
from gateway.domain.access.identity import Identity
from gateway.domain.grant import Grant
from gateway.handlers.recent_pulls import RecentPulls
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import PolicyDenied, Unavailable
from swell.registry.credentials.principal import limited_to
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import Submission
from tests.unit.gateway.doubles import NOON

OWN = "registry.example.com/team/builds"
DIGEST = "sha256:" + "a" * 64


class CountedBuilds(MemoryBuilds):
    """Counts the reads of records; with `is_away` they fail."""

    reads = 0
    is_away = False

    async def get(self, build_id: str) -> Any:
        self.reads += 1
        if self.is_away:
            raise Unavailable("the store does not answer")
        return await super().get(build_id)


@pytest.fixture
def builds() -> CountedBuilds:
    return CountedBuilds()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text("")
    return path


@pytest.fixture
def policies(file: Path) -> PolicyFiles:
    return PolicyFiles(file, [OWN])


@pytest.fixture
def gate(policies: PolicyFiles, builds: CountedBuilds) -> PolicyGate:
    return PolicyGate(policies, Origins(builds, lambda image: image.name.startswith(OWN)), builds)


@pytest.fixture
def grant(policies: PolicyFiles) -> Callable[..., Grant]:
    """A token of a request that the policy of now allows."""

    def grant(image: str = "quay.io/acme/tool:1", **fields: Any) -> Grant:
        ends = NOON + timedelta(hours=36)
        known = {"token": "t" * 26, "platform": "linux/amd64", "created": NOON, "expires": ends}
        return Grant(**known | {"image": image, "policy": policies.known.revision} | fields)  # type: ignore[arg-type]

    return grant


async def change(file: Path, policies: PolicyFiles, content: str) -> None:
    file.write_text(content)
    await policies.refresh()


async def built(builds: MemoryBuilds, containerfile: str, **fields: Any) -> str:
    """The id of a build in this server's repository."""
    known = {"container_id": "made", "target_image": f"{OWN}:made", "platform": "linux/amd64", "created": NOON}
    build_id, _ = await builds.submit(Submission(**known | {"containerfile": containerfile} | fields))  # type: ignore[arg-type]
    return build_id


async def test_under_the_policy_of_its_request_a_token_costs_nothing(
    gate: PolicyGate, grant: Callable[..., Grant], builds: CountedBuilds
) -> None:
    """The hot path compares two texts: no record is read."""
    assert gate.allows(grant(f"{OWN}:made"))
    assert builds.reads == 0


@pytest.mark.parametrize(
    ("policy", "image", "rule"),
    [
        ('[everyone]\nbase_registries = ["ghcr.io"]', "quay.io/acme/tool:1", "base_registries"),
        ('[everyone]\nbase_registries = ["quay.io/acme"]', "quay.io/acme/tool:1", None),
        ("[everyone]\ndigest_only = true", "quay.io/acme/tool:1", "digest_only"),
        ("[everyone]\ndigest_only = true", f"quay.io/acme/tool@{DIGEST}", None),
        ('[organisation.lab]\nbase_registries = ["ghcr.io"]', "quay.io/acme/tool:1", "base_registries"),
        ('[organisation.other]\nbase_registries = ["ghcr.io"]', "quay.io/acme/tool:1", None),
    ],
)
async def test_a_newer_policy_holds_for_older_tokens(
    gate: PolicyGate,
    grant: Callable[..., Grant],
    file: Path,
    policies: PolicyFiles,
    policy: str,
    image: str,
    rule: str | None,
) -> None:
    """The rules are those of the organisation of the token. The former policy makes the token valid again."""
    token = grant(image, user="ada", organisation="lab")
    await change(file, policies, policy)

    assert not gate.allows(token)
    if rule:
        for _ in range(2):
            with pytest.raises(PolicyDenied, match=rule):
                await gate.check(token)
    else:
        await gate.check(token)
    assert gate.allows(token) is (rule is None)

    await change(file, policies, "")
    assert gate.allows(token)


async def test_layers_of_other_images_follow_it(
    gate: PolicyGate, grant: Callable[..., Grant], file: Path, policies: PolicyFiles
) -> None:
    """They are added at the pull."""
    layer = ContainerLayer(f"docker://ghcr.io/v2/other/x/blobs/{DIGEST}", gzip_digest=DIGEST)
    token = grant(container_config=ContainerConfig(layers=(layer,)))
    await change(file, policies, '[everyone]\nbase_registries = ["quay.io/acme"]')

    with pytest.raises(PolicyDenied):
        await gate.check(token)


@pytest.mark.parametrize(
    ("policy", "fields", "rule"),
    [
        ('[everyone]\nbase_registries = ["ghcr.io"]', {}, "base_registries"),
        ('[everyone]\nbase_registries = ["quay.io"]', {}, None),
        (
            '[everyone]\nbase_registries = ["quay.io"]',
            {"sources": (f"docker://ghcr.io/v2/x/y/blobs/{DIGEST}",)},
            "base_registries",
        ),
        (
            '[everyone]\ndenied_channels = ["defaults"]',
            {"environment": "channels: [defaults]\ndependencies: [samtools]\n"},
            "denied_channels",
        ),
        (
            '[everyone]\ndenied_channels = ["bioconda"]',
            {"environment": "channels: [conda-forge]\ndependencies: [r]\n", "base_packages": ("bioconda::x",)},
            "denied_channels",
        ),
        ('[everyone]\ndenied_channels = ["x"]', {"template": "conda/micromamba:v2"}, "denied_channels"),
        (
            '[everyone]\ndenied_channels = ["defaults"]',
            {"environment": "channels: [conda-forge]\ndependencies: [samtools]\n"},
            None,
        ),
    ],
)
@pytest.mark.parametrize(("is_own", "is_of_build"), [(True, True), (False, True), (True, False)])
async def test_an_image_follows_it_with_all_that_it_was_built_from(
    gate: PolicyGate,
    grant: Callable[..., Grant],
    builds: CountedBuilds,
    file: Path,
    policies: PolicyFiles,
    policy: str,
    fields: dict[str, Any],
    rule: str | None,
    is_own: bool,
    is_of_build: bool,
) -> None:
    """The token is that of the build, or names an image of this server; the record of the build is read once."""
    image = f"{OWN}:made" if is_own else "quay.io/mine/built:made"
    build_id = await built(builds, "FROM quay.io/acme/tool:1\n", target_image=image, **fields)
    token = grant(image, build_id=build_id if is_of_build else None)
    await change(file, policies, policy)

    if rule:
        with pytest.raises(PolicyDenied, match=rule):
            await gate.check(token)
    else:
        await gate.check(token)
    reads = builds.reads
    assert gate.allows(token) is (rule is None)
    assert builds.reads == reads > 0


async def test_credentials_that_a_policy_gave_end_with_it(
    gate: PolicyGate, grant: Callable[..., Grant], file: Path, policies: PolicyFiles
) -> None:
    """Those of users, organisations and groups; those that a key gives are no matter of the policy."""
    rule = '[[credentials]]\nrepositories = ["quay.io/acme"]\ngroups = ["builders"]\n'
    await change(file, policies, rule)
    identity = policies.known.with_credentials(Identity(user="ada", groups=("builders",)))
    assert identity.by_policy == ("quay.io/acme",)
    given = grant(user="ada", principal=identity.pulls_as, by_policy=identity.by_policy, groups=("builders",))
    own = grant(user="ada", token="k" * 26, principal=limited_to(["quay.io/acme"]))

    await change(file, policies, rule + "[everyone]\n")
    await gate.check(given)
    await change(file, policies, rule.replace("builders", "others"))

    with pytest.raises(PolicyDenied, match="no longer lets you read quay.io/acme"):
        await gate.check(given)
    await gate.check(own)


async def test_while_records_cannot_be_read_an_older_token_waits(
    gate: PolicyGate, grant: Callable[..., Grant], builds: CountedBuilds, file: Path, policies: PolicyFiles
) -> None:
    """Nothing fails open, and the failure is not stored."""
    token = grant(f"{OWN}:made", build_id=await built(builds, "FROM quay.io/acme/tool:1\n"))
    await change(file, policies, '[everyone]\nbase_registries = ["quay.io"]')
    builds.is_away = True
    with pytest.raises(Unavailable):
        await gate.check(token)
    builds.is_away = False

    await gate.check(token)
    assert gate.allows(token)


async def test_a_change_is_announced_once(file: Path, policies: PolicyFiles) -> None:
    """Recent pulls are forgotten then. An invalid file changes nothing."""
    heard: list[str] = []
    policies.on_change(lambda: heard.append(policies.known.revision))
    for content in ("[everyone]\ndigest_only = true", "[everyone]\ndigest_only = true", "not toml ["):
        await change(file, policies, content)

    assert heard and set(heard) == {policies.known.revision}


class _Anything:
    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: True


@pytest.mark.parametrize("allowed", [True, False])
def test_a_pull_is_repeated_only_under_the_policy_that_allowed_it(grant: Callable[..., Grant], allowed: bool) -> None:
    """A policy may have changed while the first pull was answered; what is stored is forgotten with the next change."""
    anything: Any = _Anything()
    recent = RecentPulls(anything, anything, anything, anything, allows=lambda _: allowed)
    scope: Any = {"raw_path": b"/v2/x/blobs/y", "method": "GET"}
    recent.add_redirect(scope["raw_path"], grant(), (307, [], b""), 9e9)

    assert (recent.answer(scope) is not None) is allowed
    recent.clear()
    assert recent.answer(scope) is None
