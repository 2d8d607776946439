"""Media types that registries send, before they are in our headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.oci.media_types import OCI_INDEX, OCI_LAYER, served_as


@pytest.mark.parametrize("media_type", [OCI_INDEX, OCI_LAYER, "application/vnd.docker.container.image.v1+json", "a/b"])
def test_a_valid_media_type_does_not_change(media_type: str) -> None:
    """Clients select the decoder of a blob by it."""
    assert served_as(media_type) == media_type


@given(st.text() | st.text("application/\r\n: ;ä", min_size=1))
def test_nothing_else_gets_into_a_header(text: str) -> None:
    """A line feed would begin another header, and a letter that is not ASCII would break the answer."""
    served = served_as(text)

    assert served.isascii() and served.isprintable() and " " not in served
    assert served in {text, "application/octet-stream"}


@pytest.mark.parametrize("text", ["", "a", "/", "a/b; charset=c", "a/b\n", "a/" + 128 * "b"])
def test_an_invalid_media_type_becomes_octet_stream(text: str) -> None:
    """The text is a header field of a response, so a registry must not inject anything with it."""
    assert served_as(text) == "application/octet-stream"
