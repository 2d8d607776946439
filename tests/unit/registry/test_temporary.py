"""Which failures of a registry are worth a repetition."""

import pytest

from swell.errors import (
    Denied,
    DigestMismatch,
    ManifestUnknown,
    SwellError,
    TooManyRequests,
    Unavailable,
    UpstreamBroken,
    UpstreamDown,
    UpstreamFailed,
    UpstreamSlow,
)
from swell.registry.responses import failure, is_temporary


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_registry_that_fails_may_work_later(status: int) -> None:
    """The same bytes may be accepted in a minute."""
    assert is_temporary(failure(status, {}, "'r/x:1'", ManifestUnknown))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413])
def test_a_registry_that_refuses_will_refuse_again(status: int) -> None:
    """The operator has to change something."""
    assert not is_temporary(failure(status, {}, "'r/x:1'", ManifestUnknown))


@pytest.mark.parametrize("error", [UpstreamBroken, UpstreamSlow, UpstreamDown, Unavailable, TooManyRequests])
def test_no_answer_is_temporary(error: type[SwellError]) -> None:
    """Also while the circuit breaker is open."""
    assert is_temporary(error("no answer"))


@pytest.mark.parametrize("error", [Denied, DigestMismatch, ManifestUnknown, UpstreamFailed])
def test_other_errors_are_not_temporary(error: type[SwellError]) -> None:
    """The reason is not the registry's availability."""
    assert not is_temporary(error("no"))
