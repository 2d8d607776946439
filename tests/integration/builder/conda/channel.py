"""A Conda channel of our own making: small packages of every kind, served over loopback http."""

import bz2
import contextlib
import hashlib
import io
import json
import select
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import zstandard

PLACEHOLDER = "/build/" + "placehold_" * 20
"""The prefix that packages are made with; long, so that every other is shorter."""

ENDLESS = "endless"
_HELD_FOR = 60.0  # seconds


@dataclass
class File:
    """A file of a package: a link when `link` says where to, a hard link when it is to a `twin`."""

    content: bytes = b""
    mode: int = 0o644
    link: str | None = None
    twin: str | None = None
    placeholder: str | None = None
    file_mode: str | None = None
    time: int = 1_600_000_000


@dataclass
class Made:
    """A package to be: `info` are more files of its `info/`."""

    name: str
    version: str = "1.0"
    build: str = "0"
    subdir: str = "linux-64"
    depends: tuple[str, ...] = ()
    noarch: str | None = None
    files: Mapping[str, File] = field(default_factory=dict)
    entry_points: tuple[str, ...] = ()
    old_format: bool = False

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}-{self.build}{'.tar.bz2' if self.old_format else '.conda'}"

    @property
    def index(self) -> dict[str, Any]:
        found = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": 0,
            "depends": list(self.depends),
            "subdir": self.subdir,
            "license": "BSD-3-Clause",
        }
        return found | ({"noarch": self.noarch} if self.noarch else {})

    def archive(self) -> bytes:
        if self.old_format:
            return bz2.compress(_tar({**self._info(), **self.files}))
        stem, content = self.file_name.removesuffix(".conda"), io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as parts:
            pack = zstandard.ZstdCompressor().compress
            parts.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
            parts.writestr(f"pkg-{stem}.tar.zst", pack(_tar(self.files)))
            parts.writestr(f"info-{stem}.tar.zst", pack(_tar(self._info())))
        return content.getvalue()

    def _info(self) -> dict[str, File]:
        paths = [_path(name, file) for name, file in self.files.items()]
        info = {"index.json": self.index, "paths.json": {"paths_version": 1, "paths": paths}}
        if self.noarch == "python":
            info["link.json"] = {
                "noarch": {"type": "python", "entry_points": list(self.entry_points)},
                "package_metadata_version": 1,
            }
        return {f"info/{name}": File(json.dumps(content).encode()) for name, content in info.items()}


