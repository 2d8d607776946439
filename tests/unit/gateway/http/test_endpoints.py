"""Paths, queries and conditions of `/v2`: each input has exactly one meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.endpoints import NoCatalog, Path, filter_referrers, matches, page, parse_path, parse_query
from swell.errors import NameInvalid
from swell.oci.digest import digest_of
from swell.oci.reference import is_repository

TOKEN = "abcdefghijklmnopqrstuvwxyz"
DIGEST = digest_of(b"a manifest")

components = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*", fullmatch=True) | st.sampled_from(
    ["manifests", "blobs", "tags", "list", "referrers", "v2", "wt", "r"]
)
names = st.lists(components, min_size=1, max_size=8).map("/".join).filter(lambda name: len(name) <= 255)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
references = st.one_of(tags, st.binary().map(digest_of))


@given(name=names, kind=st.sampled_from(["manifests", "blobs", "referrers"]), reference=references)
def test_every_name_of_the_grammar_is_read(name: str, kind: str, reference: str) -> None:
    """Of any depth, with one letter a component, and with components that are called as the API's own words are."""
    assert parse_path(f"/v2/wt/{TOKEN}/{name}/{kind}/{reference}") == Path(TOKEN, name, kind, reference)
    assert parse_path(f"/v2/wt/{TOKEN}/{name}/tags/list") == Path(TOKEN, name, "tags", "list")


@given(name=names, reference=references)
def test_a_path_may_be_percent_encoded(name: str, reference: str) -> None:
    """Some clients write the colon of a digest so."""
    plain = f"/v2/wt/{TOKEN}/{name}/manifests/{reference}"

    assert parse_path(plain.replace(":", "%3A").replace("a", "%61")) == parse_path(plain)


@given(st.one_of(st.text(), st.text("/v2wtmanifesblogrc._-%:A1").map("/v2/".__add__)))
def test_any_other_text_names_no_image(text: str) -> None:
    """It is refused in the registry's words and is not repeated: there may be a token in it."""
    try:
        path = parse_path(text)
    except NoCatalog:
        assert text == "/v2/_catalog"
    except NameInvalid as error:
        assert len(text) < 12 or text not in str(error)
    else:
        assert is_repository(path.name)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v2/wt",
        "/v2/wt//manifests/x",
        "/v2/wt/t/n/manifest/x",
        "/v3/wt/t/n/blobs/x",
        "v2/wt/t/n/blobs/x",
        "/v2/wt/t/N/manifests/x",
        "/v2/wt/t/n/../m/manifests/x",
        "/v2/wt/t/n//m/manifests/x",
        "/v2/wt/t/n/tags/other",
        "/v2/wt/t/n/tags",
        "/v2/wt/t/n/blobs/uploads/",
        "/v2/wt/t/" + 2000 * "n" + "/manifests/x",
    ],
)
def test_paths_beside_the_grammar_name_no_image(path: str) -> None:
    """Each malformed path gets an error of the distribution-spec."""
    with pytest.raises(NameInvalid):
        parse_path(path)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (f'"{DIGEST}"', True),
        (f'W/"{DIGEST}"', True),
        (f'"a", W/"b,c", "{DIGEST}"', True),
        ("*", True),
        (" * ", True),
        ("", False),
        ('"a"', False),
        (DIGEST, False),
        (f'"x{DIGEST}"', False),
        (f'"{DIGEST}', False),
    ],
)
def test_a_condition_names_what_a_client_has(condition: str, expected: bool) -> None:
    """The forms of RFC 9110: a list, weak tags and `*`."""
    assert matches(condition, DIGEST) is expected


@given(st.text())
def test_any_condition_is_an_answer(text: str) -> None:
    """A malformed condition costs at most the whole manifest."""
    assert matches(text, DIGEST) is (text.strip() == "*" or f'"{DIGEST}"' in text)


@given(st.binary())
def test_any_query_is_read(query: bytes) -> None:
    """What we do not understand is ignored."""
    listed = page(["22.04"], parse_query(query))

    assert listed in (["22.04"], [])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", ["a", "b"]),
        (b"n=1", ["a"]),
        (b"n=0", []),
        (b"n=9", ["a", "b"]),
        (b"n=-1", ["a", "b"]),
        (b"n=" + 99 * b"9", ["a", "b"]),
        (b"n=one&n=1", ["a", "b"]),
        (b"last=a", ["b"]),
        (b"last=a&n=1", ["b"]),
        (b"last=b", []),
        (b"last=", ["a", "b"]),
        (b"page=2&=&&%", ["a", "b"]),
    ],
)
def test_a_list_of_tags_comes_in_pages(query: bytes, expected: list[str]) -> None:
    """The parameters `n` and `last` of the distribution-spec."""
    assert page(["a", "b"], parse_query(query)) == expected


def test_referrers_are_sorted_out_by_their_type() -> None:
    """The rest of the index, annotations too, stays as it came."""
    content = b'{"schemaVersion":2,"manifests":[{"artifactType":"a","x":1},{"artifactType":"b"},{}],"annotations":{}}'

    assert (
        filter_referrers(content, "a")
        == b'{"schemaVersion":2,"manifests":[{"artifactType":"a","x":1}],"annotations":{}}'
    )
