"""Reading requests: as tolerant as Wave's server, and never surprised."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.api.containers import CompressionMode, ContainerRequest, NameStrategy, Severity
from swell.api.lenient import MAX_VALUES, decode
from swell.errors import BadRequest

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
members = [field.encode_name for field in msgspec.structs.fields(ContainerRequest)]


def read(**fields: object) -> ContainerRequest:
    return decode(json.dumps(fields).encode(), ContainerRequest)


def test_null_is_the_same_as_absent() -> None:
    """nf-wave sends all its keys, mostly null; the command line leaves them out (B1, B2)."""
    nulls = dict.fromkeys(members)

    assert read(**nulls) == read() == ContainerRequest()


def test_unknown_members_are_ignored() -> None:
    """B9; a newer client says more than we understand."""
    assert read(containerImage="a", new={"x": 1}, containerConfig={"cmd": ["x"], "also": 7}).container_image == "a"


@pytest.mark.parametrize(
    ("fields", "member", "expected"),
    [
        ({"containerIncludes": "a"}, "container_includes", ("a",)),
        ({"containerImage": ["a"]}, "container_image", "a"),
        ({"containerImage": 5}, "container_image", "5"),
        ({"containerImage": True}, "container_image", "true"),
        ({"towerWorkspaceId": "12"}, "tower_workspace_id", 12),
        ({"towerWorkspaceId": 12345678901}, "tower_workspace_id", 12345678901),
        ({"towerWorkspaceId": 1.5}, "tower_workspace_id", 1),
        ({"towerWorkspaceId": ""}, "tower_workspace_id", None),
        ({"freeze": "true"}, "freeze", True),
        ({"freeze": 1}, "freeze", True),
        ({"freeze": None}, "freeze", False),
        ({"nameStrategy": 1}, "name_strategy", NameStrategy.TAG_PREFIX),
        ({"nameStrategy": [2]}, "name_strategy", NameStrategy.IMAGE_SUFFIX),
        ({"scanLevels": [0, "HIGH"]}, "scan_levels", (Severity.LOW, Severity.HIGH)),
    ],
)
def test_values_of_other_json_types_are_accepted(fields: dict[str, object], member: str, expected: object) -> None:
    """Wave's decoder accepts them, so clients may send them."""
    assert getattr(read(**fields), member) == expected


def test_null_among_the_items_of_a_list_is_absent() -> None:
    """Programs that make JSON of optional values send it."""
    request = read(packages={"type": "CONDA", "entries": [None, "a", None], "channels": [None]})

    assert request.packages is not None
    assert (request.packages.entries, request.packages.channels) == (("a",), ())


def test_a_null_switches_off_what_is_on_by_default() -> None:
    """`basePackages: null` means none, while leaving it out means the usual ones."""
    off = read(packages={"type": "CONDA", "condaOpts": {"basePackages": None}}).packages
    usual = read(packages={"type": "CONDA", "condaOpts": {}}).packages

    assert off and usual and off.conda_opts and usual.conda_opts
    assert (off.conda_opts.base_packages, usual.conda_opts.base_packages) == (None, "conda-forge::procps-ng")


def test_compression_may_have_its_mode_only() -> None:
    """B20."""
    compression = read(buildCompression={"mode": "zstd", "level": None, "force": None}).build_compression

    assert compression
    assert (compression.mode, compression.level, compression.force) == (CompressionMode.ZSTD, None, None)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"packages":{"type":"conda"}}', r"\$\.packages\.type`; choose one of CONDA, CRAN$"),
        (b'{"packages":{"type":2}}', r"\$\.packages\.type`; choose one of CONDA, CRAN$"),
        (b'{"scanLevels":["LOW","low"]}', r"\$\.scanLevels\[1\]`; choose one of LOW, MEDIUM, HIGH, CRITICAL$"),
        (b'{"towerWorkspaceId":9223372036854775808}', r"\$\.towerWorkspaceId"),
        (b'{"containerConfig":{"env":[{}]}}', r"\$\.containerConfig\.env"),
        (b'{"containerConfig":{"layers":[{"gzipSize":1}]}}', r"location.*\$\.containerConfig\.layers"),
        (b'{"freeze":"perhaps"}', r"\$\.freeze"),
        (b'{"containerImage":"a",}', "byte"),
        (b"", "null"),
        (b"[]", "object"),
        (b'{"containerImage":"\xff"}', "UTF-8|utf-8"),
    ],
)
def test_an_invalid_body_is_refused_with_the_place_of_the_error(body: bytes, place: str) -> None:
    """A client finds the member that it has to correct."""
    with pytest.raises(BadRequest, match=place):
        decode(body, ContainerRequest)


@pytest.mark.parametrize("value", ["x" * 1_000_000, "'\"" * 1000, "` - at `$.packages.type`\n" * 1000])
def test_a_long_value_is_not_repeated(value: str) -> None:
    """A long value is neither in the response nor in the log."""
    with pytest.raises(
        BadRequest, match=r"- at `\$\.nameStrategy`; choose one of none, tagPrefix, imageSuffix$"
    ) as caught:
        read(nameStrategy=value)

    assert len(str(caught.value)) < 400


@given(st.dictionaries(st.sampled_from(members), json_values))
def test_any_json_is_read_or_refused(fields: dict[str, object]) -> None:
    """A member may hold any value; there is no third result."""
    body = json.dumps(fields, allow_nan=False, default=str) if _is_finite(fields) else "null"
    try:
        decode(body.encode("utf-8", "surrogatepass"), ContainerRequest)
    except BadRequest as error:
        assert str(error)


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """No body causes another exception, which would be an internal error."""
    try:
        decode(body, ContainerRequest)
    except BadRequest as error:
        assert str(error)


def _is_finite(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("value", [b"[]", b"{}", b"999", b'{"location":"data:"}'])
def test_a_body_of_very_many_values_is_refused_unread(value: bytes) -> None:
    """24 MiB of empty lists took 1.3 GB and stopped the gateway for seconds, although no member was a known one."""
    body = b'{"x":[' + value + (b"," + value) * MAX_VALUES + b"]}"

    with pytest.raises(BadRequest, match="more than 100000 values"):
        decode(body, ContainerRequest)


def test_a_large_text_is_one_value() -> None:
    """Layers and build contexts are base64, which has no commas and brackets."""
    assert len(decode(b'{"containerFile":"' + b"QUJD" * MAX_VALUES + b'"}', ContainerRequest).container_file or "") > 0
