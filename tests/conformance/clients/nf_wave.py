"""A stand-in for nf-wave, Nextflow's plugin, which is not available where Swell is tested.

It sends all its keys, most of them null, retries as the real client 1.22.0 does, and reads responses as that does.
"""

import json
import uuid
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from tests.conformance.clients.wave_cli import STATUSES, SUBMIT
from tests.conformance.clients.wire import Clock, RetryRules, Wire

KEYS = (
    *("towerAccessToken", "towerRefreshToken", "towerWorkspaceId", "towerEndpoint", "containerImage", "containerFile"),
    *("containerConfig", "containerPlatform", "buildRepository", "cacheRepository", "timestamp", "fingerprint"),
    *("freeze", "format", "dryRun", "workflowId", "containerIncludes", "packages", "nameStrategy", "mirror"),
    *("scanMode", "scanLevels", "buildCompression", "buildTemplate"),
)
NO_CONFIG = dict.fromkeys(("entrypoint", "cmd", "env", "workingDir", "layers"))
POLL_EVERY = 1.0  # seconds

_RULES = RetryRules(frozenset({429, 500, 502, 503, 504}), first_wait=0.45, heeds_retry_after=True)


class TaskFailed(Exception):
    """The task that waits for the container cannot start."""


class Container(Struct, frozen=True):
    """The container of a task; `build_id` is reported to the Seqera Platform."""

    image: str
    request_id: str | None
    is_ready: bool
    build_id: str | None = None


class NfWave:
    def __init__(self, endpoint: str, clock: Clock | None = None) -> None:
        self.wire = Wire(endpoint, _RULES, clock)

    async def submit(self, fields: Mapping[str, Any] | bytes) -> Container:
        """Return the container for *fields*, or for a complete body.

        Raises:
            TaskFailed: the response is not sufficient to start a task.
        """
        body = fields if isinstance(fields, bytes) else json.dumps(body_of(fields)).encode()
        headers = {"Traceparent": f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"}
        if token := json.loads(body).get("towerAccessToken"):
            headers["Authorization"] = f"Bearer {token}"
        answer = await self._asked("POST", SUBMIT, body, headers)
        if not answer.get("targetImage") or "://" in answer["targetImage"].removeprefix("oras://"):
            raise TaskFailed(f"no image that can be pulled: {answer}")
        return Container(
            answer["targetImage"], answer.get("requestId"), answer.get("succeeded") is True, answer.get("buildId")
        )

    async def is_ready(self, request_id: str) -> bool:
        """Return whether the task can start.

        Raises:
            TaskFailed: the build failed; the message has the reason and the address of the log.
        """
        status = await self._asked("GET", f"{SUBMIT}/{request_id}/status")
        if status.get("status") not in STATUSES or not isinstance(status.get("creationTime"), str):
            raise TaskFailed(f"the status cannot be read: {status}")
        if status["status"] != "DONE":
            return False
        if status.get("succeeded") is not True:
            raise TaskFailed(" ".join(filter(None, (status.get("reason"), status.get("detailsUri")))))
        return True

    async def ready(self, container: Container, polls: int = 6000) -> Container:
        """Wait until a task can start with *container*, at most *polls* polls, one each second."""
        for _ in range(polls):
            if container.is_ready or not container.request_id or await self.is_ready(container.request_id):
                return container
            await self.wire.clock.sleep(POLL_EVERY)
        raise TaskFailed(f"not ready after {polls} polls")

    async def _asked(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        reply = await self.wire.ask(method, path, body, headers)
        if reply.status != 200:
            raise TaskFailed(f"{method} {path} [{reply.status}] {reply.text}")
        try:
            return dict(json.loads(reply.text))
        except ValueError as error:
            raise TaskFailed(f"the answer is no JSON object: {reply.text[:200]}") from error


def body_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the complete body for *fields*: other members are null, flags are false."""
    usual = {"freeze": False, "dryRun": False, "mirror": False, "containerPlatform": "linux/amd64"}
    return dict.fromkeys(KEYS) | usual | {"containerConfig": NO_CONFIG} | dict(fields)
