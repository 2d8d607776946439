"""The error tree: every class says what happened, who can correct it, and how."""

import ast
import inspect

import pytest

from swell import errors
from swell.errors import Side, SwellError, Unavailable, every_class

# Source: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
# UNKNOWN is in older editions.
OCI_CODES = {
    *("BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"),
    *("MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED"),
    *("DENIED", "UNSUPPORTED", "TOOMANYREQUESTS", "UNKNOWN"),
}
OUR_CODES = {
    *(
        "BAD_REQUEST",
        "NOT_FOUND",
        "POLICY_DENIED",
        "ADDRESS_FORBIDDEN",
        "ENDPOINT_UNPAIRED",
        "PLATFORM_FAILED",
        "SESSION_EXPIRED",
        "SIGN_IN_FAILED",
        "UPSTREAM_FAILED",
        "TIMEOUT",
        "UNAVAILABLE",
    ),
    *("CONFLICT", "FORBIDDEN", "RANGE_INVALID", "SCOPE_REQUIRED"),
}
CLASSES = [cls for cls in every_class() if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_a_sentence_with_advice(cls: type[SwellError]) -> None:
    """Both are shown to people who never saw this code; advice that adds nothing to the message is left out."""
    for sentence in filter(None, (str(cls()), cls.advice)):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "\n" not in sentence


@pytest.mark.parametrize("cls", CLASSES)
def test_a_status_says_whose_turn_it_is(cls: type[SwellError]) -> None:
    """4xx: the client's, and trying again changes nothing; 5xx: ours or the upstream's."""
    assert 400 <= cls.status <= 599
    assert (cls.status < 500) == (cls.side is Side.CLIENT)


@pytest.mark.parametrize("cls", CLASSES)
def test_codes_are_those_of_the_specification_or_described_here(cls: type[SwellError]) -> None:
    """Clients switch on the code."""
    assert cls.code in OCI_CODES | OUR_CODES


def test_every_class_of_the_module_is_in_the_tree_once() -> None:
    """An edge that did not know a class would turn it into UNKNOWN."""
    written = ast.parse(inspect.getsource(errors)).body
    names = {node.name for node in written if isinstance(node, ast.ClassDef)} - {"Side"}

    assert {cls.__name__ for cls in CLASSES} == names
    assert len(every_class()) == len(set(every_class()))
    assert every_class()[0] is SwellError


def test_a_message_replaces_the_summary() -> None:
    """The summary is for errors without details."""
    assert str(errors.ManifestUnknown("there is no tag 1")) == "there is no tag 1"
    assert str(errors.ManifestUnknown()) == errors.ManifestUnknown.summary()


def test_who_is_unavailable_says_when_to_come_back() -> None:
    """Clients that know Retry-After wait that long; the others wait as they like."""
    assert Unavailable().retry_after == 2
    assert Unavailable(retry_after=10).retry_after == 10
    assert SwellError().retry_after is None
