"""Certificates of a private authority, for servers on 127.0.0.1 and their clients."""

import ssl
from pathlib import Path

import trustme


class Certificates:
    """Files (PEM): the authority's certificate, and pairs of a certificate and its key."""

    def __init__(self, home: Path) -> None:
        self._authority = trustme.CA()
        self._home = home
        self.ca_file = home / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca_file)
        self.server = self.issue("127.0.0.1", "localhost")
        self.client = self.issue("client.example.org")

    def for_server(self, *, asks_for_certificate: bool = True) -> ssl.SSLContext:
        """A context of a server, which by default requires a certificate of this authority from its clients."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca_file)
        context.load_cert_chain(*self.server)
        context.verify_mode = ssl.CERT_REQUIRED if asks_for_certificate else ssl.CERT_NONE
        return context

    def issue(self, *names: str) -> tuple[Path, Path]:
        """Return the files of a new certificate for *names*, and of its key."""
        issued = self._authority.issue_cert(*names)
        certificate, key = self._home / f"{names[0]}.pem", self._home / f"{names[0]}.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return certificate, key
