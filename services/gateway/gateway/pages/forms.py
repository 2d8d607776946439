"""Forms: they are read with a limit, and only if a page of this server sent them; programs use the API instead."""

from typing import Any
from urllib.parse import parse_qsl

from litestar import Request

from gateway.http.bodies import read_body
from gateway.http.middleware.origin import CrossSite, is_own_page
from gateway.http.sessions import CSRF_FIELD, remember_form_token
from swell.errors import BadRequest

FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 100
PASSWORDS = frozenset({"password", "currentPassword"})


async def read_form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The fields of the form in *request*; of several with one name, the last. Only passwords keep surrounding space.

    Raises:
        CrossSite: it comes from another site.
        BadRequest: it is malformed, or has more than 100 fields.
        MediaTypeUnsupported, RequestSlow, TooLarge: see `read_body`.
    """
    if not is_own_page(request.scope["headers"]):
        raise CrossSite
    body = await read_body(request.scope, request.receive, FORM)
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise BadRequest("the form cannot be read: send at most 100 fields, in UTF-8") from error
    remember_form_token(request.scope, dict(fields).get(CSRF_FIELD))
    return {name: value if name in PASSWORDS else value.replace("\r\n", "\n").strip() for name, value in fields}
