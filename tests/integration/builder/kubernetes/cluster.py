"""A stand-in for a Kubernetes cluster: its API over real HTTP, and a machine that runs a pod's command as a process.

It knows no more of Kubernetes than a build needs: Jobs, their Secrets and pods, logs, garbage collection. It
validates each request against the OpenAPI schemas of Kubernetes. It can be set to misbehave.
"""

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
from aiohttp import web

KUBERNETES = "1.30"
Fields = dict[str, Any]


class Cluster:
    """*folder* holds the pods' files, `said` is what they wrote; what is in *broken* misbehaves.

    `cut`: streams of log lines break off, each after some more than the one before. `mute`: the next stream of lines
    has none, and no end. `dumb`: the lines of a pod that has ended are missing. `stuck`: pods wait for an image.
    `killed`: pods end as if the machine's memory was gone. `emptied`: the machine of the next pod that says something
    is emptied. `deleted`: that pod is, by hand. `away`: the API answers 503. `busy`: it answers every other question
    about a pod with 429. `quota`: it takes no Job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broken: set[str] = set()
        self.jobs: dict[str, Fields] = {}
        self.secrets: dict[str, Fields] = {}
        self.pods: dict[str, Fields] = {}
        self.seen: list[Fields] = []
        self.said: list[str] = []
        self._streams = self._questions = 0
        self._lines: dict[str, list[tuple[str, str]]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._misbehave])
        batch, core = "/apis/batch/v1/namespaces/swell/jobs", "/api/v1/namespaces/swell"
        app.router.add_post(batch, self._create_job)
        app.router.add_get(batch, self._list_jobs)
        app.router.add_get(batch + "/{name}", self._get_job)
        app.router.add_delete(batch + "/{name}", self._delete_job)
        app.router.add_post(core + "/secrets", self._create_secret)
        app.router.add_get(core + "/pods", self._list_pods)
        app.router.add_get(core + "/pods/{name}", self._get_pod)
        app.router.add_get(core + "/pods/{name}/log", self._log)
        return app

    async def close(self) -> None:
        for name in list(self.jobs):
            await self._remove(name)

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if "away" in self.broken:
            return _status(503, "the server is currently unable to handle the request")
        if "quota" in self.broken and request.method == "POST":
            return _status(403, 'jobs.batch "x" is forbidden: exceeded quota: builds, requested: count/jobs.batch=1')
        name = request.match_info.get("name", "")
        if "busy" in self.broken and name in self.pods and not request.path.endswith("/log"):
            self._questions += 1
            if self._questions % 2:
                return _status(429, "too many requests")
        ended = name in self.pods and self.pods[name]["status"]["phase"] != "Running"
        if "dumb" in self.broken and ended and request.path.endswith("/log"):
            return _status(500, "Get https://machine:10250/containerLogs: dial tcp: no route to host")
        response: web.StreamResponse = await handler(request)
        return response

    async def _create_job(self, request: web.Request) -> web.Response:
        made = await self._accepted(request)
        name = made["metadata"]["name"]
        if name in self.jobs:
            return _status(409, f'jobs.batch "{name}" already exists')
        made["metadata"] |= {"uid": f"uid-of-{name}", "creationTimestamp": _now()}
        made["status"] = {"startTime": _now(), "active": 1}
        self.jobs[name] = made
        self.seen.append(made)
        self.pods[f"{name}-pod"] = _pod(name, {"waiting": {"reason": "ContainerCreating"}}, "Pending")
        if "stuck" in self.broken:
            waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
            self.pods[f"{name}-pod"] = _pod(name, {"waiting": waiting}, "Pending")
        else:
            self._running[name] = asyncio.create_task(self._run(name))
        return _json(made, 201)

    async def _create_secret(self, request: web.Request) -> web.Response:
        made = await self._accepted(request)
        name = made["metadata"]["name"]
        if name in self.secrets:
            return _status(409, f'secrets "{name}" already exists')
        assert made["metadata"]["ownerReferences"][0]["uid"] == self.jobs[name]["metadata"]["uid"]
        self.secrets[name] = made
        self.seen.append(made)
        return _json(made, 201)

    async def _accepted(self, request: web.Request) -> Fields:
        made: Fields = await request.json()
        kubernetes_validate.validate(made, KUBERNETES, strict=True)
        return made

    async def _list_jobs(self, request: web.Request) -> web.Response:
        return _json({"kind": "JobList", "apiVersion": "batch/v1", "metadata": {}, "items": []})

    async def _get_job(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return _json(self.jobs[name]) if name in self.jobs else _status(404, "not found")

    async def _delete_job(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.jobs:
            return _status(404, f'jobs.batch "{name}" not found')
        await self._remove(name)
        return _status(200, "")

    async def _list_pods(self, request: web.Request) -> web.Response:
        name = request.query["labelSelector"].partition("=")[2]
        items = [pod for key, pod in self.pods.items() if key.startswith(f"{name}-pod")]
        return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _get_pod(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return _json(self.pods[name]) if name in self.pods else _status(404, "not found")

    async def _log(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        if "mute" in self.broken:
            self.broken.discard("mute")
            with suppress(TimeoutError):
                async with asyncio.timeout(60):
                    while request.transport and not request.transport.is_closing():  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
            return response
        at, since = 0, int(request.query.get("sinceSeconds", 0))
        lines = self._lines.setdefault(name, [])
        if since:
            after = datetime.now(UTC).timestamp() - since
            at = next((n for n, (stamp, _) in enumerate(lines) if _seconds(stamp) >= after), len(lines))
        self._streams += 1
        end = at + 7 * self._streams if "cut" in self.broken else None
        while name in self.pods and (end is None or at < end):
            for stamp, line in lines[at:end]:
                await response.write(f"{stamp} {line}\n".encode())
                at += 1
            if at == end and request.transport:
                request.transport.abort()
                break
            if self.pods[name]["status"]["phase"] != "Running" and at >= len(lines):
                break
            await asyncio.sleep(0.02)
        with suppress(ConnectionError):
            await response.write_eof()
        return response

    async def _run(self, name: str, number: str = "") -> None:
        """Do what a node does: wait for the Secret, run the command, store its lines, report its result."""
        while name not in self.secrets:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        place, pod = self.folder / (name + number), f"{name}-pod{number}"
        mounted = place / "swell"
        mounted.mkdir(parents=True)
        kept = {file: base64.b64decode(content) for file, content in self.secrets[name]["data"].items()}
        for file, content in kept.items():
            (mounted / file).write_bytes(content)
        (place / "workspace").mkdir()
        container = self.jobs[name]["spec"]["template"]["spec"]["containers"][0]
        moved = {"/workspace": str(place / "workspace"), "/swell": str(mounted)}
        environment = {each["name"]: _moved(_value(each, kept), moved) for each in container["env"]}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *container["command"][1:],
            env={"PATH": os.environ["PATH"], **environment, "SWELL_OUTCOME": str(place / "outcome")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
        )
        self._processes[name] = process
        started = _now()
        self.pods[pod] = _pod(name, {"running": {"startedAt": started}}, "Running", number)
        assert process.stdout
        taken = set[str]()
        async for line in process.stdout:
            if not taken and (taken := self.broken & {"emptied", "deleted", "killed"}):
                process.send_signal(signal.SIGTERM)
                self.broken -= taken - {"killed"}
            self.said.append(line.rstrip(b"\n").decode(errors="replace"))
            self._lines.setdefault(pod, []).append((_now(), self.said[-1]))
        status = await process.wait()
        said = place / "outcome"
        ended = {"exitCode": status, "reason": "Completed", "message": said.read_text() if said.exists() else ""}
        if "killed" in taken:
            ended = {"exitCode": 137, "reason": "OOMKilled", "message": ""}
        ended |= {"startedAt": started, "finishedAt": _now()}
        self.pods[pod] = _pod(name, {"terminated": ended}, "Failed" if ended["exitCode"] else "Succeeded", number)
        if "emptied" in taken:
            assert status, "a pod that ends well would not be replaced"
            self.pods[pod]["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
            await self._run(name, "-again")
        if "deleted" in taken:
            del self.pods[pod]
            why = {"reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}
            self.jobs[name]["status"] = {"conditions": [{"type": "Failed", "status": "True", **why}]}

    async def remove(self, name: str) -> None:
        """Do what `kubectl delete job` does."""
        await self._remove(name)

    async def _remove(self, name: str) -> None:
        """The Job goes, and with it what it owns; its pod is given some seconds."""
        running, process = self._running.pop(name, None), self._processes.pop(name, None)
        if process and process.returncode is None:
            process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 60)
            if process.returncode is None:
                process.kill()
        if running:
            running.cancel()
            await asyncio.wait([running])
        for kept in (self.jobs, self.secrets):
            kept.pop(name, None)
        for number in ("", "-again"):
            for of_pod in (self.pods, self._lines):
                of_pod.pop(f"{name}-pod{number}", None)
            await asyncio.to_thread(shutil.rmtree, self.folder / (name + number), ignore_errors=True)


@asynccontextmanager
async def serving(cluster: Cluster) -> AsyncIterator[Path]:
    """Answer for *cluster* on loopback; gives the kubeconfig for it."""
    runner = web.AppRunner(cluster.app(), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    config = cluster.folder / "kubeconfig.json"
    config.write_text(json.dumps(_kubeconfig(f"http://127.0.0.1:{port}")))
    try:
        yield config
    finally:
        await cluster.close()
        await runner.cleanup()


def _kubeconfig(url: str) -> Fields:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "swell"}}],
        "users": [{"name": "u", "user": {"token": "x"}}],
        "current-context": "c",
    }


def _pod(job: str, state: Fields, phase: str, number: str = "") -> Fields:
    container = {"name": "build", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{job}-pod{number}", "namespace": "swell"},
        "status": {"phase": phase, "containerStatuses": [container]},
    }


def _status(code: int, message: str) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": code, "message": message}
    return _json(status, code)


def _json(content: Fields, code: int = 200) -> web.Response:
    """As an API server says it: without a charset."""
    return web.Response(body=json.dumps(content).encode(), status=code, headers={"Content-Type": "application/json"})


def _value(variable: Fields, kept: dict[str, bytes]) -> str:
    """Return the value of a variable: from the Job, or from its Secret."""
    if source := variable.get("valueFrom"):
        return kept[source["secretKeyRef"]["key"]].decode()
    return str(variable.get("value") or "")


def _moved(text: str, folders: dict[str, str]) -> str:
    """Return *text* with the paths of pods, alone or in a list of `name=path`, as those of this machine."""
    for here, there in folders.items():
        text = re.sub(rf"(^|[=,]){re.escape(here)}(?=/|$)", rf"\g<1>{there}", text)
    return text


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
