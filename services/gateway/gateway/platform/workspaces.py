"""Workspaces: what a principal of the kind `platform` stands for, a user in a workspace, and perhaps in a run."""

import hashlib
from typing import NamedTuple

import msgspec
from msgspec import Struct

from gateway.domain.platform import KIND, Platform, Platforms
from gateway.platform.sessions import SESSION_LIFE, Records, Session, Sessions
from swell.errors import Denied
from swell.registry.credentials.principal import PUBLIC, Principal, owners_of, with_owners


class Workspace(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user in a workspace (None: the personal one), for a run (None: for no run).

    `session` is the name of the session that was used last. Equal rights have an equal `id` in all sessions.
    """

    endpoint: str
    user_id: str
    workspace_id: int | None = None
    workflow_id: str | None = None
    session: str = ""

    @property
    def id(self) -> str:
        rights = repr((self.endpoint, self.user_id, self.workspace_id, self.workflow_id))
        return hashlib.blake2b(rights.encode(), digest_size=16).hexdigest()

    @property
    def principal(self) -> Principal:
        return with_owners(KIND, [self.id], PUBLIC)


class OpenWorkspace(NamedTuple):
    """A workspace with its Platform and its current session."""

    workspace: Workspace
    platform: Platform
    session: Session


class Workspaces:
    """The workspaces of principals, by their ids."""

    def __init__(self, records: Records, platforms: Platforms, sessions: Sessions) -> None:
        self._records = records
        self._platforms = platforms
        self._sessions = sessions

    async def put(self, workspace: Workspace) -> None:
        await self._records.put(_name(workspace.id), msgspec.json.encode(workspace), SESSION_LIFE)

    async def open(self, workspace_id: str) -> OpenWorkspace:
        """Return the workspace with the id *workspace_id*.

        Raises:
            Denied: its session has ended, or the operator has removed its Platform.
        """
        value = await self._records.get(_name(workspace_id))
        workspace = msgspec.json.decode(value, type=Workspace) if value else None
        platform = self._platforms.find(workspace.endpoint) if workspace else None
        session = await self._sessions.get(workspace.session) if workspace else None
        if workspace is None or platform is None or session is None:
            raise Denied("the session at the Seqera Platform has ended, so its credentials cannot be used")
        return OpenWorkspace(workspace, platform, session)


def workspaces_of(principal: Principal) -> tuple[str, ...]:
    """Return the ids of the workspaces in *principal*."""
    return owners_of(KIND, principal)


def _name(workspace_id: str) -> str:
    return f"platform-workspace:{workspace_id}"
