"""The OpenAPI document: complete, correct, and readable without access to other servers."""

import json
import re
from functools import cache
from typing import Any, get_type_hints

import pytest
import yaml
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from gateway.handlers.openapi import PAGE, document_as_json, document_as_yaml
from gateway.openapi.document import make_document
from gateway.openapi.operations import OPERATIONS, Operation
from gateway.openapi.schemas import PROPERTIES, SCHEMAS
from swell.api.lenient import decode
from tests.integration.gateway.harness import Harness


def name_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def shape(path: str) -> str:
    """*path* without the names and types of its parameters, nor of metrics."""
    path = re.sub(r"{[^}]*}", "{}", path)
    return re.sub(r"(/metrics)/.*", r"\1/{}", path)


NO_API = ("/auth/", "/v2", "/openapi", "/view", "/assets")  # the registry, this document, and the pages

FORMS = ("/", "/build", "/augment")


@cache
def routes() -> dict[tuple[str, str], HTTPRouteHandler]:
    """The handlers of the application, by method and the shape of their path."""
    app = Harness().app("http://localhost")
    while not isinstance(app, Litestar):
        app = app._app
    found = {}
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            for method in handler.http_methods - {"OPTIONS"}:
                found[method.lower(), shape(route.path)] = handler
    return found


def test_every_route_is_documented_and_every_operation_has_a_route() -> None:
    """The document and the application cannot differ."""
    documented = {(each.method, shape(each.path)) for each in OPERATIONS}

    there = {(method, path) for method, path in routes() if not path.startswith(NO_API) and path not in FORMS}
    assert documented == there


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.media_type == "application/json"], ids=name_of
)
def test_an_operation_answers_what_its_handler_returns(operation: Operation) -> None:
    """The type in the document is the handler's own."""
    handler = routes()[operation.method, shape(operation.path)]
    returned = get_type_hints(handler.fn)["return"]

    assert operation.answer in {returned, *getattr(returned, "__args__", ()), None}


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.body], ids=name_of)
def test_every_body_has_examples_that_can_be_read(operation: Operation) -> None:
    """None of them has a member that the type does not know."""
    assert operation.examples
    for body in operation.examples.values():
        read: Any = decode(json.dumps(body).encode(), operation.body)
        names = {field for field in type(read).__struct_encode_fields__ if field in body}
        assert names == set(body)


def test_every_reference_leads_somewhere() -> None:
    """All schemas are in the document, and all are used."""
    document = make_document()

    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))

    assert references == set(document["components"]["schemas"])


def test_the_document_is_the_same_in_both_forms() -> None:
    """JSON and YAML have one source."""
    assert yaml.load(document_as_yaml(), yaml.CSafeLoader) == json.loads(document_as_json())


def test_every_operation_has_an_id_of_its_own() -> None:
    """Generators of clients use the ids as names."""
    ids = [each["operationId"] for path in make_document()["paths"].values() for each in path.values()]

    assert len(ids) == len(set(ids)) == len(OPERATIONS)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """A cluster without the internet can read it."""
    links = re.findall(r'(?:href|src)="([^"]*)"', PAGE)

    assert links
    assert not [link for link in links if "//" in link or link.startswith("/")]


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.body], ids=name_of)
def test_every_body_must_be_said_to_be_json(operation: Operation) -> None:
    """Other types get 415, and the document says so."""
    operation_object = make_document()["paths"][operation.path][operation.method]

    assert (operation_object["requestBody"]["content"].keys(), "415" in operation_object["responses"]) == (
        {"application/json"},
        True,
    )


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_every_operation_and_parameter_is_described(operation: Operation) -> None:
    """A reader of the document needs no other page to call an operation."""
    described = make_document()["paths"][operation.path][operation.method]

    assert described["summary"]
    assert described["description"].endswith(".")
    for parameter in described.get("parameters", ()):
        assert parameter["description"].endswith(".")
    for response in described["responses"].values():
        assert response["description"]


def test_every_schema_and_property_is_described() -> None:
    """Each description says what the value is, with its unit and limit where it has one."""
    schemas = make_document()["components"]["schemas"]

    assert {name: schema["description"] for name, schema in schemas.items()} == SCHEMAS
    for name, schema in schemas.items():
        described = {member: fields["description"] for member, fields in schema.get("properties", {}).items()}
        assert described == PROPERTIES.get(name, {})
        assert all(text.endswith(".") for text in described.values())


def test_descriptions_are_plain_text_without_names_of_python() -> None:
    """Clients read JSON: a description names members as they are there."""
    texts = [*SCHEMAS.values(), *(text for members in PROPERTIES.values() for text in members.values())]

    assert not [text for text in texts if re.search(r"`[a-z]+_(?!64)[a-z]+`|swell\.|None", text)]
