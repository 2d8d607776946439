"""Which site a browser's request comes from.

A browser lets every site send forms to this server, with the name and the password that its user has typed here before.
It says in `Sec-Fetch-Site` and `Origin` where a request comes from; other programs send neither.

Source: OWASP, "Cross-Site Request Forgery Prevention Cheat Sheet",
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from swell.errors import Side, SwellError

Fields = Iterable[tuple[bytes, bytes]]


class CrossSite(SwellError):
    """The request was not sent by a page of this server."""

    code, status, side = "FORBIDDEN", 403, Side.CLIENT
    advice = "Open the page of this server and send the form again."


def is_own_page(fields: Fields) -> bool | None:
    """Whether a page of this server sent the request with the header *fields*; None if they do not say it."""
    values = {
        name: value.decode("latin-1") for name, value in fields if name in {b"sec-fetch-site", b"origin", b"host"}
    }
    if (site := values.get(b"sec-fetch-site")) is not None:
        return site == "same-origin"
    if (origin := values.get(b"origin")) is None:
        return None
    return urlsplit(origin).netloc.lower() == values.get(b"host", "").lower() != ""
