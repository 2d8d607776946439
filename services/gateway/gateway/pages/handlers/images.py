"""`/view/inspect`: the page of an image."""

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.domain.access.identity import Scope
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.inspect import Inspector
from gateway.pages.images import MOST_ROWS, base_of, kind_of, layer_rows, platform_rows, pretty
from gateway.pages.rendering import MOST_TEXT, page
from swell.api.inspect import Inspection, InspectRequest
from swell.errors import SwellError
from swell.oci.reference import parse_reference


@get("/view/inspect")
async def inspect_page(
    request: HttpRequest,
    inspector: NamedDependency[Inspector],
    callers: NamedDependency[Callers],
    image: FromQuery[str] = "",
    platform: FromQuery[str] = "",
) -> Response[str]:
    """The form; with an *image*, its index or the image for *platform*. An error is shown above the form."""
    if not image.strip():
        return _show(image, platform)
    try:
        caller = await callers.identify(request.scope)
        caller.identity.require(Scope.INSPECT)
        body = InspectRequest(container_image=image.strip())
        inspection = await inspector.image(body, platform.strip() or None, caller, referrers=True)
    except SwellError as error:
        return _show(image, platform, problem=error)
    return _show(image, platform, inspection=inspection)


def _show(
    image: str, platform: str, *, inspection: Inspection | None = None, problem: SwellError | None = None
) -> Response[str]:
    container, index = (inspection.container, inspection.index) if inspection else (None, None)
    return page(
        "image.html",
        status=problem.status if problem else 200,
        here="/view/inspect",
        image=image,
        platform=platform,
        problem=problem,
        container=container,
        index=index,
        rows=layer_rows(container) if container else (),
        base=base_of(container) if container else ("", ""),
        platforms=list(platform_rows(index)) if index else (),
        referrers=inspection.referrers if inspection else None,
        kind_of=kind_of,
        repository=parse_reference(image.strip()).name if index else "",
        most_rows=MOST_ROWS,
        most_text=MOST_TEXT,
        pretty=pretty,
    )
