"""What ADD fetches with BuildKit from servers that the operator allows: checked files, and git repositories."""

import hashlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from swell.store.records import Reason
from tests.integration.builder.buildah.test_network import Backend, backend, outer_address
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.contract import failure_of
from tests.integration.builder.harness import Output

__all__ = ["backend", "buildkit", "programs"]


@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_a_file_has_the_checksum_that_add_names(buildkit: Buildkit, backend: Backend, tmp_path: Path) -> None:
    """Another file at the same address ends the build, and the reason has both digests."""
    host = f"{outer_address()}:{backend.port}"
    right, wrong = (hashlib.sha256(content).hexdigest() for content in (b"secret", b"other"))
    add = f"ADD --checksum=sha256:{{}} http://{host}/file /file\nRUN grep -qx secret /file\n"
    async with buildkit.open(tmp_path, allowed_hosts=frozenset({buildkit.registry.address, host})) as engine:
        await engine.build(buildkit.recipe(add.format(right)), Output())
        failure = await failure_of(engine, buildkit.recipe(add.format(wrong)))
    assert failure.reason is Reason.RECIPE
    assert right in str(failure)
    assert wrong in str(failure)


class GitServer:
    """Serves the repositories of *folder* with git's own program for HTTP.

    Source: git-http-backend(1), https://git-scm.com/docs/git-http-backend
    """

    def __init__(self, folder: Path) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                environment = os.environ | {
                    "GIT_PROJECT_ROOT": str(folder),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                }
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                ran = subprocess.run(["git", "http-backend"], input=body, env=environment, stdout=-1, check=False)
                head, _, content = ran.stdout.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
                self.send_response(int(headers.pop("Status", "200").split()[0]))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815  (a name of http.server)

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        self.host = f"{outer_address()}:{self.server.server_address[1]}"


@pytest.fixture
def git(tmp_path: Path) -> Iterator[GitServer]:
    """A server with the repository `r.git`, which has one file."""
    work, bare = tmp_path / "git/work", tmp_path / "git/r.git"
    work.mkdir(parents=True)
    (work / "file").write_text("of git\n")
    for command in (
        ("init", "-q", "-b", "main"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "one"),
        ("clone", "-q", "--bare", ".", str(bare)),
    ):
        subprocess.run(["git", "-C", str(work), *command], check=True)
    server = GitServer(tmp_path / "git")
    thread = threading.Thread(target=server.server.serve_forever)
    thread.start()
    yield server
    server.server.shutdown()
    server.server.server_close()
    thread.join()


async def test_a_repository_is_added_with_and_without_its_history(
    buildkit: Buildkit, git: GitServer, tmp_path: Path
) -> None:
    """`--keep-git-dir` is for programs that read their version from git."""
    url = f"http://{git.host}/r.git#main"
    steps = (
        f"ADD {url} /plain\nRUN grep -qx 'of git' /plain/file && test ! -e /plain/.git\n"
        f"ADD --keep-git-dir=true {url} /kept\nRUN grep -qx 'of git' /kept/file && test -e /kept/.git/HEAD\n"
    )
    allowed = frozenset({buildkit.registry.address, git.host})
    async with buildkit.open(tmp_path / "workspace", allowed_hosts=allowed) as engine:
        await engine.build(buildkit.recipe(steps), Output())
