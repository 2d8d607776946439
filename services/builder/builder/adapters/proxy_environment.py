"""The proxy and the certificates of the settings, as environment variables and files for programs in a sandbox.

Source: Go, net/http, ProxyFromEnvironment, https://pkg.go.dev/net/http#ProxyFromEnvironment
Source: Go, crypto/x509, SystemCertPool (SSL_CERT_FILE adds to the system's directories),
https://pkg.go.dev/crypto/x509#SystemCertPool
Source: curl(1), Environment, https://curl.se/docs/manpage.html
"""

from builder.domain.failure import BuildFailure
from builder.settings import EngineSettings
from swell.log import log
from swell.store.records import Reason
from swell_sandbox import SCRATCH

_CA_FILE = "ca.pem"


def variables(settings: EngineSettings) -> dict[str, str]:
    """Return the environment variables of a command in a sandbox: proxies and certificates.

    `no_proxy` includes the denied networks, because the proxy may be able to reach them.
    """
    trusted = {"SSL_CERT_FILE": f"{SCRATCH}/{_CA_FILE}"} if settings.ca_file else {}
    return trusted | proxies_of(settings)


def proxies_of(settings: EngineSettings) -> dict[str, str]:
    """Return the environment variables of the proxies; see `variables`."""
    proxies = {"http_proxy": settings.http_proxy, "https_proxy": settings.https_proxy}
    if not any(proxies.values()):
        return {}
    direct = ",".join([*(name.lstrip(".") for name in settings.no_proxy), *settings.denied_networks])
    variables = {name: value for name, value in {**proxies, "no_proxy": direct}.items() if value}
    return variables | {name.upper(): value for name, value in variables.items()}


def files(settings: EngineSettings) -> dict[str, str]:
    """Return the files of a sandbox that `variables` refers to, by name.

    Raises:
        BuildFailure: the certificates cannot be read.
    """
    try:
        return {_CA_FILE: settings.ca_file.read_text()} if settings.ca_file else {}
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable_certificates(error) from error


def unreadable_certificates(error: Exception) -> BuildFailure:
    """Log *error*, which names a file of this machine, and return the failure without it."""
    log.error("certificates cannot be read", error=str(error))
    return BuildFailure(Reason.ENGINE, "The certificates of SWELL_CA_FILE cannot be read.")
