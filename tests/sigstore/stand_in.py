"""A stand-in for the servers of sigstore, over HTTP on loopback: Fulcio with a log of certificates, Rekor, and a clock.

It answers as the real ones do to the requests of one signature, and checks tokens. Timestamps are of `openssl ts`.
`servers` starts the real servers, for which `make test` has no time.

Sources: RFC 6962, "Certificate Transparency", https://www.rfc-editor.org/rfc/rfc6962; C2SP, "signed-note",
https://c2sp.org/signed-note; Fulcio, https://github.com/sigstore/fulcio/blob/main/fulcio.proto; Rekor v2,
https://github.com/sigstore/rekor-tiles/blob/main/CLIENTS.md
"""

import asyncio
import base64
import hashlib
import json
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from swell.testing.oidc_issuer import OidcIssuer, serving_issuer
from tests.sigstore import IDENTITY, Sigstore, Urls, der, encoded, write_files
from tests.sigstore.certificates import authority, timestamping, usage

LOG = "127.0.0.1"  # cosign expects the host of the URL of the log
TSA_CONFIG = """[tsa]
default_tsa = one
[one]
serial = {folder}/tsa.serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


class StandIn:
    """`requests` counts what was asked, as `fulcio`, `log` and `timestamps`; one in `refused` is answered with 503.

    One in `delayed` is answered after its event is set.
    """

    def __init__(self, folder: Path, issuer: OidcIssuer) -> None:
        self.requests: Counter[str] = Counter()
        self.refused: set[str] = set()
        self.delayed: dict[str, asyncio.Event] = {}
        self.entries: list[bytes] = []
        self._folder = folder
        self._issuer = issuer
        self._ca_key, self._ca = authority("fulcio")
        self._certificate_log = ec.generate_private_key(ec.SECP256R1())
        self._log = Ed25519PrivateKey.generate()
        tsa_root_key, tsa_root = authority("timestamps")
        tsa_key, tsa = timestamping(tsa_root_key, tsa_root)
        self._timestamps = [tsa, tsa_root]
        (folder / "tsa.pem").write_bytes(tsa.public_bytes(Encoding.PEM))
        (folder / "tsa.key").write_bytes(tsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (folder / "tsa.cnf").write_text(TSA_CONFIG.format(folder=folder))

    def files(self, url: str) -> Sigstore:
        urls = Urls(url, url, f"{url}/certificates", f"{url}/timestamps")
        log = self._log.public_key()
        return write_files(
            self._folder,
            self._issuer,
            urls,
            [self._ca],
            self._timestamps,
            log,
            self._log_id,
            self._certificate_log.public_key(),
        )

    @property
    def _log_id(self) -> bytes:
        raw = self._log.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return hashlib.sha256(LOG.encode() + b"\n\x01" + raw).digest()

    async def certificate(self, request: web.Request) -> web.Response:
        """A certificate for the service account in the token; see `POST /api/v2/signingCert` of Fulcio."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            claims = jwt.decode(token, KeySet(list(self._issuer.published)), algorithms=["RS256"]).claims
            jwt.JWTClaimsRegistry(exp={"essential": True}, iss={"essential": True, "value": self._issuer.url}).validate(
                claims
            )
        except JoseError as error:
            return web.json_response({"code": 16, "message": f"the token is not valid: {error}"}, status=401)
        if "sigstore" not in claims["aud"] or "kubernetes.io" not in claims:
            return web.json_response({"code": 16, "message": "the token is for something else"}, status=401)
        body = await request.json()
        asked = x509.load_pem_x509_csr(base64.b64decode(body["certificateSigningRequest"]))
        key = asked.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey) and asked.is_signature_valid
        chain = [self._certified(key), self._ca]
        texts = [each.public_bytes(Encoding.PEM).decode() for each in chain]
        return web.json_response({"signedCertificateEmbeddedSct": {"chain": {"certificates": texts}}})

    def _certified(self, key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        now = datetime.now(UTC)
        issuer = self._issuer.url.encode()
        builder = (
            x509.CertificateBuilder(self._ca.subject, x509.Name([]), key, x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(minutes=10))
            .add_extension(usage(signs=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca_key.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(IDENTITY)]), critical=True)
            .add_extension(_named("1.3.6.1.4.1.57264.1.1", issuer), critical=False)
            .add_extension(_named("1.3.6.1.4.1.57264.1.8", bytes([0x0C, len(issuer)]) + issuer), critical=False)
        )
        unlogged = builder.sign(self._ca_key, hashes.SHA256())
        sct = self._logged(unlogged.tbs_certificate_bytes)
        sct_list = struct.pack(">HH", len(sct) + 2, len(sct)) + sct
        octets = bytes([0x04, 0x81, len(sct_list)]) if len(sct_list) > 127 else bytes([0x04, len(sct_list)])
        return builder.add_extension(_named("1.3.6.1.4.1.11129.2.4.2", octets + sct_list), critical=False).sign(
            self._ca_key, hashes.SHA256()
        )

    def _logged(self, certificate: bytes) -> bytes:
        """A signed certificate timestamp for *certificate*, which is to be signed (RFC 6962, 3.2)."""
        moment = struct.pack(">Q", int(time.time() * 1000))
        issuer = hashlib.sha256(der(self._ca_key.public_key())).digest()
        length = struct.pack(">I", len(certificate))[1:]
        signed = b"\0\0" + moment + struct.pack(">H", 1) + issuer + length + certificate + b"\0\0"
        signature = self._certificate_log.sign(signed, ec.ECDSA(hashes.SHA256()))
        log_id = hashlib.sha256(der(self._certificate_log.public_key())).digest()
        return b"\0" + log_id + moment + b"\0\0" + b"\x04\x03" + struct.pack(">H", len(signature)) + signature

    async def entry(self, request: web.Request) -> web.Response:
        """A new entry of the log; see `POST /api/v2/log/entries` of Rekor."""
        asked = (await request.json())["hashedRekordRequestV002"]
        spec = {"data": {"algorithm": "SHA2_256", "digest": asked["digest"]}, "signature": asked["signature"]}
        entry = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": spec}}
        body = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        self.entries.append(body)
        index, leaves = len(self.entries) - 1, [hashlib.sha256(b"\0" + each).digest() for each in self.entries]
        root = _root(leaves)
        note = f"{LOG}\n{len(leaves)}\n{encoded(root)}\n"
        signature = encoded(self._log_id[:4] + self._log.sign(note.encode()))
        proof = {
            "logIndex": str(index),
            "treeSize": str(len(leaves)),
            "rootHash": encoded(root),
            "hashes": [encoded(each) for each in _path(index, leaves)],
            "checkpoint": {"envelope": f"{note}\n\u2014 {LOG} {signature}\n"},
        }
        answer: dict[str, Any] = {
            "logIndex": str(index),
            "logId": {"keyId": encoded(self._log_id)},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": proof,
            "canonicalizedBody": encoded(body),
        }
        return web.json_response(answer, status=201)

    async def timestamp(self, request: web.Request) -> web.Response:
        """A timestamp of RFC 3161, by the real program."""
        query, answer = (self._folder / f"{self.requests['timestamps']}.{kind}" for kind in ("tsq", "tsr"))
        query.write_bytes(await request.read())
        command = "openssl", "ts", "-reply", "-config", self._folder / "tsa.cnf", "-queryfile", query, "-out", answer
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, errors = await process.communicate()
        assert process.returncode == 0, errors
        return web.Response(body=answer.read_bytes(), content_type="application/timestamp-reply")


