"""The real servers of sigstore, on loopback: Fulcio, TesseraCT as its log, Rekor v2 and the timestamp authority.

`make sigstore` compiles them.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from swell.programs import find
from swell.testing.oidc_issuer import serving_issuer
from swell_embedded.ports import Ports
from tests.sigstore import Sigstore, Urls, write_files
from tests.sigstore.certificates import authority

PASSWORD = "not secret"
LOG = "127.0.0.1"  # cosign expects the host of the URL of the log
START = 60.0  # seconds, on a loaded machine
PROGRAMS = "fulcio", "tesseract", "rekor-server", "timestamp-server"
FULCIO = """oidc-issuers:
  {issuer}:
    issuer-url: {issuer}
    client-id: sigstore
    type: kubernetes
"""


@asynccontextmanager
async def servers(folder: Path) -> AsyncIterator[Sigstore]:
    """Run the servers while the block runs; their files and logs are in *folder*."""
    programs = find("testing/sigstore", *PROGRAMS)
    assert programs, "there are no servers of sigstore: run `make sigstore`"
    fulcio, tesseract, rekor, timestamps = map(str, programs)
    async with AsyncExitStack() as opened:
        issuer = await opened.enter_async_context(serving_issuer())
        run = Runner(folder, opened)
        root_key, root = authority("fulcio")
        certificate_log, log = ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()
        (folder / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
        encrypted = BestAvailableEncryption(PASSWORD.encode())
        (folder / "root.key").write_bytes(root_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted))
        plain = PrivateFormat.TraditionalOpenSSL, NoEncryption()
        (folder / "ct.key").write_bytes(certificate_log.private_bytes(Encoding.PEM, *plain))
        (folder / "log.key").write_bytes(log.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (folder / "fulcio.yaml").write_text(FULCIO.format(issuer=issuer.url))

        free = Ports.free()
        ports = [
            free.gateway,
            free.data,
            free.builder,
            free.scanner,
            free.metrics,
            free.redis,
            free.nats,
            free.registry,
        ]
        urls = Urls(*(f"http://127.0.0.1:{port}" for port in ports[:4]))
        await run(
            tesseract,
            f"--http_endpoint=127.0.0.1:{ports[2]}",
            "--origin=ct.sigstore.test",
            f"--storage_dir={folder / 'certificates'}",
            f"--private_key={folder / 'ct.key'}",
            f"--roots_pem_file={folder / 'root.pem'}",
            "--ext_key_usages=CodeSigning",
            "--checkpoint_interval=200ms",
            ready=f"{urls.certificate_log}/ct/v1/get-roots",
        )
        await run(
            rekor,
            "serve",
            f"--http-port={ports[1]}",
            f"--grpc-port={ports[4]}",
            f"--http-metrics-port={ports[5]}",
            f"--hostname={LOG}",
            f"--storage-dir={folder / 'log'}",
            f"--signer-filepath={folder / 'log.key'}",
            "--checkpoint-interval=200ms",
            ready=f"{urls.log}/healthz",
        )
        await run(
            timestamps,
            "serve",
            "--host=127.0.0.1",
            f"--port={ports[3]}",
            "--disable-ntp-monitoring",
            ready=f"{urls.timestamps}/ping",
        )
        await run(
            fulcio,
            "serve",
            "--host=127.0.0.1",
            f"--port={ports[0]}",
            "--grpc-host=127.0.0.1",
            f"--grpc-port={ports[6]}",
            f"--metrics-port={ports[7]}",
            f"--legacy-unix-domain-socket={folder / 'fulcio.socket'}",
            "--ca=fileca",
            f"--fileca-cert={folder / 'root.pem'}",
            f"--fileca-key={folder / 'root.key'}",
            f"--fileca-key-passwd={PASSWORD}",
            f"--ct-log-url={urls.certificate_log}",
            f"--config-path={folder / 'fulcio.yaml'}",
            ready=f"{urls.fulcio}/healthz",
        )
        stamps = f"{urls.timestamps}/api/v1/timestamp"
        chain = x509.load_pem_x509_certificates(await _get(f"{stamps}/certchain"))
        raw = log.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        log_id = sha256(LOG.encode() + b"\n\x01" + raw).digest()
        urls = Urls(urls.fulcio, urls.log, urls.certificate_log, stamps)
        yield write_files(folder, issuer, urls, [root], chain, log.public_key(), log_id, certificate_log.public_key())


class Runner:
    """Starts programs that end with *opened*; the log of each is in *folder*."""

    def __init__(self, folder: Path, opened: AsyncExitStack) -> None:
        self._folder = folder
        self._opened = opened

    async def __call__(self, program: str, *arguments: str, ready: str) -> None:
        path = self._folder / f"{Path(program).name}.log"
        log = self._opened.enter_context(path.open("wb"))
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log, cwd=self._folder)  # noqa: ASYNC220
        self._opened.callback(process.wait, timeout=20)
        self._opened.callback(process.kill)
        async with asyncio.timeout(START):
            while True:
                assert process.poll() is None, path.read_text()[-3000:]
                try:
                    await _get(ready)
                    return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)


async def _get(url: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.get(url, raise_for_status=True) as response:
        return await response.read()
