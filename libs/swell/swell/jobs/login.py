"""Who connects to NATS, to which servers, and how it trusts them.

Source: NATS documentation, "Connecting", https://docs.nats.io/using-nats/developer/connecting
"""

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from nats.aio.client import Client
from nats.errors import Error as NatsError

from swell.jobs.settings import NatsSettings
from swell.net.reach import client_certificate, trusting
from swell.settings import SettingsInvalid

_SCHEMES = frozenset({"nats", "tls"})


def options_of(settings: NatsSettings, ca_file: Path | None) -> dict[str, Any]:
    """Return the arguments of `Client.connect` for *settings*: servers, login and TLS.

    Raises:
        SettingsInvalid: a server is no URL, there are several logins, or a file cannot be read.
    """
    servers = [_parse(each.strip()) for each in settings.url.split(",")]
    options: dict[str, Any] = {"servers": [f"{each.scheme}://{each.netloc.rpartition('@')[2]}" for each in servers]}
    logins = [_login(*each) for each in sorted({(each.username or "", each.password) for each in servers}) if each[0]]
    if settings.credentials_file:
        logins.append({"user_credentials": _readable("SWELL_NATS_CREDENTIALS_FILE", settings.credentials_file)})
    if settings.nkey_seed_file:
        logins.append({"nkeys_seed": _readable("SWELL_NATS_NKEY_SEED_FILE", settings.nkey_seed_file)})
    if len(logins) > 1:
        raise SettingsInvalid(
            "NATS needs one login: the same user in all URLs of SWELL_NATS_URL, SWELL_NATS_CREDENTIALS_FILE, or "
            "SWELL_NATS_NKEY_SEED_FILE"
        )
    for login in logins:
        options |= login
    certificate = client_certificate("SWELL_NATS", settings.certificate_file, settings.certificate_key_file)
    if ca_file or certificate:  # otherwise the client makes a context if the server needs one
        options["tls"] = trusting(ca_file, certificate)
    return options


def _parse(text: str) -> SplitResult:
    try:
        parts = urlsplit(text if "://" in text else f"nats://{text}")
        is_valid = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_valid = False
    if not is_valid:  # the text may have a password
        raise SettingsInvalid("SWELL_NATS_URL: each server is nats://host:port or tls://host:port")
    return parts


def _login(user: str, password: str | None) -> dict[str, str]:
    """The login of a URL; a user without a password is a token."""
    if password is None:
        return {"token": unquote(user)}
    return {"user": unquote(user), "password": unquote(password)}


def _readable(variable: str, path: Path) -> str:
    try:
        path.read_bytes()
    except OSError as error:
        raise SettingsInvalid(f"{variable}: {path} cannot be read: {error.strerror}") from error
    return str(path)


class SecureClient(Client):
    """Sends nothing to a server without TLS if its URL is `tls://`; the library would send the login."""

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        server = self._current_server
        if initial_connection and server and server.uri.scheme == "tls" and not info.get("tls_required"):
            raise NatsError(f"nats: {server.uri.hostname} has no TLS")
        await super()._process_info(info, initial_connection)
