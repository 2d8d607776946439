"""A run of Wave's command line: options, checks, request, waiting, output."""

import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from swell_cli.config import resolve
from swell_cli.interrupting import repeated_interrupts
from swell_cli.output import write
from swell_cli.wave.answers import Fields, awaited_yaml, read_answer, read_json, read_status, to_json, to_yaml
from swell_cli.wave.checks import check
from swell_cli.wave.duration import format_duration
from swell_cli.wave.inspection import read_inspection
from swell_cli.wave.options import WaveError, read_options, usage
from swell_cli.wave.request import REMOVED, container_body, encode, inspect_body, timestamp
from swell_client._sync.http import Http
from swell_client.errors import RequestFailed, SwellClientError
from swell_client.retry import RetryPolicy

VERSION = "1.8.2"
"""The version of Wave's command line that this one behaves like."""
LEAST_SERVER = (1, 31, 0)

POLL_EVERY = 10.0
_LIMIT, _LIMIT_WITH_TOKEN = Decimal(15 * 60), Decimal(25 * 60)
_READ_TIMEOUT = 900.0  # seconds; the real client has no limit
_LARGEST_FILE = 10 << 20
_RETRY = RetryPolicy(
    attempts=5,
    first_wait=timedelta(milliseconds=150),
    longest_wait=timedelta(seconds=90),
    statuses=frozenset({249, 502, 503, 504}),
    obeys_server=False,
)
_SEMVER = re.compile(r"(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", re.ASCII)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line *words*, and return the exit code."""
    words = sys.argv[1:] if words is None else words
    try:
        fields = read_options(words, os.environ)
        if fields.get("version"):
            print_out(f"{VERSION}_unknown\n")
            return 0
        if not words or fields.get("help"):
            print_out(usage())
        with repeated_interrupts():
            return Wave(fields).run()
    except (WaveError, SwellClientError, OSError) as error:
        write(f"{error}\n", sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def script() -> None:
    """The `wave` command of the distribution `swell-wave`."""
    sys.exit(main())


def print_out(text: str) -> None:
    write(text, sys.stdout)


class Wave:
    """One run with the options *fields*."""

    def __init__(self, fields: Fields) -> None:
        server = resolve(fields.get("wave_endpoint"), None)
        self.endpoint = server.url.value
        if "tower_token" not in fields and server.token.value:  # of a profile
            fields = fields | {"tower_token": server.token.value}
        self._fields = fields

    def run(self) -> int:
        with Http(self.endpoint, {"User-Agent": f"swell-cli (wave {VERSION})"}, _RETRY, _READ_TIMEOUT) as http:
            if self._fields.get("info"):
                return self._info(http)
            if self._fields.get("inspect"):
                return self._inspect(http)
            check(self._fields)
            now = time.time_ns()
            local = datetime.fromtimestamp(now // 10**9, UTC).astimezone()
            body = container_body(self._fields, read, timestamp(local, now % 10**9))
            answer = read_answer(self._ask(http, "POST", "/v1alpha2/container", encode(body)))
            waits = "wait" in self._fields and "requestId" in answer and "succeeded" not in answer
            return self._print(answer, self._await(http, answer["requestId"]) if waits else {})

    def _print(self, answer: Fields, status: Fields) -> int:
        if "succeeded" in status:
            answer = answer | {"succeeded": status["succeeded"]}
        match self._fields.get("output"):
            case "json":
                print_out(to_json(answer) + "\n")
            case "yaml":
                print_out(to_yaml(awaited_yaml(answer, status)) + "\n")
            case None if status and "succeeded" not in status:
                raise WaveError("the status does not say whether the build succeeded")
            case None if status and not status["succeeded"]:
                lines = (
                    "Container provisioning did not complete successfully",
                    status.get("reason"),
                    status.get("detailsUri"),
                )
                raise WaveError("\n".join(filter(None, lines)))
            case None:
                print_out(f"{answer.get('targetImage', 'null')}\n")
            case other:
                raise WaveError(f"Unknown output format: '{other}'")
        return 0

    def _await(self, http: Http, request_id: str) -> Fields:
        limit = self._limit()
        started = time.monotonic()
        while True:
            status = read_status(self._ask(http, "GET", f"/v1alpha2/container/{request_id}/status"))
            if status.get("status") == "DONE":
                return status
            if time.monotonic() - started > limit:
                raise WaveError(f"Build request did not complete within the max await time: {format_duration(limit)}")
            time.sleep(POLL_EVERY)

    def _limit(self) -> Decimal:
        """The default is longer with a token; so is the default when it is given as an option."""
        limit = self._fields["wait"] if self._fields["wait"] is not None else _LIMIT
        token = self._fields.get("tower_token")
        return _LIMIT_WITH_TOKEN if limit == _LIMIT and token and token != REMOVED else limit

    def _inspect(self, http: Http) -> int:
        found = read_inspection(self._ask(http, "POST", "/v1alpha1/inspect", encode(inspect_body(self._fields))))
        print_out((to_yaml(found) if self._fields.get("output") == "yaml" else to_json(found)) + "\n")
        return 0

    def _info(self, http: Http) -> int:
        print_out(
            f"Client:\n Version   : {VERSION}_unknown\n System    : {platform.system()} {platform.release()}\nServer:\n"
        )
        info: Any = self._ask(http, "GET", "/service-info").get("serviceInfo")
        version = info.get("version") if isinstance(info, dict) else None
        match = _SEMVER.fullmatch(str(version))
        if not match:
            raise WaveError(f"the version of the server is not a semantic version: {version}")
        is_old = tuple(int(match[at]) for at in (1, 2, 3)) < LEAST_SERVER
        note = f" (required: {'.'.join(map(str, LEAST_SERVER))})" if is_old else ""
        print_out(f" Version   : {version}{note}\n Endpoint  : {self.endpoint}\n")
        return 0

    def _ask(self, http: Http, method: str, path: str, body: bytes | None = None) -> Fields:
        """The object that the server answers with exactly status 200."""
        headers = {} if body is not None else {"Content-Type": "application/json", "Content-Length": "0"}
        try:
            answer = http.send(method, path, body=body, headers=headers)
        except RequestFailed as error:
            raise WaveError(f"[{error.status}] {error.body}") from error
        if answer.status != 200:
            raise WaveError(f"[{answer.status}] {answer.body.decode(errors='replace')}")
        return read_json(answer.body, self.endpoint)


def read(name: str) -> bytes:
    """The content at a path, or at a `file:`, `http:` or `https:` URL; at most 10 MiB.

    Raises:
        WaveError: it cannot be read.
    """
    if name.startswith(("http://", "https://")):
        parts = urlsplit(name)
        origin, path = f"{parts.scheme}://{parts.netloc}", parts.path or "/"
        with Http(origin, {"User-Agent": f"swell-cli (wave {VERSION})"}, _RETRY, 60.0) as http:
            content = http.send("GET", f"{path}?{parts.query}" if parts.query else path).body
    else:
        local = unquote(urlsplit(name).path) if name.startswith("file:/") else name
        try:
            with Path(local).open("rb") as file:
                content = file.read(_LARGEST_FILE + 1)
        except OSError as error:
            raise WaveError(f"{local}: {error.strerror}") from error
    if len(content) > _LARGEST_FILE:
        raise WaveError(f"{name} has more than {_LARGEST_FILE >> 20} MiB")
    return content
