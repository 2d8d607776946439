"""What outbound connections may reach, and how: allowed hosts, proxies, certificates, timeouts."""

import ssl
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from yarl import URL

from swell.net.addresses import is_loopback
from swell.settings import SettingsInvalid


class Policy(Struct, frozen=True):
    """Allowed connections: to public addresses, and to `allowed_hosts` (`host` or `host:port`) at any address."""

    allowed_hosts: frozenset[str] = frozenset()

    def allows(self, url: URL) -> bool:
        host = (url.host_subcomponent or "").lower()
        return host in self.allowed_hosts or f"{host}:{url.port}" in self.allowed_hosts


class Reach(Struct, frozen=True, kw_only=True):
    """The settings of outbound connections; each field is read from SWELL_<FIELD>.

    `ca_file` has certificates (PEM) that are trusted in addition to the system's. `http_proxy` and `https_proxy` are
    used for URLs of their scheme, unless `no_proxy` names the host or a parent domain. The variables `http_proxy` and
    `https_proxy` of the environment are ignored. Programs that a service starts get the same settings.

    `connect_timeout` limits the time to connect; `answer_timeout` the time until the headers of the response, with all
    redirects and retries; `idle_timeout` the time between two parts of a body.
    """

    ca_file: Path | None = None
    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    connect_timeout: timedelta = timedelta(seconds=10)
    answer_timeout: timedelta = timedelta(seconds=30)
    idle_timeout: timedelta = timedelta(seconds=60)

    @property
    def proxies(self) -> tuple[str, ...]:
        """The proxies that are configured."""
        return tuple(filter(None, (self.http_proxy, self.https_proxy)))

    @property
    def known_hosts(self) -> frozenset[str]:
        """The hosts (`host` or `host:port`) that the settings name: metrics name them, and no others."""
        return frozenset()

    def proxy_for(self, url: URL) -> URL | None:
        """The proxy for *url*; None for a direct connection, as always to loopback."""
        if is_loopback(url.host or ""):
            return None
        proxy = {"http": self.http_proxy, "https": self.https_proxy}.get(url.scheme)
        host = f".{url.host}".lower()
        direct = any(name == "*" or host.endswith(f".{name.lower().lstrip('.')}") for name in self.no_proxy)
        return URL(proxy) if proxy and not direct else None


DIRECT = Reach()


def name_with_port(url: URL) -> str:
    """Return `host:port`, as in `SWELL_ALLOWED_HOSTS`, also for the default port of the scheme."""
    return f"{url.host_subcomponent}:{url.port}"


def check(reach: Reach) -> None:
    """Check the proxies and timeouts of *reach*; raises `SettingsInvalid`."""
    for proxy in reach.proxies:
        if URL(proxy).scheme != "http" or not URL(proxy).host:
            raise SettingsInvalid("SWELL_HTTP_PROXY and SWELL_HTTPS_PROXY are of the form http://host:port")
    for name in ("connect_timeout", "answer_timeout", "idle_timeout"):
        if getattr(reach, name) <= timedelta():
            raise SettingsInvalid(f"SWELL_{name.upper()} must be longer than nothing")


class ClientCertificate(NamedTuple):
    """A certificate chain (PEM) and its private key, with which this server proves who it is to a backend."""

    variables: str
    certificate: Path
    key: Path


def client_certificate(prefix: str, certificate: Path | None, key: Path | None) -> ClientCertificate | None:
    """Return the certificate that *prefix*_CERTIFICATE_FILE and *prefix*_CERTIFICATE_KEY_FILE name, if they are set.

    Raises:
        SettingsInvalid: one of them is missing.
    """
    variables = f"{prefix}_CERTIFICATE_FILE and {prefix}_CERTIFICATE_KEY_FILE"
    if certificate and key:
        return ClientCertificate(variables, certificate, key)
    if certificate or key:
        raise SettingsInvalid(f"set {variables}, or none of them")
    return None


@lru_cache(16)
def trusting(ca_file: Path | None, certificate: ClientCertificate | None = None) -> ssl.SSLContext:
    """Return a TLS context that trusts the system's certificates and those in *ca_file*, and sends *certificate*.

    Equal arguments give the same context, whose files are read once: one takes about 1 MB, and 10 ms.

    Raises:
        SettingsInvalid: a file cannot be read, or the key is that of another certificate.
    """
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsInvalid(f"SWELL_CA_FILE: {ca_file} holds no certificates that can be read") from error
    if certificate:
        try:
            context.load_cert_chain(certificate.certificate, certificate.key)
        except (OSError, ssl.SSLError) as error:
            raise SettingsInvalid(f"{certificate.variables} are no certificate with its key: {error}") from error
    return context
