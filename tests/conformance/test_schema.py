"""Schemathesis sends requests that the OpenAPI document allows, and some that it does not allow."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.openapi.document import make_document
from gateway.openapi.examples import IMAGE
from tests.integration.gateway.harness import Harness

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
BOUNDED = settings(
    max_examples=25,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

harness = Harness()
harness.registry.push(IMAGE)
schema = schemathesis.openapi.from_dict(make_document())
schema.app = harness.app("http://localhost:9090")


@schema.parametrize()
@BOUNDED
def test_every_response_matches_the_document(case: "schemathesis.Case[Any]") -> None:
    """No response is an internal error: 501 to 503 name an unsupported or unavailable part."""
    case.call_and_validate(checks=CHECKS)
