"""Schemathesis asks whatever the document allows, and some things that it does not."""

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
from tests.integration.gateway.house import House

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
BOUNDED = settings(
    max_examples=25,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

house = House()
house.registry.push(IMAGE)
schema = schemathesis.openapi.from_dict(make_document())
schema.app = house.app("http://localhost:9090")


@schema.parametrize()
@BOUNDED
def test_every_answer_is_one_that_the_document_tells(case: "schemathesis.Case[Any]") -> None:
    """And none is a failure of ours, whatever is sent: 501 to 503 tell of what is not served, or not reached."""
    case.call_and_validate(checks=CHECKS)
