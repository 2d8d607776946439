"""The way out for other people's programs: what our settings say of it, told as they are used to.

Source: Go's net/http (ProxyFromEnvironment) and crypto/x509 (SSL_CERT_FILE stands beside the system's folders of
certificates); curl(1), "Environment".
"""

from builder.domain.failure import BuildFailure
from builder.settings import EngineSettings
from swell.store.records import Reason
from swell_sandbox import SCRATCH

_CA_FILE = "ca.pem"


def variables(settings: EngineSettings) -> dict[str, str]:
    """What a command in a sandbox must know to go the way that we go: proxies and certificates.

    A proxy is not asked for addresses that builds do not reach: it might reach them.
    """
    trusted = {"SSL_CERT_FILE": f"{SCRATCH}/{_CA_FILE}"} if settings.ca_file else {}
    proxies = {"http_proxy": settings.http_proxy, "https_proxy": settings.https_proxy}
    if not any(proxies.values()):
        return trusted
    direct = ",".join([*(name.lstrip(".") for name in settings.no_proxy), *settings.denied_networks])
    told = {name: value for name, value in {**proxies, "no_proxy": direct}.items() if value}
    return trusted | told | {name.upper(): value for name, value in told.items()}


def files(settings: EngineSettings) -> dict[str, str]:
    """The files that a sandbox must have for that.

    Raises:
        BuildFailure: the certificates cannot be read.
    """
    try:
        return {_CA_FILE: settings.ca_file.read_text()} if settings.ca_file else {}
    except (OSError, UnicodeDecodeError) as error:
        raise BuildFailure(Reason.ENGINE, f"The certificates of SWELL_CA_FILE cannot be read: {error}.") from error
