"""Checks of the server: its address, version, clock, certificate, and the key for it."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

from swell_cli.config import Server
from swell_cli.doctor.finding import Finding, failed, ok, skipped, warning
from swell_client import Client, RequestFailed, SwellClientError
from swell_client.body import Answer

_CLOCK_LIMIT = 60.0
_CERTIFICATE_DAYS = 14
_TIMEOUT = 10.0


def check_server(client: Client, server: Server) -> Iterator[Finding]:
    """The first finding that has failed ends the checks that need the server."""
    try:
        answer = client.http.send("GET", "/service-info")
        info = client.service_info()
    except RequestFailed as error:
        advice = error.details.next or "Check the address: another program answers there."
        yield failed("server", f"{server.url.value} ({server.url.origin}) answers with {error.status}", advice)
        return
    except SwellClientError as error:
        advice = f"Check the address ({server.url.origin}), and that the server runs; 'make up' starts one here."
        yield failed("server", str(error), advice)
        return
    yield ok("server", f"{server.url.value} ({server.url.origin})")
    yield _version(info)
    yield _clock(answer)
    yield _certificate(server.url.value)
    yield _health(client)
    yield _key(client, server)


def _version(info: dict[str, str]) -> Finding:
    if not (version := info.get("swellVersion")):
        return warning(
            "version", f"Wave's API {info.get('version')}, not Swell", "Progress and logs need a Swell server."
        )
    return ok("version", f"Swell {version}, Wave's API {info.get('version')}")


def _clock(answer: Answer) -> Finding:
    """Tokens and signatures have times, so a wrong clock makes them expire early or late."""
    header = answer.headers.get("date", "")
    try:
        there = parsedate_to_datetime(header)
    except ValueError:
        return skipped("clock", "the server does not send its time")
    apart = abs((there - datetime.now(UTC)).total_seconds())
    if apart > _CLOCK_LIMIT:
        return warning(
            "clock", f"{apart:.0f} s apart from the server", "Synchronize the clock of this machine or of the server."
        )
    return ok("clock", "the same as the server's")


def _certificate(url: str) -> Finding:
    import socket  # noqa: PLC0415 - for addresses with https only

    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        if is_local(host):
            return ok("tls", "not needed on this machine")
        advice = "Serve it with https, or add it to the insecure registries of your container engine."
        return warning("tls", "plain http: keys and images are not encrypted, and engines refuse to pull", advice)
    try:
        with (
            socket.create_connection((host, parts.port or 443), timeout=_TIMEOUT) as plain,
            ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secure,
        ):
            ends = str((secure.getpeercert() or {}).get("notAfter", ""))
    except (OSError, ssl.SSLError) as error:
        return failed(
            "tls", f"the certificate cannot be verified: {error}", "Add its CA to the system, or set SSL_CERT_FILE."
        )
    days = (ssl.cert_time_to_seconds(ends) - datetime.now(UTC).timestamp()) / 86400
    if days < _CERTIFICATE_DAYS:
        return warning("tls", f"the certificate expires in {days:.0f} days", "Ask the operator to renew it.")
    return ok("tls", f"valid for {days:.0f} days")


def _health(client: Client) -> Finding:
    from msgspec import json  # noqa: PLC0415

    try:
        health = json.decode(client.http.send("GET", "/health").body, type=dict[str, object])
    except (SwellClientError, ValueError) as error:
        return failed("health", f"the server does not work: {error}", "Ask the operator; a part of the server is down.")
    engine = health.get("engine")
    if not engine:
        return warning(
            "health", "up, without an engine for container files", "Builds of container files wait for a builder."
        )
    return ok("health", f"up, {engine}")


def _key(client: Client, server: Server) -> Finding:
    if not server.token.value:
        return skipped("key", "none", "Limits are lower without a key, and nothing can be pushed: 'swell login'.")
    try:
        client.build("FROM scratch\n", dry_run=True)
    except RequestFailed as error:
        if error.status in (401, 403):
            advice = "Ask the operator for another one, and store it with 'swell login'."
            return failed("key", f"refused: {error} (from {server.token.origin})", advice)
        return warning("key", f"not checked: {error}", error.details.next)
    except SwellClientError as error:
        return warning("key", f"not checked: {error}", "Try again.")
    return ok("key", f"accepted (from {server.token.origin})")


def is_local(host: str) -> bool:
    """Whether *host* is this machine, for which engines accept plain http."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
