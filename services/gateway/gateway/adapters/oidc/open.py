"""The issuers in the operator's file, and the connections to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from yarl import URL

from gateway.adapters.oidc.provider import Provider
from gateway.domain.access.issuers import Issuer, parse_issuers
from gateway.settings import Settings
from swell.net.outbound import Policy, name_with_port, open_session
from swell.settings import MAX_FILE, SettingsInvalid


@asynccontextmanager
async def open_providers(settings: Settings) -> AsyncIterator[tuple[Provider, ...]]:
    """Yield the providers in the file of the issuers, which is read once; no request is sent yet.

    The operator names the hosts of the issuers, so these may have private addresses. Other addresses that a document
    of an issuer names must be public.

    Raises:
        SettingsInvalid: the file cannot be read, or is not valid.
    """
    if settings.oidc_issuers_file is None:
        yield ()
        return
    issuers = _read(settings)
    hosts = frozenset(name_with_port(URL(issuer.url)) for issuer in issuers)
    async with open_session(Policy(hosts), settings) as session:
        yield tuple(Provider(session, issuer) for issuer in issuers)


def _read(settings: Settings) -> tuple[Issuer, ...]:
    path = settings.oidc_issuers_file
    try:
        content = path.read_bytes() if path else b""
        if len(content) > MAX_FILE:
            raise ValueError(f"it has more than {MAX_FILE >> 10} KiB")
        return parse_issuers(content)
    except (OSError, ValueError) as error:
        raise SettingsInvalid(f"SWELL_OIDC_ISSUERS_FILE: {path} cannot be read: {error}") from error
