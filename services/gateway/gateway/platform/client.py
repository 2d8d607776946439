"""The calls to a Seqera Platform: typed answers, its errors, and the renewal of expired access tokens.

Source: Seqera Platform's public API, https://docs.seqera.io/platform-api
"""

import re
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Annotated, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from gateway.domain.platform import Platform
from gateway.platform.sessions import Session, Sessions, hash_of
from gateway.platform.wire import PlatformAnswer, PlatformRequest, Transport
from swell.errors import (
    BadRequest,
    PlatformDenied,
    PlatformFailed,
    PlatformNotFound,
    PlatformUnreachable,
    SessionExpired,
)

MAX_TOKEN = 8 << 10  # characters
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"[!-~]+")

A = TypeVar("A")


Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]


class User(Struct, frozen=True, rename="camel"):
    id: int | Id
    user_name: str = ""
    email: str | None = None
    wave_build_notification: str | None = None


class _UserInfo(Struct, frozen=True):
    user: User | None = None


class CredentialKeys(Struct, frozen=True):
    registry: str | None = None


class CredentialEntry(Struct, frozen=True):
    """A credential of a workspace, without its secret."""

    id: str
    provider: str | None = None
    keys: CredentialKeys | None = None


class _Credentials(Struct, frozen=True):
    credentials: tuple[CredentialEntry, ...] = ()


class _Keys(Struct, frozen=True):
    keys: str | None = None


class ComputeEnvironment(Struct, frozen=True, rename="camel"):
    platform: str | None = None
    credentials_id: str | None = None


class _Launch(Struct, frozen=True, rename="camel"):
    compute_env: ComputeEnvironment | None = None


class _LaunchAnswer(Struct, frozen=True):
    launch: _Launch | None = None


class _Workflow(Struct, frozen=True):
    status: str | None = None


class _WorkflowAnswer(Struct, frozen=True):
    workflow: _Workflow | None = None


