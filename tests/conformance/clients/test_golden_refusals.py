"""Wave's golden examples of refused requests by their numbers, with their error bodies."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from swell_embedded.stack import Stack
from tests.e2e.client import Swell, client_of, encoded
from tests.e2e.environment import gateway_beside
from tests.e2e.raw import SUBMIT, ask, submit
from tests.e2e.upstreams import Upstreams, image_of, running

FILE = encoded("FROM a\n")
PACKAGES = {"type": "CONDA", "entries": ["jq"]}
LINKED = {"gzipDigest": "sha256:" + "0" * 64, "gzipSize": 1, "tarDigest": "sha256:" + "0" * 64}


@pytest.mark.row("T6", "B7", "B15", "B17", "B18", "B24", "B29", "B33", "B34", "B35")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"containerImage": "a", "containerFile": FILE},
        {"containerFile": FILE, "packages": {"type": "CONDA"}},
        {"condaFile": "YQ=="},
        {"containerImage": "a", "freeze": True},
        {"containerImage": "http://a"},
        {"containerFile": FILE, "format": "sif"},
        {"packages": PACKAGES, "buildTemplate": "conda/what:v1"},
        {"containerImage": "a", "containerPlatform": "linux/amd64,linux/arm64"},
        {"packages": PACKAGES, "containerPlatform": "linux/amd64,linux/arm64", "format": "sif"},
        {"containerImage": "a", "containerPlatform": "sparc"},
        {"containerImage": "a", "containerPlatform": "linux/ppc64le"},
        {"containerImage": "a", "containerPlatform": ","},
        {"packages": {"type": "CONDA", "entries": ["pip::numpy"]}},
        {"packages": {"type": "CONDA", "entries": ["https://a.test/x.yml", "jq"]}},
        {"packages": {"type": "CRAN"}},
        *(
            {"mirror": True, "containerImage": "a", "buildRepository": "r.test/a"} | each
            for each in (
                {"containerConfig": {"env": ["A=1"]}},
                {"containerIncludes": ["b"]},
                {"containerFile": FILE},
                {"freeze": True},
            )
        ),
    ],
    ids=str,
)
async def test_members_that_exclude_each_other_are_refused_e22(swell: Swell, body: dict[str, Any]) -> None:
    """The body has the side, and ids for the logs; the message itself says what to change."""
    answer = await submit(swell, **body)

    assert answer.status == 400, answer.body
    refusal = answer.json
    assert refusal["message"]
    assert (refusal["side"], "next" in refusal) == ("client", False)
    assert refusal["requestId"] == answer.headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{32}", refusal["traceId"])


@pytest.mark.parametrize("member", ["packages", "nameStrategy", "mirror"])
async def test_the_first_version_refuses_members_of_the_second_e22(swell: Swell, member: str) -> None:
    """A member without effect would give a wrong image."""
    value = {"packages": PACKAGES, "nameStrategy": "none", "mirror": True}[member]

    answer = await ask(swell, "POST", "/container-token", {"containerImage": "a", member: value})

    assert answer.status == 400


@pytest.mark.row("T18")
async def test_a_missing_image_is_refused_by_its_name_e23(swell: Swell, upstreams: Upstreams) -> None:
    """The image is missing or private: only its registry knows, and often does not say which."""
    for image in (upstreams.image("none"), image_of(upstreams.mistaken)):
        answer = await submit(swell, containerImage=image)

        assert answer.status == 400
        assert f"{image} does not exist or cannot be accessed" in answer.json["message"]


@pytest.mark.row("T17")
async def test_a_platform_that_is_not_paired_is_named_e24(swell: Swell, upstreams: Upstreams) -> None:
    """A token without an endpoint is an unknown token."""
    body = {"containerImage": upstreams.image(), "towerAccessToken": "t"}

    unpaired = await submit(swell, **body, towerEndpoint="https://tower.example")
    inspected = await ask(swell, "POST", "/v1alpha1/inspect", body | {"towerEndpoint": "https://tower.example"})
    unknown = await submit(swell, **body)

    for answer in (unpaired, inspected):
        assert (answer.status, "https://tower.example is not paired" in answer.json["message"]) == (400, True)
    assert (unknown.status, bool(unknown.json["message"])) == (401, True)


@pytest.mark.parametrize("member", ["containerFile", "packages", "containerConfig", "buildContext"])
async def test_invalid_base64_is_refused_with_the_member_e25(swell: Swell, member: str) -> None:
    """A request has several base64 members; the message names the wrong one."""
    bodies: dict[str, dict[str, Any]] = {
        "containerFile": {"containerFile": "FROM alpine"},
        "packages": {"packages": {"type": "CONDA", "environment": "dependencies: [jq]"}},
        "containerConfig": {"containerImage": "a", "containerConfig": {"layers": [{"location": "data:a b"}]}},
        "buildContext": {"containerFile": FILE, "buildContext": {"location": "data:a b"}},
    }

    answer = await submit(swell, **bodies[member])

    assert (answer.status, member in answer.json["message"], "base64" in answer.json["message"]) == (400, True, True)


@pytest.fixture
async def without_scanner(stack: Stack, tmp_path: Path) -> AsyncIterator[Swell]:
    """A gateway with a database of its own, in which no scanner is known."""
    redis = f"{stack.env['SWELL_REDIS_URL'].rpartition('/')[0]}/5"
    url, program = gateway_beside(stack, "without-scanner", REDIS_URL=redis)
    async with running(program, tmp_path), client_of(url) as client:
        yield client


async def test_an_unsupported_operation_is_501_e26(without_scanner: Swell, upstreams: Upstreams) -> None:
    """The client must see that the server lacks the function; but a scan that nothing waits for is only left out."""
    required = await submit(without_scanner, containerImage=upstreams.image(), scanMode="required")
    left_out = await submit(without_scanner, containerImage=upstreams.image(), scanMode="async")

    assert (required.status, required.json["code"]) == (501, "UNSUPPORTED")
    assert "`make scanners`" in required.json["message"]
    assert (left_out.status, left_out.json["succeeded"]) == (200, True)
    assert "`make scanners`" in left_out.json["warnings"][0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"containerImage":"a",}',
        b'{"containerImage":"\xff"}',
        b'{"containerImage":"\\ud800"}',
        b'{"packages":{"type":"conda"}}',
        b'{"containerImage":{}}',
        b'{"freeze":"perhaps"}',
        b'{"towerWorkspaceId":1e400}',
        b'{"containerConfig":' * 1000,
        b'{"containerConfig":{"env":' + b"[" * 5000 + b"]" * 5000 + b"}}",
    ],
    ids=lambda body: body[:40],
)
@pytest.mark.parametrize("path", [SUBMIT, "/container-token", "/v1alpha1/inspect", "/v1alpha2/validate-creds"])
async def test_an_unreadable_body_is_400_e28(swell: Swell, path: str, body: bytes) -> None:
    """A malformed body must not look like a failure of the server."""
    answer = await ask(swell, "POST", path, body)

    assert (answer.status, bool(answer.json["message"])) == (400, True)


@pytest.mark.parametrize("path", [SUBMIT, "/container-token", "/v1alpha1/inspect", "/v1alpha2/validate-creds"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_other_content_types_are_refused(swell: Swell, path: str, kind: str) -> None:
    """Any web page can make a browser send such bodies, but not JSON."""
    answer = await ask(swell, "POST", path, {"containerImage": "a"}, **{"Content-Type": kind})

    assert (answer.status, answer.headers["Content-Type"]) == (415, "application/json")
    assert (answer.json["code"], "application/json" in answer.json["message"]) == ("UNSUPPORTED", True)


@pytest.mark.parametrize("kind", ["", "application/json", "Application/JSON ; charset=utf-8"])
async def test_every_spelling_of_the_json_content_type_is_accepted(swell: Swell, kind: str) -> None:
    """Media types are not case-sensitive and may have parameters."""
    answer = await ask(swell, "POST", SUBMIT, {}, **{"Content-Type": kind})

    assert (answer.status, "containerImage" in answer.json["message"]) == (400, True)


@pytest.mark.parametrize("query", ["limit=", "limit=many"])
async def test_an_invalid_query_parameter_is_named(swell: Swell, query: str) -> None:
    """The message names the parameter to change."""
    answer = await ask(swell, "GET", f"/v1alpha1/builds?image=a&{query}")

    assert (answer.status, answer.json["message"].startswith("limit: ")) == (400, True)


@pytest.mark.parametrize(
    "body",
    [
        {"containerImage": "a" * 64 + ".io/b"},
        {"containerImage": "xn--a.io/b"},
        {"containerFile": FILE, "buildContext": {**LINKED, "location": "http://[::1/x"}},
        {"containerFile": FILE, "buildContext": {**LINKED, "location": f"http://{'a' * 64}.io/x"}},
    ],
)
async def test_impossible_values_are_not_internal_errors(swell: Swell, body: dict[str, Any]) -> None:
    """A host or time that cannot exist is a mistake of the client, never a failure of the server."""
    answer = await submit(swell, **body)

    assert answer.status in {400, 502}, answer.json
    assert answer.json["code"] != "UNKNOWN"


async def test_a_malformed_http_body_is_400(swell: Swell) -> None:
    """A chunk of a body must have a valid size."""
    url = urlsplit(swell.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(
        f"POST {SUBMIT} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\nno size\r\n".encode()
    )
    answer = await reader.readuntil(b"\r\n")
    writer.close()

    assert answer == b"HTTP/1.1 400 Bad Request\r\n"


async def test_crawlers_are_refused_e29(swell: Swell) -> None:
    """They may read only the page that forbids crawling."""
    bot = {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}

    refused = await ask(swell, "GET", "/service-info", **bot)
    robots = await ask(swell, "GET", "/robots.txt", **bot)

    assert (refused.status, refused.body) == (405, b"")
    assert (robots.status, robots.body) == (200, b"User-agent: *\nDisallow: /\n")


@pytest.mark.parametrize("path", ["/service-info", "/nope", "/v2/", f"{SUBMIT}/nope", "/openapi/"])
async def test_responses_have_security_headers(swell: Swell, path: str) -> None:
    """Each response has them once; HSTS is for https only."""
    headers = (await ask(swell, "GET", path)).headers

    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert len(headers.getall("Content-Security-Policy")) == 1
    assert "Strict-Transport-Security" not in headers  # that header is for https


@pytest.mark.row("T12")
@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nope", 404, None),
        ("PUT", "/service-info", 405, "GET, HEAD"),
        ("GET", "/container-token", 405, "POST"),
        ("HEAD", "/container-token", 405, "POST"),
        ("PUT", "/container-token/x", 405, "DELETE, GET, HEAD"),
        ("OPTIONS", "/container-token/x", 405, "DELETE, GET, HEAD"),
        ("OPTIONS", SUBMIT, 405, "POST"),
        ("OPTIONS", "/nope", 404, None),
        ("GET", "/openapi/assets/%00", 404, None),
        ("GET", "/openapi/assets/" + "x" * 3000, 404, None),
        ("GET", "/openapi/assets/..%2f..%2fLICENSE", 404, None),
    ],
)
async def test_unknown_paths_and_methods_get_json_errors_e29(
    swell: Swell, method: str, path: str, status: int, allow: str | None
) -> None:
    """OPTIONS has no special rule, so browsers allow no requests from other origins."""
    answer = await ask(swell, method, path, Origin="https://elsewhere.example.org")

    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
    assert method == "HEAD" or answer.json["message"]
    assert answer.headers.get("Allow") == allow
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.fixture(scope="module")
async def closed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swell]:
    """A gateway of the stack that refuses anonymous requests."""
    url, gateway = gateway_beside(stack, "closed", ANONYMOUS_ACCESS="false")
    async with running(gateway, tmp_path_factory.mktemp("closed")), client_of(url) as client:
        yield client


@pytest.mark.parametrize("path", [SUBMIT, "/container-token", "/v1alpha1/inspect"])
async def test_a_closed_server_refuses_anonymous_inspections(closed: Swell, upstreams: Upstreams, path: str) -> None:
    """Inspecting uses the operator's credentials, like a container request."""
    answer = await ask(closed, "POST", path, {"containerImage": upstreams.image()})

    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
