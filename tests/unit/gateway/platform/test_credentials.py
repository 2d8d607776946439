"""Which credential of a workspace opens a registry."""

import base64
from typing import Any

import pytest

from gateway.domain.platform import Platforms
from gateway.platform.client import PlatformClient
from gateway.platform.credentials import WorkspaceCredentials, registry_of
from gateway.platform.pairings import Pairings
from gateway.platform.sessions import Session, Sessions
from gateway.platform.workspaces import Workspace, Workspaces
from swell.errors import Denied, EndpointUnpaired, PlatformNotFound
from swell.oci.reference import parse_reference
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import PUBLIC, rules_of
from tests.platform.state import Credential, PlatformState, Run
from tests.unit.gateway.platform.doubles import ENDPOINT, PLATFORM, MemoryRecords, MemoryTransport, no_lock

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
KEYS = {"discriminator": "aws", "accessKey": "AKIAEXAMPLEEXAMPLE00", "secretKey": "s3cret"}
ROLE = {"discriminator": "aws", "assumeRoleArn": "arn:aws:iam::123456789012:role/pull", "externalId": "ext"}


def login(name: str) -> dict[str, Any]:
    return {"discriminator": "container-reg", "userName": name, "password": "pw"}


class Site:
    """Alice, in workspace 1, with a run."""

    def __init__(self, packets: int = 1, *, roles: bool = True) -> None:
        self.state = PlatformState()
        self.state.knowledge.tokens = {"t": "alice"}
        self.state.knowledge.members = {"1": ["alice"]}
        records, self.now = MemoryRecords(), 0.0
        platforms = Platforms([PLATFORM if roles else type(PLATFORM)(endpoint=ENDPOINT, direct=True)])
        self.sessions, self.pairings, self.packets = Sessions(records, no_lock), Pairings(records, no_lock), packets
        self.workspaces = Workspaces(records, platforms, self.sessions)
        client = PlatformClient(MemoryTransport(self.state), self.sessions)
        rules = rules_of(["registry.example.org/swell"], ())
        self.found = WorkspaceCredentials(self.workspaces, client, self.pairings, rules, lambda: self.now)

    def has(self, *credentials: Credential) -> None:
        self.state.knowledge.credentials["/1"] = list(credentials)

    async def find(self, image: str, *, run: str | None = None, paired: bool = True, workspace: int = 1) -> Any:
        if paired:
            pairing = await self.pairings.open(PLATFORM, self.packets)
            self.state.public_keys[pairing.id] = base64.b64decode(pairing.encoded_public_key), pairing.packets
        session = Session(endpoint=ENDPOINT, token="t")
        await self.sessions.put(session.name, session)
        wanted = Workspace(
            endpoint=ENDPOINT, user_id="1", workspace_id=workspace, workflow_id=run, session=session.name
        )
        await self.workspaces.put(wanted)
        return await self.found.find(wanted.principal, parse_reference(image))


@pytest.mark.parametrize("packets", [1, 2])
async def test_the_first_credential_of_the_registry_is_used(packets: int) -> None:
    """Others, and other kinds, are not; nor is the registry of another port."""
    site = Site(packets)
    site.has(
        Credential(id="aws", provider="aws", registry="quay.io", secret=KEYS),
        Credential(id="other", registry="quay.io:8443", secret=login("other")),
        Credential(id="first", registry="https://quay.io/v2/", secret=login("first")),
        Credential(id="second", registry="quay.io", secret=login("second")),
    )

    assert await site.find("quay.io/acme/tool:1") == Credentials("first", "pw")
    assert await site.find("ghcr.io/acme/tool:1") is None


@pytest.mark.parametrize("registry", [None, "", "docker.io", "index.docker.io", "https://index.docker.io/v1/"])
async def test_no_registry_means_docker_hub(registry: str | None) -> None:
    """Platform stores none for it."""
    site = Site()
    site.has(Credential(id="hub", registry=registry, secret=login("hub")))

    assert await site.find("acme/tool") == Credentials("hub", "pw")


async def test_repositories_of_this_server_are_the_operators() -> None:
    """A workspace cannot replace the login for them; other repositories of the same registry are the workspace's."""
    site = Site()
    site.has(Credential(id="a", registry="registry.example.org", secret=login("a")))

    assert await site.find("registry.example.org/swell/build:1") is None
    assert not site.state.seen
    assert await site.find("registry.example.org/other:1") == Credentials("a", "pw")


async def test_ecr_is_opened_by_the_compute_environment_of_the_run() -> None:
    """Only for a run on AWS Batch, and only for registries of Amazon, whose names are matched to the end."""
    site = Site()
    site.has(Credential(id="env", provider="aws", secret=KEYS, listed=False))
    site.state.knowledge.runs = {
        "w": Run(credentials_id="env"),
        "local": Run(platform="local", credentials_id="env"),
        "none": Run(),
    }

    assert await site.find(f"{ECR}/tool", run="w") == Credentials("AKIAEXAMPLEEXAMPLE00", "s3cret")
    for image, run in (
        (f"{ECR}/tool", None),
        (f"{ECR}/tool", "local"),
        (f"{ECR}/tool", "none"),
        (f"{ECR}.evil.example/tool", "w"),
        ("quay.io/tool", "w"),
    ):
        assert await site.find(image, run=run) is None, (image, run)


async def test_a_role_needs_the_consent_of_the_operator() -> None:
    """A user could name a role that trusts this server's keys."""
    allowed, refused = Site(), Site(roles=False)
    for site in (allowed, refused):
        site.has(Credential(id="env", registry=ECR, secret=ROLE))

    assert await allowed.find(f"{ECR}/tool") == Credentials("arn:aws:iam::123456789012:role/pull", "ext")
    with pytest.raises(Denied, match="role"):
        await refused.find(f"{ECR}/tool")


async def test_aws_keys_are_of_no_use_for_another_registry() -> None:
    """They would be sent to it as a password."""
    site = Site()
    site.has(Credential(id="env", registry="quay.io", secret=KEYS))

    assert await site.find("quay.io/tool") is None


async def test_a_workspace_of_others_is_not_found() -> None:
    """The Platform's own answer is the client's."""
    with pytest.raises(PlatformNotFound):
        await Site().find("quay.io/tool", workspace=2)


async def test_a_revoked_token_ends_the_use_of_its_credentials() -> None:
    """After the 20 s of the cache here, and 30 s in the other services."""
    site = Site()
    site.has(Credential(id="a", registry="quay.io", secret=login("a")))
    await site.find("quay.io/tool")
    site.state.knowledge.tokens.clear()

    assert await site.find("quay.io/tool") == Credentials("a", "pw")
    site.now = 21
    with pytest.raises(Denied, match="does not accept the access token"):
        await site.find("quay.io/tool")


async def test_secrets_need_a_pairing() -> None:
    """Without one the Platform cannot encrypt them."""
    site = Site()
    site.has(Credential(id="a", registry="quay.io", secret=login("a")))

    with pytest.raises(EndpointUnpaired):
        await site.find("quay.io/tool", paired=False)


async def test_a_principal_without_workspaces_asks_no_platform() -> None:
    """Anonymous requests cost no lookup."""
    site = Site()

    assert await site.found.find(PUBLIC, parse_reference("quay.io/tool")) is None
    assert not site.state.seen


def test_a_malformed_registry_is_none() -> None:
    """It opens no registry."""
    assert registry_of("not a host!") is None
