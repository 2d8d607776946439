"""Wave's golden examples of what is refused, by their numbers, and how it is told."""

import asyncio
import re
from collections.abc import AsyncIterator
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


@pytest.mark.row("T6", "B7", "B15", "B17", "B18", "B24", "B29", "B33", "B34", "B35", "B36")
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
        {"containerImage": f"a@sha256:{64 * '0'}", "containerConfig": {"env": ["A=1"]}},
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
async def test_what_does_not_go_together_is_refused_in_words_e22(swell: Swell, body: dict[str, Any]) -> None:
    """Whose turn it is, what to do, and ids for the logs."""
    answer = await submit(swell, **body)

    assert answer.status == 400, answer.body
    told = answer.json
    assert told["message"]
    assert (told["side"], bool(told["next"])) == ("client", True)
    assert told["requestId"] == answer.headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{32}", told["traceId"])


@pytest.mark.parametrize("member", ["packages", "nameStrategy", "mirror"])
async def test_the_first_version_knows_nothing_of_the_second_e22(swell: Swell, member: str) -> None:
    value = {"packages": PACKAGES, "nameStrategy": "none", "mirror": True}[member]

    answer = await ask(swell, "POST", "/container-token", {"containerImage": "a", member: value})

    assert answer.status == 400


@pytest.mark.row("T18")
async def test_an_image_that_cannot_be_had_is_refused_by_its_name_e23(swell: Swell, upstreams: Upstreams) -> None:
    """Absent or hidden: the registry alone knows, and often tells neither."""
    for image in (upstreams.image("none"), image_of(upstreams.mistaken)):
        answer = await submit(swell, containerImage=image)

        assert answer.status == 400
        assert f"{image} does not exist or cannot be accessed" in answer.json["message"]


@pytest.mark.row("T17")
async def test_a_platform_that_is_not_paired_is_named_e24(swell: Swell, upstreams: Upstreams) -> None:
    """A token without a Platform's address is just unknown."""
    body = {"containerImage": upstreams.image(), "towerAccessToken": "t"}

    unpaired = await submit(swell, **body, towerEndpoint="https://tower.example")
    inspected = await ask(swell, "POST", "/v1alpha1/inspect", body | {"towerEndpoint": "https://tower.example"})
    unknown = await submit(swell, **body)

    for answer in (unpaired, inspected):
        assert (answer.status, "https://tower.example is not paired" in answer.json["message"]) == (400, True)
    assert (unknown.status, bool(unknown.json["message"])) == (401, True)


@pytest.mark.parametrize("member", ["containerFile", "packages", "containerConfig", "buildContext"])
async def test_what_is_no_base64_is_refused_by_its_name_e25(swell: Swell, member: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "containerFile": {"containerFile": "FROM alpine"},
        "packages": {"packages": {"type": "CONDA", "environment": "dependencies: [jq]"}},
        "containerConfig": {"containerImage": "a", "containerConfig": {"layers": [{"location": "data:a b"}]}},
        "buildContext": {"containerFile": FILE, "buildContext": {"location": "data:a b"}},
    }

    answer = await submit(swell, **bodies[member])

    assert (answer.status, member in answer.json["message"], "base64" in answer.json["message"]) == (400, True, True)


async def test_what_is_switched_off_is_501_e26(swell: Swell, upstreams: Upstreams) -> None:
    answer = await submit(swell, containerImage=upstreams.image(), scanMode="async")

    assert (answer.status, answer.json["code"]) == (501, "UNSUPPORTED")


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
async def test_what_cannot_be_read_is_the_clients_mistake_e28(swell: Swell, path: str, body: bytes) -> None:
    answer = await ask(swell, "POST", path, body)

    assert (answer.status, bool(answer.json["message"])) == (400, True)


@pytest.mark.parametrize("path", [SUBMIT, "/container-token", "/v1alpha1/inspect", "/v1alpha2/validate-creds"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_what_is_not_said_to_be_json_is_not_read(swell: Swell, path: str, kind: str) -> None:
    """Any page on the web can have a browser send such bodies; JSON it may not send here."""
    answer = await ask(swell, "POST", path, {"containerImage": "a"}, **{"Content-Type": kind})

    assert (answer.status, answer.headers["Content-Type"]) == (415, "application/json")
    assert (answer.json["code"], "application/json" in answer.json["message"]) == ("UNSUPPORTED", True)


@pytest.mark.parametrize("kind", ["", "application/json", "Application/JSON ; charset=utf-8"])
async def test_json_is_read_in_any_spelling_of_its_name(swell: Swell, kind: str) -> None:
    answer = await ask(swell, "POST", SUBMIT, {}, **{"Content-Type": kind})

    assert (answer.status, "containerImage" in answer.json["message"]) == (400, True)


@pytest.mark.parametrize("query", ["limit=", "limit=many"])
async def test_a_parameter_that_cannot_be_read_is_named(swell: Swell, query: str) -> None:
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
async def test_no_client_can_make_us_fail(swell: Swell, body: dict[str, Any]) -> None:
    """A place that nobody can be at is the client's mistake, or nobody's: never an error of this server."""
    answer = await submit(swell, **body)

    assert answer.status in {400, 502}, answer.json
    assert answer.json["code"] != "UNKNOWN"


async def test_a_request_that_is_no_http_is_the_clients_mistake(swell: Swell) -> None:
    """A chunk of a body must tell its size."""
    url = urlsplit(swell.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(
        f"POST {SUBMIT} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\nno size\r\n".encode()
    )
    answer = await reader.readuntil(b"\r\n")
    writer.close()

    assert answer == b"HTTP/1.1 400 Bad Request\r\n"


async def test_crawlers_are_turned_away_e29(swell: Swell) -> None:
    """But for the page that tells them to stay away."""
    bot = {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}

    refused = await ask(swell, "GET", "/service-info", **bot)
    told = await ask(swell, "GET", "/robots.txt", **bot)

    assert (refused.status, refused.body) == (405, b"")
    assert (told.status, told.body) == (200, b"User-agent: *\nDisallow: /\n")


@pytest.mark.parametrize("path", ["/service-info", "/nope", "/v2/", f"{SUBMIT}/nope", "/openapi/"])
async def test_browsers_are_told_to_be_careful(swell: Swell, path: str) -> None:
    headers = (await ask(swell, "GET", path)).headers

    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert len(headers.getall("Content-Security-Policy")) == 1
    assert "Strict-Transport-Security" not in headers  # which is for https


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
async def test_what_is_not_there_is_told_in_json_e29(
    swell: Swell, method: str, path: str, status: int, allow: str | None
) -> None:
    """OPTIONS is a method like others: what a browser asks for a page of another origin, it is told that it may not."""
    answer = await ask(swell, method, path, Origin="https://elsewhere.example.org")

    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
    assert method == "HEAD" or answer.json["message"]
    assert answer.headers.get("Allow") == allow
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.fixture(scope="module")
async def closed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swell]:
    """A gateway beside the stack's own, that takes no anonymous requests."""
    url, gateway = gateway_beside(stack, "closed", ANONYMOUS_ACCESS="false")
    async with running(gateway, tmp_path_factory.mktemp("closed")), client_of(url) as client:
        yield client


@pytest.mark.parametrize("path", [SUBMIT, "/container-token", "/v1alpha1/inspect"])
async def test_where_only_the_known_may_ask_nobody_else_may_look(
    closed: Swell, upstreams: Upstreams, path: str
) -> None:
    """Images are shown by the operator's credentials, so inspecting them is no lesser thing."""
    answer = await ask(closed, "POST", path, {"containerImage": upstreams.image()})

    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
