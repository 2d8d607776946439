"""Tokens of runs: a token with a `workflowId` lives while its run does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from gateway.access.leases import RUN, Leases
from gateway.domain.access.lease_terms import LeaseTerms
from gateway.platform.client import PlatformClient
from gateway.platform.workspaces import Workspaces
from swell.concurrency.at_once import at_once
from swell.errors import Denied, NotFound, SessionExpired, SwellError, Unauthorized
from swell.log import log

CLAIMED_AT_ONCE = 50
LOOKUPS_AT_ONCE = 8
CLAIM_SECONDS = 60.0
"""A gateway looks up a claimed run within this time; otherwise another one does. It is longer than all lookups take."""
CHECK_DUE = timedelta(seconds=10)
"""How often each gateway looks for due runs."""
LIVE = frozenset({"SUBMITTED", "RUNNING"})


class RunLeases:
    """Renews the tokens of runs. A token is claimed, and stays in the list of due ones, until its lookup has a result.

    So when a gateway dies, another one looks up its runs a minute later, and the tokens have most of their 20 minutes.
    """

    def __init__(
        self,
        leases: Leases,
        workspaces: Workspaces,
        client: PlatformClient,
        terms: LeaseTerms,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._leases = leases
        self._workspaces = workspaces
        self._client = client
        self._terms = terms
        self._now = now

    async def renew_due(self) -> None:
        """Look up all runs that are due, and renew the tokens of those that are live.

        Raises:
            Unavailable: the store does not respond; claimed tokens are due again.
        """
        while tokens := await self._leases.claim(CLAIMED_AT_ONCE, CLAIM_SECONDS):
            await at_once(LOOKUPS_AT_ONCE, (partial(self._renew, token) for token in tokens))

    async def _renew(self, token: str) -> None:
        result = await self._look_up(token)
        log.info("token of a run looked up", token=f"{token[:4]}…", result=result)

    async def _look_up(self, token: str) -> str:
        leased = await self._leases.leased(token, self._terms.limit)
        workspace_id = await self._leases.run_of(token)
        if leased is None or workspace_id is None or leased.latest <= self._now():
            await self._leases.forget(token)
            return "expired"
        try:
            is_live = await self._is_live(workspace_id)
        except (Denied, NotFound, SessionExpired, Unauthorized):
            await self._leases.forget(token)
            return "unresolved"
        except SwellError as error:
            log.warning("run not looked up", error=str(error))
            await self._leases.due_in(token, CLAIM_SECONDS)
            return "error"
        if not is_live:
            await self._leases.forget(token)
            return "completed"
        until = min(self._now() + self._terms.step, leased.latest).replace(microsecond=0)
        held = await self._leases.hold(leased, RUN, until, is_new=True)
        if held.end is None:
            await self._leases.forget(token)
            return "expired"
        await self._leases.due_in(token, self._terms.check.total_seconds())
        return "renewed"

    async def _is_live(self, workspace_id: str) -> bool:
        workspace, platform, session = await self._workspaces.open(workspace_id)
        await self._workspaces.put(workspace)  # it is stored for as long as its runs are looked up
        status = await self._client.workflow_status(
            platform, workspace.session, session, workspace.workspace_id, workspace.workflow_id or ""
        )
        return status in LIVE
