"""Sigstore for tests: `stand_in` is a small one in Python, and `servers` starts the real servers."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from swell.testing.oidc_issuer import OidcIssuer

NAMESPACE, ACCOUNT = "swell", "builder"
SUBJECT = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
IDENTITY = f"https://kubernetes.io/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}"
"""What Fulcio writes into the certificates of a service account of Kubernetes."""

PublicKey = EllipticCurvePublicKey | Ed25519PublicKey


class Sigstore(Struct, frozen=True):
    """The files that a builder needs, and who gives tokens; the certificates name `IDENTITY` and the issuer's URL."""

    issuer: OidcIssuer
    trusted_root: Path
    signing_config: Path
    token: Path

    def new_token(self, audience: str = "sigstore", **claims: Any) -> None:
        """Write a token as Kubernetes does for a service account."""
        account = {"namespace": NAMESPACE, "serviceaccount": {"name": ACCOUNT, "uid": "a-uid"}}
        pod = {"pod": {"name": "builder-0", "uid": "another-uid"}}
        claims = {"sub": SUBJECT, "email": None, "email_verified": None, "kubernetes.io": account | pod} | claims
        self.token.write_text(self.issuer.token([audience], **claims))


class Urls(Struct, frozen=True):
    fulcio: str
    log: str
    certificate_log: str
    timestamps: str


def write_files(
    folder: Path,
    issuer: OidcIssuer,
    urls: Urls,
    fulcio: list[x509.Certificate],
    timestamps: list[x509.Certificate],
    log: PublicKey,
    log_id: bytes,
    certificate_log: PublicKey,
) -> Sigstore:
    """Write the files of a sigstore with these servers, certificates (leaf first) and keys to *folder*."""
    since = {"start": _instant(datetime.now(UTC) - timedelta(days=1))}
    root = {
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [_log(urls.log, log, log_id, since)],
        "certificateAuthorities": [_authority(urls.fulcio, fulcio, since)],
        "ctlogs": [_log(urls.certificate_log, certificate_log, hashlib.sha256(der(certificate_log)).digest(), since)],
        "timestampAuthorities": [_authority(urls.timestamps, timestamps, since)],
    }

    def service(url: str, version: int) -> dict[str, Any]:
        return {"url": url, "majorApiVersion": version, "validFor": since, "operator": "tests"}

    config = {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": [service(urls.fulcio, 1)],
        "rekorTlogUrls": [service(urls.log, 2)],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": [service(urls.timestamps, 1)],
        "tsaConfig": {"selector": "ANY"},
    }
    made = Sigstore(issuer, folder / "trusted_root.json", folder / "signing_config.json", folder / "token")
    made.trusted_root.write_text(json.dumps(root))
    made.signing_config.write_text(json.dumps(config))
    made.new_token()
    return made


def der(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _log(url: str, key: PublicKey, log_id: bytes, since: dict[str, str]) -> dict[str, Any]:
    details = "PKIX_ED25519" if isinstance(key, Ed25519PublicKey) else "PKIX_ECDSA_P256_SHA_256"
    public = {"rawBytes": encoded(der(key)), "keyDetails": details, "validFor": since}
    return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": {"keyId": encoded(log_id)}}


def _authority(url: str, chain: list[x509.Certificate], since: dict[str, str]) -> dict[str, Any]:
    certificates = [{"rawBytes": encoded(each.public_bytes(Encoding.DER))} for each in chain]
    subject = {"organization": "Swell's tests", "commonName": url}
    return {"subject": subject, "uri": url, "certChain": {"certificates": certificates}, "validFor": since}


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
