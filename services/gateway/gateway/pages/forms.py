"""Forms: they are read with a limit, and only if a page of this server sent them.

A browser lets every site send forms to this server, from the address of its user. It says in `Origin` and in
`Sec-Fetch-Site` where the form comes from; programs use the API instead, which takes JSON only.

Source: OWASP, "Cross-Site Request Forgery Prevention Cheat Sheet",
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from litestar import Request

from gateway.http.bodies import read_body
from swell.errors import BadRequest, Side, SwellError

FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 100


class CrossSite(SwellError):
    """The form was not sent by a page of this server."""

    code, status, side = "FORBIDDEN", 403, Side.CLIENT
    advice = "Open the page of this server and send the form again."


async def read_form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The fields of the form in *request*, without surrounding space; of several with one name, the last.

    Raises:
        CrossSite: it comes from another site.
        BadRequest: it is malformed, or has more than 100 fields.
        MediaTypeUnsupported, RequestSlow, TooLarge: see `read_body`.
    """
    check_origin(request.headers)
    body = await read_body(request, FORM)
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise BadRequest("the form cannot be read: send at most 100 fields, in UTF-8") from error
    return {name: value.replace("\r\n", "\n").strip() for name, value in fields}


def check_origin(headers: Mapping[str, str]) -> None:
    """Raise `CrossSite` unless *headers* say that a page of this server sent the request."""
    site = headers.get("sec-fetch-site")
    is_own = urlsplit(headers.get("origin", "")).netloc.lower() == headers.get("host", "").lower() != ""
    if not (site == "same-origin" if site is not None else is_own):
        raise CrossSite
