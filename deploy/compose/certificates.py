"""Print an authority, a certificate of it for all services, and its key (PEM); `deploy/compose/init mtls` runs it.

The key of the authority is not stored, so nothing else gets a certificate of it.
"""

import sys
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOSTS = ("registry-proxy", "builder", "metrics", "scanner", "gateway", "localhost")
LIFETIME = timedelta(days=3650)


def _builder(name: str, public_key: ec.EllipticCurvePublicKey, now: datetime) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + LIFETIME)


def main() -> None:
    now = datetime.now(UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Swell calls between services")])
    authority = (
        _builder("Swell calls between services", authority_key.public_key(), now)
        .issuer_name(issuer)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder("swell", key.public_key(), now)
        .issuer_name(issuer)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    for content in (*(each.public_bytes(formats[0]) for each in (authority, certificate)), key.private_bytes(*formats)):
        sys.stdout.buffer.write(content)


if __name__ == "__main__":
    main()