class PlatformClient:
    """Every method raises:

    PlatformDenied: Platform does not accept the access token, and the session has no refresh token.
    SessionExpired: the refresh token is not accepted, or the renewal gives no token.
    PlatformNotFound: there is no such object in the workspace, or its user may not see it.
    PlatformFailed, Unavailable: the answer is no success, or is missing; see `Transport`.
    """

    def __init__(self, transport: Transport, sessions: Sessions) -> None:
        self._transport = transport
        self._sessions = sessions

    async def user(self, platform: Platform, name: str, session: Session) -> tuple[User, Session]:
        """Return the user of *session*, and the session with its current tokens."""
        answer, session = await self._get(platform, name, session, "/user-info", {}, _UserInfo)
        if answer.user is None:
            raise PlatformDenied("the Platform knows no user of the access token")
        return answer.user, session

    async def credentials(
        self, platform: Platform, name: str, session: Session, workspace: int | None
    ) -> tuple[CredentialEntry, ...]:
        answer, _ = await self._get(platform, name, session, "/credentials", _in(workspace), _Credentials)
        return answer.credentials

    async def keys(
        self, platform: Platform, name: str, session: Session, workspace: int | None, *, of: str, pairing_id: str
    ) -> str:
        """Return the secrets of the credential *of*, encrypted for the pairing."""
        query = {"pairingId": pairing_id} | _in(workspace)
        answer, _ = await self._get(platform, name, session, f"/credentials/{_id(of)}/keys", query, _Keys)
        if not answer.keys:
            raise PlatformFailed("the Platform sends a credential without keys")
        return answer.keys

    async def compute_environment(
        self, platform: Platform, name: str, session: Session, workspace: int | None, workflow: str
    ) -> ComputeEnvironment | None:
        """Return where *workflow* was launched, if it was launched by Platform."""
        path = f"/workflow/{_id(workflow)}/launch"
        answer, _ = await self._get(platform, name, session, path, _in(workspace), _LaunchAnswer)
        return answer.launch.compute_env if answer.launch else None

    async def workflow_status(
        self, platform: Platform, name: str, session: Session, workspace: int | None, workflow: str
    ) -> str | None:
        """Return the status of *workflow*, such as `RUNNING`."""
        path = f"/workflow/{_id(workflow)}"
        answer, _ = await self._get(platform, name, session, path, _in(workspace), _WorkflowAnswer)
        return answer.workflow.status if answer.workflow else None

    async def _get(
        self, platform: Platform, name: str, session: Session, path: str, query: Mapping[str, str], kind: type[A]
    ) -> tuple[A, Session]:
        url = platform.endpoint + path + (f"?{urlencode(query)}" if query else "")
        answer = await self._send(platform, session, url)
        if answer.status == 401 and session.refresh_token:
            session = await self._refreshed(platform, name, session)
            answer = await self._send(platform, session, url)
        _raise_for(answer, platform)
        try:
            return msgspec.json.decode(answer.body, type=kind), session
        except (msgspec.MsgspecError, RecursionError) as error:
            raise PlatformFailed(f"the Platform at {platform.endpoint} sends an answer that cannot be read") from error

    async def _send(self, platform: Platform, session: Session, url: str) -> PlatformAnswer:
        if not _TOKEN.fullmatch(session.token) or len(session.token) > MAX_TOKEN:
            raise PlatformDenied("the access token has characters that no token has, or too many")
        return await self._transport.send(
            platform, PlatformRequest(method="GET", url=url, auth=f"Bearer {session.token}")
        )

    async def _refreshed(self, platform: Platform, name: str, session: Session) -> Session:
        """Return *session* with new tokens. One process at a time renews a session; the others take its result."""
        lock = await self._sessions.lock(name)
        if lock is None:
            raise PlatformUnreachable("the session is being renewed by another request, which takes too long")
        async with lock:
            stored = await self._sessions.get(name)
            if stored and stored.token != session.token and stored.knows(session.refresh_token):
                return stored
            refreshed = await self._refresh(platform, session)
            await self._sessions.put(name, refreshed)
            return refreshed

    async def _refresh(self, platform: Platform, session: Session) -> Session:
        form = urlencode({"grant_type": "refresh_token", "refresh_token": session.refresh_token})
        headers = {"content-type": ("application/x-www-form-urlencoded",)}
        request = PlatformRequest(
            method="POST", url=f"{platform.endpoint}/oauth/access_token", body=form, headers=headers
        )
        answer = await self._transport.send(platform, request)
        if answer.status in {400, 403}:
            raise SessionExpired
        _raise_for(answer, platform)
        cookies = _cookies(answer.headers.get("set-cookie", ()))
        if not (token := cookies.get("JWT")):
            raise SessionExpired("the Seqera Platform renews the session without a new token")
        refresh_token = cookies.get("JWT_REFRESH_TOKEN") or session.refresh_token
        presented = (*session.presented[:1], *session.presented[1:][-2:], hash_of(refresh_token))
        return replace(session, token=token, refresh_token=refresh_token, presented=presented)


def _raise_for(answer: PlatformAnswer, platform: Platform) -> None:
    if answer.status == 401:
        raise PlatformDenied(f"the Platform at {platform.endpoint} does not accept the access token")
    if answer.status == 412:
        raise SessionExpired
    if answer.status in {403, 404}:
        raise PlatformNotFound(
            f"the Platform at {platform.endpoint} does not have this workspace or run, or its user may not see it"
        )
    if answer.status in {408, 429} or answer.status >= 500:
        raise PlatformUnreachable(f"the Platform at {platform.endpoint} fails at the moment: status {answer.status}")
    if answer.status != 200:
        raise PlatformFailed(f"the Platform at {platform.endpoint} answers with the status {answer.status}")


def _cookies(lines: tuple[str, ...]) -> dict[str, str]:
    """The values of cookies by name; attributes and malformed lines are ignored."""
    values: dict[str, str] = {}
    for line in lines:
        try:
            parsed = SimpleCookie(line.partition(";")[0])
        except CookieError:
            continue
        values |= {name: morsel.value for name, morsel in parsed.items() if _TOKEN.fullmatch(morsel.value)}
    return values


def _in(workspace: int | None) -> dict[str, str]:
    return {} if workspace is None else {"workspaceId": str(workspace)}


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise BadRequest("workflowId: an id has at most 64 letters, digits, _ and -")
    return quote(text)
