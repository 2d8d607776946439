"""What tests of engines use: a real registry, the lines of a log, and archives."""

import io
import json
import socket
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.buildah.engine import BuildahEngine

OpenEngine = Callable[..., AbstractAsyncContextManager[BuildahEngine]]


@dataclass
class Registry:
    """A real registry on loopback that wants a password for everything."""

    address: str
    auth_file: Path
    authorization: str

    def fetch(self, path: str) -> tuple[bytes, str]:
        """Fetch a document or blob below `/v2/`; return it with the digest in the response."""
        accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
        headers = {"Authorization": self.authorization, "Accept": accept}
        request = urllib.request.Request(f"http://{self.address}/v2/{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.read(), answer.headers.get("Docker-Content-Digest", "")

    def manifest(self, repository: str, reference: str) -> dict[str, Any]:
        return dict(json.loads(self.fetch(f"{repository}/manifests/{reference}")[0]))

    def config(self, repository: str, reference: str) -> dict[str, Any]:
        digest = self.manifest(repository, reference)["config"]["digest"]
        return dict(json.loads(self.fetch(f"{repository}/blobs/{digest}")[0]))

    def tags(self, repository: str) -> list[str]:
        return list(json.loads(self.fetch(f"{repository}/tags/list")[0])["tags"])

    def last_layer(self, repository: str, digest: str) -> tarfile.TarFile:
        manifest = json.loads(self.fetch(f"{repository}/manifests/{digest}")[0])
        blob, _ = self.fetch(f"{repository}/blobs/{manifest['layers'][-1]['digest']}")
        return tarfile.open(fileobj=io.BytesIO(blob))


class Output(list[bytes]):
    """The lines of a build log."""

    async def __call__(self, line: bytes) -> None:
        self.append(line)

    @property
    def text(self) -> str:
        return b"\n".join(self).decode(errors="replace")


def gzipped_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