def _path(name: str, file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {"_path": name, "path_type": "softlink" if file.link else "hardlink"}
    if not file.link:
        entry |= {"sha256": hashlib.sha256(file.content).hexdigest(), "size_in_bytes": len(file.content)}
    if file.placeholder:
        entry |= {"prefix_placeholder": file.placeholder, "file_mode": file.file_mode or "text"}
    return entry


def _tar(files: Mapping[str, File]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, file in files.items():
            member = tarfile.TarInfo(name)
            member.mtime, member.mode, member.uid, member.uname = file.time, file.mode, 1000, "packager"
            if file.link:
                member.type, member.linkname = tarfile.SYMTYPE, file.link
            elif file.twin:
                member.type, member.linkname = tarfile.LNKTYPE, file.twin
            else:
                member.size = len(file.content)
            archive.addfile(member, io.BytesIO(file.content) if member.size else None)
    return content.getvalue()


class Channel:
    """A channel in a folder, at `url` while it is served; `asked` are the paths that were, `statuses` the answers.

    The answer for a path with `ENDLESS` in it never ends; `held` are the connections of those who wait for more of it.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.requests: list[str] = []
        self.statuses: list[int] = []
        self.held: dict[str, socket.socket] = {}
        self._records: dict[str, dict[str, Any]] = {"linux-64": {}, "linux-aarch64": {}, "noarch": {}}
        self.write()

    def add(self, *packages: Made, **record: Any) -> None:
        """Put *packages* into the channel; *record* changes what it says of them."""
        for made in packages:
            content = made.archive()
            (self.folder / made.subdir / made.file_name).write_bytes(content)
            known = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            self._records[made.subdir][made.file_name] = made.index | known | record
        self.write()

    def waiting(self, text: str) -> int:
        """How many still wait for a path with *text* in it."""
        return sum(text in path and _is_open(connection) for path, connection in list(self.held.items()))

    def write(self) -> None:
        """Write the lists: packed for one platform, plain for the others."""
        for subdir, records in self._records.items():
            folder = self.folder / subdir
            folder.mkdir(exist_ok=True)
            old = {name: record for name, record in records.items() if name.endswith(".tar.bz2")}
            lists = {"packages": old, "packages.conda": {n: r for n, r in records.items() if n not in old}}
            content = json.dumps({"info": {"subdir": subdir}, **lists, "repodata_version": 1}).encode()
            if subdir == "linux-64":
                (folder / "repodata.json.zst").write_bytes(zstandard.ZstdCompressor().compress(content))
            else:
                (folder / "repodata.json").write_bytes(content)


def _is_open(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


class _Quiet(SimpleHTTPRequestHandler):
    def __init__(self, *parts: Any, channel: Channel, **named: Any) -> None:
        self._channel, self._etag = channel, ""
        super().__init__(*parts, **named)

    def do_GET(self) -> None:
        self._channel.requests.append(self.path)
        if ENDLESS in self.path:
            self._hold()
            return
        path = Path(self.translate_path(self.path))
        self._etag = f'"{hashlib.sha256(path.read_bytes()).hexdigest()}"' if path.is_file() else ""
        if self._etag and self.headers.get("If-None-Match") == self._etag:
            self.send_response(304)
            self.end_headers()
        else:
            super().do_GET()

    def _hold(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 20))
        self.end_headers()
        self.wfile.write(b"begun")
        self._channel.held[self.path] = self.connection
        select.select([self.connection], [], [], _HELD_FOR)

    def end_headers(self) -> None:
        if self._etag:
            self.send_header("ETag", self._etag)
        super().end_headers()

    def send_response(self, code: int, message: str | None = None) -> None:
        self._channel.statuses.append(code)
        super().send_response(code, message)

    def log_message(self, *parts: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Channel]:
    """An empty channel in *folder*."""
    channel = Channel(folder, "")
    handler = partial(_Quiet, directory=str(folder), channel=channel)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        channel.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield channel
        finally:
            server.shutdown()
            thread.join()


def shell(text: str) -> File:
    """A program in shell that has the prefix in it."""
    return File(text.replace("PREFIX", PLACEHOLDER).encode(), mode=0o775, placeholder=PLACEHOLDER)


def every_kind() -> list[Made]:
    """A Python of no use, a library for any Python, a tool with its library, in both formats."""
    binary = b"\x7fELF\0" + f"{PLACEHOLDER}/share/tool:{PLACEHOLDER}/lib".encode() + b"\0\0after\0"
    tool = {
        "bin/tool": shell("#!/bin/sh\ncat PREFIX/share/tool/greeting; cat /opt/conda/lib/libgreet.so\n"),
        "bin/tool-2": File(link="tool"),
        "share/tool/greeting": File(b"hello from /opt/conda\n", mode=0o600),
        "share/tool/where.bin": File(binary, placeholder=PLACEHOLDER, file_mode="binary"),
        "share/tool/twin": File(twin="share/tool/greeting"),
        "etc/conda/env_vars.d/tool.json": File(b'{"TOOL_HOME": "/opt/conda/share/tool"}'),
        "etc/conda/activate.d/tool.sh": File(b"export TOOL_ACTIVE=yes\n"),
    }
    library = {
        "lib/libgreet.so.1": File(b"library\n", mode=0o755),
        "lib/libgreet.so": File(link="libgreet.so.1"),
    }
    python = {"bin/python3.12": File(b"no python\n", mode=0o755), "lib/python3.12/os.py": File(b"# os\n")}
    module = {
        "site-packages/greeter/__init__.py": File(b"def main(): ...\n"),
        "python-scripts/greet-old": shell("#!PREFIX/bin/python\n"),
    }
    return [
        Made("tool", depends=("libgreet >=1,<2",), files=tool),
        Made("libgreet", "1.2", files=library, old_format=True),
        Made("libgreet", "2.0", files=library),
        Made("python", "3.12.1", files=python),
        Made(
            "greeter",
            noarch="python",
            subdir="noarch",
            depends=("python",),
            files=module,
            entry_points=("greet = greeter:main",),
        ),
    ]
