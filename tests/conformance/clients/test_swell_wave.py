"""`swell wave`: it sends the recorded requests of the real client, and prints and exits as that does."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from swell_cli.config import Config, Profile, save, with_profile
from swell_cli.wave import main as wave
from swell_cli.wave.duration import format_duration, parse_duration
from swell_cli.wave.ignore import WaveIgnore
from tests.conformance.clients.test_recorded import VECTORS
from tests.e2e.client import Swell
from tests.e2e.upstreams import Upstreams

RECORDED = [json.loads(line) for line in (VECTORS / "cli.jsonl").read_text().split("\n") if line]
STAMP = re.compile(r'"timestamp":"([^"]+)"')
ANSWER = {"targetImage": "x/wt/t/a:1", "requestId": "t", "succeeded": True}
DONE = {"id": "t", "status": "DONE", "succeeded": True, "creationTime": "2026-03-01T09:30:00Z"}
BUILDING = {"id": "t", "status": "BUILDING", "creationTime": "2026-03-01T09:30:00Z"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the requests were recorded, as far as their bodies show it."""
    for name in (
        "TOWER_ACCESS_TOKEN",
        "TOWER_API_ENDPOINT",
        "TOWER_WORKSPACE_ID",
        "WAVE_ENDPOINT",
        "SWELL_URL",
        "SWELL_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(wave, "POLL_EVERY", 0.05)
    config = {
        "cmd": ["-c", "x"],
        "entrypoint": ["/bin/sh"],
        "env": ["A=1"],
        "workingDir": "/w",
        "unknown": 1,
        "layers": [
            {
                "gzipDigest": "sha256:aa",
                "gzipSize": 100,
                "location": "https://example.invalid/l.tar.gz",
                "skipHashing": True,
                "tarDigest": "sha256:bb",
            }
        ],
    }
    files = {
        "Dockerfile": "FROM alpine\nCOPY a.txt /\n",
        "conda.yml": "channels:\n  - conda-forge\ndependencies:\n  - samtools=1.17\n",
        "cfg.json": json.dumps(config),
        "ctx/.dockerignore": "# c\n*.log\n**/*.log\n!keep.log\n",
        "ctx/a.txt": "hello\n",
        "ctx/b.log": "left out",
        "ctx/sub/c.txt": "keep\n",
        "ctx/sub/d.log": "left out",
        "layer/usr/local/bin/hello.sh": "#!/bin/sh\necho hi\n",
        "ln/realdir/f": "a\n",
        f"longn/{'n' * 130}": "x\n",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
    (tmp_path / "ln/realdir").chmod(0o755)
    (tmp_path / "layer/usr/local/bin/link.sh").symlink_to("hello.sh")
    (tmp_path / "ln/dirlink").symlink_to("realdir")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Server:
    """Answers with *answers* in their order, and then again with the last one; `seen` has the requests."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[tuple[str, str, dict[str, str], str]] = []
        self.answers: list[tuple[int, Any]] = [(200, ANSWER)]

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name not in {"Host", "User-Agent"}}
        self.seen.append((request.method, request.path, headers, (await request.read()).decode()))
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        content = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=content)


@asynccontextmanager
async def opened() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        server.url = f"http://{host}:{port}"
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with opened() as running:
        yield running


async def run(server: Server | Swell, *words: str) -> int:
    return await asyncio.to_thread(wave.main, [*words, "--wave-endpoint", server.url])


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded["case"])
async def test_the_recorded_requests_are_sent_byte_for_byte(server: Server, recorded: dict[str, Any]) -> None:
    """All but the time, and the name of the program in `User-Agent`."""
    server.answers = [(200, {"container": {}} if recorded["path"].endswith("inspect") else ANSWER)]

    await run(server, *recorded["args"])

    ((method, path, headers, body),) = server.seen
    assert (method, path) == (recorded["method"], recorded["path"])
    if stamp := STAMP.search(recorded["body"]):
        sent = STAMP.search(body)
        assert sent
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(\.\d{3,9})?(Z|[+-]\d\d:\d\d)", sent[1])
        body = body.replace(sent[1], stamp[1])
    assert body == recorded["body"]
    assert headers.keys() == {"Content-Length", "Content-Type"}
    assert headers["Content-Type"] == dict(recorded["headers"])["Content-Type"]


@pytest.mark.parametrize(
    "words",
    [
        "-i a -f Dockerfile",
        "",
        "-h",
        "-i a --build-repo r",
        "--conda-file conda.yml --conda x",
        "--conda-file conda.yml -i a",
        "--conda x -i a",
        "--conda x -f Dockerfile",
        "--cran x -i a",
        "--cran x --conda y",
        "-i a -o xml",
        "--conda-file nowhere",
        "-i a --context ctx",
        "-f Dockerfile --context nowhere",
        "-f Dockerfile --context Dockerfile",
        "-i a -s",
        "-i a -m",
        "-i a -m -F --build-repo r --tower-token t",
        "-i a --dry-run --await",
        "-i a --platform windows/amd64",
        "-i a --platform amd64,arm64",
        "-i a --config-env =x",
        "-i a --config-env 1A=x",
        "-i a --config-file nowhere",
        "-i a --layer nowhere",
        "-f nowhere",
        "-i a stray",
        "-i a --unknown",
        "-i a -i b",
        "-i a --scan-level low",
        "-i a --scan-level LOW,HIGH",
        "-i a --name-strategy tagprefix",
        "-i a --tower-workspace-id x",
        "-i a --await 1d",
        "-i a --freeze=true",
        "-i",
        "-x",
    ],
)
async def test_wrong_options_send_nothing_and_exit_with_1(
    server: Server, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """The checks of the client, in a table of its fact sheet."""
    code = await run(server, *words.split()) if words else await asyncio.to_thread(wave.main, [])

    captured = capsys.readouterr()
    assert (code, server.seen) == (1, [])
    assert captured.err.strip()
    assert captured.out == "" if words not in {"", "-h"} else "Examples:" in captured.out


async def test_flags_stand_together_and_values_follow_an_equals_sign(server: Server) -> None:
    """As the parser of the client reads them; a value can begin with a hyphen."""
    await run(server, "-sF", "--containerfile=Dockerfile", "--config-cmd", "-c x", "--build-compression=zstd")

    body = json.loads(server.seen[0][3])
    assert (body["format"], body["freeze"]) == ("sif", True)
    assert base64.b64decode(body["containerFile"]).startswith(b"FROM alpine")
    assert (body["containerConfig"]["cmd"], body["buildCompression"]) == (["-c x"], {"mode": "zstd"})


async def test_variables_are_used_where_options_are_missing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty token is sent, a number that is none is an error."""
    monkeypatch.setenv("TOWER_ACCESS_TOKEN", "")
    monkeypatch.setenv("TOWER_API_ENDPOINT", "https://t.test")
    monkeypatch.setenv("TOWER_WORKSPACE_ID", "7")
    assert await run(server, "-i", "a") == 0
    body = json.loads(server.seen[0][3])
    assert (body["towerAccessToken"], body["towerEndpoint"], body["towerWorkspaceId"]) == ("", "https://t.test", 7)

    monkeypatch.setenv("TOWER_WORKSPACE_ID", "x")
    assert await run(server, "-i", "a") == 1
    assert len(server.seen) == 1


async def test_limits_of_sizes_are_checked(server: Server, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A layer has at most 1 MiB, a context 5 MiB, compressed; a link without a target is an error."""
    import os

    (folder / "layer/noise").write_bytes(os.urandom(1100 << 10))
    assert await run(server, "-i", "a", "--layer", "layer") == 1
    assert "1 MiB" in capsys.readouterr().err
    (folder / "ctx/noise").write_bytes(os.urandom(5300 << 10))
    assert await run(server, "-f", "Dockerfile", "--context", "ctx") == 1
    assert "5 MiB" in capsys.readouterr().err
    (folder / "ln/dangling").symlink_to("nowhere")
    assert await run(server, "-i", "a", "--layer", "ln") == 1
    assert server.seen == []


async def test_output_is_that_of_the_client(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Plain, JSON in one line, YAML with times in quotes and an empty line."""
    server.answers = [
        (200, ANSWER | {"expiration": "2026-03-02T21:30:00.120+01:00", "cached": None, "later": {}, "requestId": 12})
    ]
    assert await run(server, "-i", "a") == 0
    assert capsys.readouterr().out == "x/wt/t/a:1\n"
    assert await run(server, "-i", "a", "-o", "json") == 0
    assert capsys.readouterr().out == (
        '{"expiration":"2026-03-02T20:30:00.120Z","requestId":"12","succeeded":true,"targetImage":"x/wt/t/a:1"}\n'
    )
    assert await run(server, "-i", "a", "-o", "yaml") == 0
    out = capsys.readouterr().out
    assert out.startswith("expiration: '2026-03-02T20:30:00.120Z'\n")
    assert out.endswith("\n\n")
    server.answers = [(200, {})]
    assert await run(server, "-i", "a") == 0
    assert capsys.readouterr().out == "null\n"


async def test_awaiting_polls_until_done(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """YAML shows the status, JSON only whether it succeeded; a failure is an error only in plain output."""
    submitted = {"targetImage": "x", "requestId": "t"}
    failed = DONE | {"succeeded": False, "reason": "no", "detailsUri": "http://log", "vulnerabilities": {"LOW": 1}}
    ended = json.dumps(failed)[:-1] + ', "duration": 72.5}'

    server.answers = [(200, submitted), (200, BUILDING), (200, BUILDING), (200, ended)]
    assert await run(server, "-i", "a", "--await") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[1:] == ["no", "http://log"]
    assert [path for _, path, _, _ in server.seen] == ["/v1alpha2/container", *["/v1alpha2/container/t/status"] * 3]
    assert server.seen[1][2] == {"Content-Type": "application/json", "Content-Length": "0"}

    server.answers = [(200, submitted), (200, ended)]
    assert await run(server, "-i", "a", "--await", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"requestId": "t", "succeeded": False, "targetImage": "x"}
    server.answers = [(200, submitted), (200, ended)]
    assert await run(server, "-i", "a", "--await", "1h", "-o", "yaml") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["status"], shown["duration"], shown["vulnerabilities"]) == ("DONE", "PT1M12.5S", {"LOW": 1})
    server.answers = [(200, submitted), (200, BUILDING)]
    assert await run(server, "-i", "a", "--await", "0s") == 1
    assert "PT0S" in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer", [{"succeeded": "true"}, {"expiration": 1772400000}, {"buildId": {}}, {"cached": "x"}]
)
async def test_values_of_a_wrong_type_are_errors(server: Server, answer: dict[str, Any]) -> None:
    """The real client cannot read them either."""
    server.answers = [(200, ANSWER | answer)]

    assert await run(server, "-i", "a") == 1


async def test_failures_are_repeated_as_the_client_does(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """503 five times with the same bytes, 429 and 201 once; what is not JSON is a failure of the connection."""
    server.answers = [(503, "busy")]
    assert await run(server, "-i", "a") == 1
    assert capsys.readouterr().err == "[503] busy\n"
    assert (len(server.seen), len({body for *_, body in server.seen})) == (5, 1)
    for status, body, shown in ((429, "slow", "[429] slow"), (201, "{}", "[201] {}"), (200, "<html>", server.url)):
        server.seen.clear()
        server.answers = [(status, body)]
        assert await run(server, "-i", "a") == 1
        assert shown in capsys.readouterr().err
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("pattern", "path", "is_left_out"),
    [
        ("node_modules", "node_modules/a", False),
        ("*.md", "a/b.md", False),
        ("**/*.md", "b.md", False),
        ("**/*.md", "a/b.md", True),
        ("**.md", "a/b.md", True),
        ("*.{md,txt}", "a.txt", True),
        ("a?c", "abc", True),
        ("[!a]b", "ab", False),
        ("[a-c]b", "bb", True),
        ("\\*", "*", True),
        ("*\n!a", "a", False),
    ],
)
def test_patterns_are_globs_of_java(pattern: str, path: str, is_left_out: bool) -> None:
    """Unlike Docker's: the name of a folder does not leave out what is in it."""
    assert WaveIgnore(pattern.splitlines()).leaves_out(path) is is_left_out


@pytest.mark.parametrize(
    ("text", "seconds", "iso"),
    [("90s", 90, "PT1M30S"), ("10m", 600, "PT10M"), ("1h30m", 5400, "PT1H30M"), ("0s", 0, "PT0S")],
)
def test_durations_are_read_and_written(text: str, seconds: int, iso: str) -> None:
    """As the client shows them."""
    assert parse_duration(text) == seconds
    assert format_duration(Decimal(seconds)) == iso


# --- with the running stack


async def test_a_build_is_awaited_for_real(
    swell: Swell, upstreams: Upstreams, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answers of the real server can be read; the exit codes are those of scripts."""
    (folder / "Dockerfile").write_text(f"FROM {upstreams.image()}\nCOPY . /x\nRUN true\n")

    assert await run(swell, "-f", "Dockerfile", "--context", "ctx", "--await", "-o", "yaml") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["status"], shown["succeeded"]) == ("DONE", True)
    assert await run(swell, "-i", upstreams.image(), "--layer", "layer") == 0
    assert "/wt/" in capsys.readouterr().out
    assert await run(swell, "--inspect", "-i", upstreams.image("docker")) == 0
    assert json.loads(capsys.readouterr().out)["container"]["manifest"]["layers"][0]["uri"].startswith("http")
    assert await run(swell, "--info") == 0
    assert f"Endpoint  : {swell.url}" in capsys.readouterr().out
    (folder / "Dockerfile").write_text(f"FROM {upstreams.image()}\nRUN exit 4\n")
    assert await run(swell, "-f", "Dockerfile", "--await") == 1
    assert "exit status 4" in capsys.readouterr().err


async def test_the_key_of_a_profile_is_used_for_its_server(server: Server) -> None:
    """`swell login` is enough; another server does not get the key."""
    save(with_profile(Config(), "work", Profile(server.url, "stored")))
    async with opened() as other:
        assert await run(server, "-i", "a", "--build-repo", "r") == 0
        assert await run(other, "-i", "a") == 0

    assert json.loads(server.seen[0][3])["towerAccessToken"] == "stored"
    assert "towerAccessToken" not in json.loads(other.seen[0][3])