def _named(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def _split(count: int) -> int:
    """The largest power of two that is smaller than *count*."""
    return 1 << (count - 1).bit_length() - 1


def _root(leaves: list[bytes]) -> bytes:
    """The hash of a Merkle tree (RFC 6962, 2.1)."""
    if len(leaves) == 1:
        return leaves[0]
    middle = _split(len(leaves))
    return hashlib.sha256(b"\1" + _root(leaves[:middle]) + _root(leaves[middle:])).digest()


def _path(index: int, leaves: list[bytes]) -> list[bytes]:
    """The hashes that prove that the leaf at *index* is in the tree (RFC 6962, 2.1.1)."""
    if len(leaves) == 1:
        return []
    middle = _split(len(leaves))
    if index < middle:
        return [*_path(index, leaves[:middle]), _root(leaves[middle:])]
    return [*_path(index - middle, leaves[middle:]), _root(leaves[:middle])]


@asynccontextmanager
async def stand_in(folder: Path) -> AsyncIterator[tuple[Sigstore, StandIn]]:
    """Serve a stand-in on a free port of loopback while the block runs; its files are in *folder*."""
    async with serving_issuer() as issuer:
        server = StandIn(folder, issuer)
        names = {"signingCert": "fulcio", "entries": "log", "timestamps": "timestamps"}

        @web.middleware
        async def count(request: web.Request, handler: Any) -> web.StreamResponse:
            name = names[request.path.rpartition("/")[2]]
            server.requests[name] += 1
            if delay := server.delayed.get(name):
                await delay.wait()
            if name in server.refused:
                return web.json_response({"code": 14, "message": "not now"}, status=503)
            response: web.StreamResponse = await handler(request)
            return response

        app = web.Application(middlewares=[count])
        app.router.add_post("/api/v2/signingCert", server.certificate)
        app.router.add_post("/api/v2/log/entries", server.entry)
        app.router.add_post("/timestamps", server.timestamp)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield server.files(f"http://127.0.0.1:{runner.addresses[0][1]}"), server
        finally:
            for event in server.delayed.values():
                event.set()
            await runner.cleanup()
