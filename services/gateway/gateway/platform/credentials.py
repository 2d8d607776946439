"""The registry credentials of workspaces, as their Platform stores them.

The order: for repositories of this server, none, because the operator's credentials open these. Otherwise the first
credential of the workspace whose registry is the image's. For a registry of Amazon, and a request of a run that AWS
Batch executes, the AWS credential of its compute environment.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
from cachetools import TTLCache
from msgspec import Meta, Struct

from gateway.platform.client import CredentialEntry, PlatformClient
from gateway.platform.pairings import Pairings
from gateway.platform.workspaces import OpenWorkspace, Workspaces, workspaces_of
from swell.concurrency.single_flight import SingleFlight
from swell.errors import BadRequest, Denied, PlatformFailed, PlatformSlow, SessionExpired, Unauthorized
from swell.oci.reference import DOCKER_HUB, Reference, parse_registry
from swell.registry.credentials.aws import place_of
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import CredentialRules, Principal

LISTED_SECONDS = 20.0
"""How long a list, and the secret of a credential, are used without another question."""
MOST = 10_000
LOOKUP_SECONDS = 20.0
BATCH = "aws-batch"
CONTAINER_REGISTRY = "container-reg"

_HUB_NAMES = frozenset({"index.docker.io", "registry-1.docker.io", "docker.io", "registry.hub.docker.com"})
Text = Annotated[str, Meta(max_length=32 << 10)]


class _Secret(Struct, frozen=True, rename="camel"):
    """The JSON of a packet; `assume_role_arn` has the name of a role instead of keys, for `external_id`."""

    discriminator: Text | None = None
    user_name: Text | None = None
    password: Text | None = None
    access_key: Text | None = None
    secret_key: Text | None = None
    assume_role_arn: Text | None = None
    external_id: Text | None = None


class WorkspaceCredentials:
    """Finds the credentials of the workspaces in a principal; *rules* name the repositories of this server."""

    def __init__(
        self,
        workspaces: Workspaces,
        client: PlatformClient,
        pairings: Pairings,
        rules: CredentialRules,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workspaces = workspaces
        self._client = client
        self._pairings = pairings
        self._rules = rules
        self._found: TTLCache[tuple[str, str], tuple[Credentials | None]] = TTLCache(MOST, LISTED_SECONDS, now)
        self._finding: SingleFlight[tuple[str, str], Credentials | None] = SingleFlight()

    async def find(self, principal: Principal, image: Reference) -> Credentials | None:
        """Return the credentials of the workspaces in *principal* for the registry of *image*, within 20 s.

        Raises:
            Denied: the Platform does not accept the session any more.
            PlatformNotFound: the workspace or the run does not exist.
            PlatformFailed, Unavailable: the Platform does not answer.
        """
        if self._rules.is_own(image):
            return None
        for workspace_id in workspaces_of(principal):
            if found := await self._find(workspace_id, image.registry):
                return found
        return None

    async def _find(self, workspace_id: str, registry: str) -> Credentials | None:
        key = workspace_id, registry
        if (known := self._found.get(key)) is not None:
            return known[0]
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                credentials = await self._finding.run(key, lambda: self._look_up(workspace_id, registry))
        except TimeoutError as error:
            raise PlatformSlow from error
        except (Unauthorized, SessionExpired) as error:
            raise Denied(f"the credentials of the workspace cannot be used: {error}") from error
        self._found[key] = (credentials,)
        return credentials

    async def _look_up(self, workspace_id: str, registry: str) -> Credentials | None:
        opened = await self._workspaces.open(workspace_id)
        workspace, platform, session = opened
        listed = await self._client.credentials(platform, workspace.session, session, workspace.workspace_id)
        entry = next((each for each in listed if _is_for(each, registry)), None)
        if entry:
            return await self._secret(opened, entry.id, registry)
        if workspace.workflow_id and place_of(registry):
            environment = await self._client.compute_environment(
                platform, workspace.session, session, workspace.workspace_id, workspace.workflow_id
            )
            if environment and environment.platform == BATCH and environment.credentials_id:
                return await self._secret(opened, environment.credentials_id, registry)
        return None

    async def _secret(self, opened: OpenWorkspace, credential_id: str, registry: str) -> Credentials | None:
        workspace, platform, session = await self._workspaces.open(opened.workspace.id)  # tokens may have been renewed
        pairing = await self._pairings.require(platform)
        packet = await self._client.keys(
            platform, workspace.session, session, workspace.workspace_id, of=credential_id, pairing_id=pairing.id
        )
        from gateway.platform.packets import decrypt, packet_context  # noqa: PLC0415  it is large

        context = packet_context(pairing.id, credential_id)
        content = await asyncio.to_thread(decrypt, packet, pairing.private_key, pairing.packets, context)
        try:
            secret = msgspec.json.decode(content, type=_Secret)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise PlatformFailed("the Platform sends a credential in an unknown form") from error
        return _credentials(secret, registry, may_assume_roles=platform.roles)


def _is_for(entry: CredentialEntry, registry: str) -> bool:
    if entry.provider != CONTAINER_REGISTRY:
        return False
    named = entry.keys.registry if entry.keys else None
    return registry_of(named) == registry


def registry_of(named: str | None) -> str | None:
    """Return the host that the registry of a credential means: Docker Hub if it is empty; None if it is malformed."""
    _, _, rest = (named or "").strip().rpartition("://")
    host = rest.partition("/")[0].lower()
    if not host or host in _HUB_NAMES:
        return DOCKER_HUB
    try:
        return parse_registry(host)
    except BadRequest:
        return None


def _credentials(secret: _Secret, registry: str, *, may_assume_roles: bool) -> Credentials | None:
    """The login for *registry*. AWS keys and roles go to AWS only, so they are of no use for another registry.

    Without *may_assume_roles*, roles are not used: a user could name one that trusts this server for other reasons.
    """
    if secret.discriminator == CONTAINER_REGISTRY:
        return Credentials(secret.user_name or "", secret.password or "")
    if secret.discriminator == "aws" and place_of(registry):
        if secret.assume_role_arn and not may_assume_roles:
            raise Denied("the credential of the workspace is an AWS role, which the operator has not allowed")
        if secret.assume_role_arn:
            return Credentials(secret.assume_role_arn, secret.external_id or "")
        if secret.access_key and secret.secret_key:
            return Credentials(secret.access_key, secret.secret_key)
    return None
