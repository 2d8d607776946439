"""Errors of aiohttp as errors of this project."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from yarl import URL

from swell.errors import AddressForbidden, UpstreamBroken, UpstreamFailed, UpstreamSlow


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Raise errors of connections to *url* as `UpstreamFailed` or `AddressForbidden`; messages name only the host."""
    try:
        yield
    except aiohttp.InvalidURL as error:
        raise AddressForbidden(f"{url.authority} is not an address that this server connects to") from error
    except (aiohttp.ClientConnectorDNSError, UnicodeError) as error:  # no name is spelt so
        raise UpstreamBroken(f"there is no host {url.host}") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        raise UpstreamFailed(f"{url.authority} has no trusted certificate") from error
    except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
        raise UpstreamBroken(f"the outgoing proxy cannot reach {url.authority}") from error
    except TimeoutError as error:
        raise UpstreamSlow(f"{url.authority} does not answer in time") from error
    except aiohttp.ClientConnectorError as error:
        raise UpstreamBroken(f"{url.authority} cannot be reached") from error
    except aiohttp.ClientError as error:
        raise UpstreamBroken(f"{url.authority} broke off its response, or sent an invalid one") from error


def is_unconnected(error: UpstreamFailed) -> bool:
    """Whether *error*, raised by `translated`, means that no connection was opened, so no request was sent."""
    return isinstance(error.__cause__, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
