"""`/openapi/`: the OpenAPI document of this API, and a page to read it and to try it; no other server is needed."""

from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec
import yaml
from litestar import Controller, Response, get
from litestar.params import FromPath
from litestar.response import File, Redirect

from gateway.http.bodies import HttpRequest
from gateway.openapi.document import make_document
from swell.errors import NotFound

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Swell</title>
<link rel="stylesheet" href="assets/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="assets/swagger-ui-bundle.js"></script>
<script src="page.js"></script>
</body>
</html>
"""
SCRIPT = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null});\n'
_CONTENT_POLICY = {  # the images are icons inside the style sheet
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
}


_SWAGGER_UI = Path(str(files("mkdocs_swagger_ui_tag"))) / "swagger-ui"
_ASSETS = {
    "swagger-ui.css": (_SWAGGER_UI / "stylesheets/swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": (_SWAGGER_UI / "javascripts/swagger-ui-bundle.js", "text/javascript"),
}


class OpenApiController(Controller):
    path = "/openapi"

    @get(media_type="text/html")
    async def page(self, request: HttpRequest) -> Response[str] | Redirect:
        """The page. Its links are relative, so it works behind any prefix; they need the slash at the end."""
        if not request.scope["raw_path"].endswith(b"/"):
            return Redirect("openapi/", status_code=307)
        return Response(PAGE, headers=_CONTENT_POLICY)

    @get("/page.js", media_type="text/javascript")
    async def script(self) -> str:
        return SCRIPT

    @get("/openapi.json", media_type="application/json")
    async def json(self) -> bytes:
        return document_as_json()

    @get("/openapi.yaml", media_type="application/yaml")
    async def yaml(self) -> bytes:
        return document_as_yaml()

    @get("/assets/{name:str}")
    async def asset(self, name: FromPath[str]) -> File:
        """A file of Swagger UI, from its package; no other file is served."""
        if name not in _ASSETS:
            raise NotFound("the page has no such part")
        path, media_type = _ASSETS[name]
        return File(path, media_type=media_type, content_disposition_type="inline")


@cache
def document_as_json() -> bytes:
    return msgspec.json.encode(make_document())


@cache
def document_as_yaml() -> bytes:
    return yaml.safe_dump(make_document(), sort_keys=False, allow_unicode=True).encode()
