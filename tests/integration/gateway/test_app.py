"""The gateway's HTTP API on a real port, with backends in memory: each route and each kind of error."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from gateway.access.limits import Limits
from gateway.domain.quota import Quota, Quotas
from gateway.handlers.service import WAVE_API
from gateway.http import bodies
from gateway.http.bodies import MAX_BODY
from swell.errors import SwellError, Unavailable, UpstreamBroken, UpstreamDown, UpstreamSlow
from swell.net.http import listening
from swell.oci.digest import digest_of
from swell.serve import Address
from swell_embedded.ports import Ports
from tests.integration.gateway.harness import SUBMIT, Answer, Client, Harness
from tests.unit.gateway.access.buckets import Clock, MemoryBuckets
from tests.unit.gateway.doubles import ended

UBUNTU = "docker.io/library/ubuntu:22.04"
FILE = base64.b64encode(b"FROM alpine:3.20\n").decode()
TOKEN = "w5bgtyvxnpli57dtojtubvohem"


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
async def client(harness: Harness) -> AsyncIterator[Client]:
    where = Address("127.0.0.1", Ports.free().gateway)
    url = f"http://{where.host}:{where.port}"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session,
        listening(harness.app(url), where),
    ):
        yield Client(session, url)


async def submitted(client: Client, harness: Harness) -> dict[str, Any]:
    """What the gateway answered to a request for `ubuntu:22.04`."""
    harness.registry.push(UBUNTU)
    return (await client.submit({"containerImage": "ubuntu:22.04"})).json


async def building(client: Client) -> dict[str, Any]:
    """What the gateway answered to a request for a build."""
    return (await client.submit({"containerFile": FILE})).json


async def test_a_name_that_was_given_can_be_pulled(client: Client, harness: Harness) -> None:
    """The journey of a client: ask, read the name, pull it as a registry's."""
    submission = await submitted(client, harness)
    host, _, path = submission["targetImage"].partition("/")
    repository, _, tag = path.rpartition(":")

    assert f"http://{host}" == client.url
    for method, body in (("GET", harness.images.document.content), ("HEAD", b"")):
        answer = await client.ask(method, f"/v2/{repository}/manifests/{tag}")
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["content-type"] == harness.images.document.media_type
        assert answer.headers["docker-content-digest"] == harness.images.document.digest
        assert answer.headers["content-length"] == str(harness.images.document.size)
    assert harness.pulls == 1


async def test_a_blob_is_a_redirect(client: Client, harness: Harness) -> None:
    """HEAD returns the size directly; unknown query parameters are ignored."""
    submission = await submitted(client, harness)
    digest = digest_of(b"a layer")
    path = f"/v2/wt/{submission['containerToken']}/library/ubuntu/blobs/{digest}?ns=docker.io"

    got, head = await client.ask("GET", path), await client.ask("HEAD", path)

    assert (got.status, got.body) == (307, b"")
    assert got.headers["location"] == f"http://data.test/blobs/{digest}"
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "3")


async def test_a_client_that_has_a_manifest_receives_304(client: Client, harness: Harness) -> None:
    """304 without a body, on a connection that stays as good as it was."""
    submission = await submitted(client, harness)
    path, tag = f"/v2/wt/{submission['containerToken']}/library/ubuntu", harness.images.document.digest
    for method in ("GET", "HEAD"):
        answer = await client.ask(method, f"{path}/manifests/22.04", **{"If-None-Match": f'W/"x", "{tag}"'})

        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", f'"{tag}"')
        assert (await client.ask(method, f"{path}/tags/list?n=1")).status == 200


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
async def test_the_ping_goes_through_the_mount(client: Client, path: str) -> None:
    """Clients check `/v2/` before each pull."""
    for method, body in (("GET", b"{}"), ("HEAD", b"")):
        answer = await client.ask(method, path)

        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


async def test_an_answer_to_a_request_is_spelt_as_waves(client: Client, harness: Harness) -> None:
    """The members that Wave's clients read, in their spelling; instants end in Z."""
    answer = await submitted(client, harness)

    assert answer.keys() >= {"requestId", "containerToken", "targetImage", "expiration", "containerImage", "succeeded"}
    assert answer["expiration"].endswith("Z")
    assert datetime.fromisoformat(answer["expiration"]) > datetime.now(UTC)
    assert answer["containerImage"] == UBUNTU


async def test_a_request_is_followed_by_its_id(client: Client, harness: Harness) -> None:
    """Clients poll the status of their request."""
    submission = await submitted(client, harness)

    status = await client.get(f"{SUBMIT}/{submission['requestId']}/status")

    assert (status.status, status.json["status"], status.json["succeeded"]) == (200, "DONE", True)


async def test_a_build_is_followed_by_its_id(client: Client, harness: Harness) -> None:
    """Record, status and log are found by the same id."""
    build_id = (await building(client))["buildId"]
    before = await client.get(f"/v1alpha1/builds/{build_id}/status")
    await harness.builds.finish(build_id, ended(succeeded=True))
    after = await client.get(f"/v1alpha1/builds/{build_id}/status")
    record = await client.get(f"/v1alpha1/builds/{build_id}")

    assert (before.json["status"], after.json["status"]) == ("PENDING", "COMPLETED")
    assert record.json["dockerFile"] == "FROM alpine:3.20\n"
    assert b'"duration":41.25' in record.body


async def test_a_log_is_text_and_comes_line_by_line(client: Client, harness: Harness) -> None:
    """A client sees each line when it appears, and not at the end of the build."""
    build_id = (await building(client))["buildId"]
    harness.logs.more.release()
    async with client.session.get(f"{client.url}/v1alpha1/builds/{build_id}/logs") as answer:
        first = await answer.content.readany()
        harness.logs.more.release()
        rest = await answer.content.read()

    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert (first.decode(), rest.decode()) == ("STEP 1: größe\n", "STEP 2\n")


async def test_the_service_says_which_api_it_speaks(client: Client) -> None:
    """Clients compare the version before they use newer members."""
    assert (await client.get("/service-info")).json["serviceInfo"]["version"] == WAVE_API


@pytest.mark.parametrize("path", ["/health", "/health/readiness"])
async def test_health_is_down_while_nothing_works(client: Client, harness: Harness, path: str) -> None:
    """A load balancer stops sending requests, and starts again afterwards."""
    harness.backends.away = True
    down = await client.get(path)
    harness.backends.away = False
    up = await client.get(path)

    assert (down.status, down.json) == (503, {"status": "DOWN", "reason": "the state store does not answer"})
    assert (up.status, up.json) == (200, {"status": "UP"})


async def test_health_lists_what_works_while_only_a_part_does(client: Client, harness: Harness) -> None:
    """Cached pulls go on without a backend, so load balancers must not stop sending them."""
    harness.backends.partly = True
    answer = await client.get("/health")

    assert answer.status == 200
    assert answer.json == {
        "status": "UP",
        "degraded": True,
        "works": ["cached pulls", "pulls"],
        "fails": {"builds": "the message queue does not answer"},
    }


async def test_health_names_the_engines_of_the_builders(client: Client, harness: Harness) -> None:
    """An operator sees what builds container files without looking for a log."""
    harness.backends.known_engines = ["buildah 1.39.3", "buildkit 0.34.2"]
    answer = await client.get("/health")
    harness.backends.known_engines = []
    assert answer.json == {"status": "UP", "engine": "buildah 1.39.3, buildkit 0.34.2"}


async def test_a_process_lives_while_its_backends_are_away(client: Client, harness: Harness) -> None:
    """Killing it would not bring them back."""
    harness.backends.away = True

    assert (await client.get("/health/liveness")).status == 200


def refused(answer: Answer, status: int, code: str = "BAD_REQUEST") -> str:
    """Check an error's form, which is one for all of them; gives its message."""
    assert (answer.status, answer.headers["content-type"], answer.json["code"]) == (status, "application/json", code)
    assert answer.json["requestId"] == answer.headers["x-request-id"]
    return str(answer.json["message"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "cannot be read"),
        (b"null", "cannot be read"),
        (b"{", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"containerImage": {}}', "containerImage"),
        (b'{"containerConfig": {"layers": [{}]}}', "containerConfig.layers"),
        (b"[" * 100_000, "cannot be read"),
        (b"{}", "containerImage"),
        (b'{"containerImage": "ubuntu", "unheardOf": 1}', "ubuntu"),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused_with_its_place(client: Client, body: bytes, said: str) -> None:
    """400 and never 500, for any bytes."""
    assert said in refused(await client.submit(body), 400)


@pytest.mark.parametrize("content_type", ["", "application/json", "Application/Json;charset=UTF-8"])
async def test_a_body_is_json_or_says_nothing_of_itself(client: Client, harness: Harness, content_type: str) -> None:
    """Clients without a `Content-Type` exist."""
    harness.registry.push(UBUNTU)
    body = b'{"containerImage": "ubuntu:22.04", "containerConfig": null, "freeze": false, "towerWorkspaceId": "12"}'

    assert (await client.ask("POST", SUBMIT, body, **{"Content-Type": content_type})).status == 200


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "nonsense"])
async def test_a_body_that_says_it_is_something_else_is_refused(client: Client, content_type: str) -> None:
    """Any web page can make a browser send such bodies, and could so start builds on a developer's machine."""
    answer = await client.ask("POST", SUBMIT, b'{"containerImage": "ubuntu:22.04"}', **{"Content-Type": content_type})

    assert "application/json" in refused(answer, 415, "UNSUPPORTED")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [MAX_BODY + 1, 2 * MAX_BODY])
async def test_a_body_of_more_than_24_mebibytes_is_refused(client: Client, chunked: bool, size: int) -> None:
    """Whether it says so beforehand or not; and the client, which writes first and reads then, gets to know it."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 1 << 20):
            yield bytes(min(1 << 20, size - start))

    data = pieces() if chunked else io.BytesIO(bytes(size))
    async with client.session.post(client.url + SUBMIT, data=data) as answer:
        response = Answer(
            answer.status, {name.lower(): text for name, text in answer.headers.items()}, await answer.read()
        )

    refused(response, 413, "SIZE_INVALID")


async def test_a_body_just_within_the_limit_is_read(client: Client, harness: Harness) -> None:
    """The limit is exactly 24 MiB."""
    harness.registry.push(UBUNTU)
    start = b'{"containerImage": "ubuntu:22.04", "ignored": "'

    assert (await client.submit(start.ljust(MAX_BODY - 2, b"x") + b'"}')).status == 200


async def test_an_image_that_does_not_exist_is_the_clients_mistake(client: Client) -> None:
    """400, because the client can correct the name."""
    assert UBUNTU in refused(await client.submit({"containerImage": "ubuntu:22.04"}), 400)


@pytest.mark.parametrize("path", ["/v1alpha3/container", "/v1alpha2/containers", "/v3/", "/%ff"])
async def test_a_path_that_there_is_not_is_json_too(client: Client, path: str) -> None:
    """Clients decode each error as JSON."""
    refused(await client.get(path), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "path", ["/v1alpha1/builds/bd-0_1", "/v1alpha1/builds/bd-0_1/status", "/v1alpha1/builds/bd-0_1/logs"]
)
async def test_an_unknown_build_is_not_found(client: Client, path: str) -> None:
    """404 with Wave's body."""
    assert "bd-0_1" in refused(await client.get(path), 404, "NOT_FOUND")


async def test_an_unknown_request_is_not_found(client: Client) -> None:
    """404 with Wave's body."""
    refused(await client.get(f"{SUBMIT}/ffffffffffff/status"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", SUBMIT), ("PUT", SUBMIT), ("POST", "/health"), ("DELETE", "/service-info")]
)
async def test_a_method_that_a_path_has_not_is_refused(client: Client, method: str, path: str) -> None:
    """405 names the methods that the path has."""
    answer = await client.ask(method, path)

    refused(answer, 405, "UNSUPPORTED")
    assert answer.headers["allow"]


async def test_on_v2_an_error_is_a_registrys(client: Client) -> None:
    """Container engines print `errors[0].message` and nothing else."""
    answer = await client.get(f"/v2/wt/{'z' * 26}/library/ubuntu/manifests/22.04")

    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    assert answer.json == {"errors": [{"code": "NAME_UNKNOWN", "message": "The token is unknown or has expired."}]}
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("size", [0, 1 << 10, 1 << 20, 32 << 20])
async def test_a_push_receives_a_response_that_refuses_it(client: Client, size: int) -> None:
    """And not that the connection was reset: clients write first and read then."""
    path = f"/v2/wt/{'z' * 26}/library/ubuntu/blobs/uploads/1"
    for method in ("POST", "PUT", "PATCH"):
        answer = await client.ask(method, path, bytes(size))

        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
        assert answer.json["errors"][0]["code"] == "UNSUPPORTED"


@pytest.mark.row("T11")
@pytest.mark.parametrize(
    ("error", "status"),
    [(Unavailable(), 503), (UpstreamDown(retry_after=5), 503), (UpstreamBroken(), 502), (UpstreamSlow(), 504)],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else str(each),
)
async def test_a_temporary_failure_is_one_that_clients_repeat(
    client: Client, harness: Harness, error: SwellError, status: int
) -> None:
    """Wave's clients repeat requests after 502, 503 and 504; 500 and 429 end the command line."""
    harness.builds.fails = error

    answer = await client.get("/v1alpha1/builds/bd-0_1")

    assert answer.status == status
    assert answer.json["message"]


async def test_who_is_unavailable_says_when_to_come_back(client: Client, harness: Harness) -> None:
    """Clients retry after `Retry-After`."""
    harness.builds.fails = Unavailable("the state store does not answer", retry_after=7)

    answer = await client.get("/v1alpha1/builds/bd-0_1")

    assert refused(answer, 503, "UNAVAILABLE") == "the state store does not answer"
    assert answer.headers["retry-after"] == "7"
    assert (answer.json["side"], answer.json["next"]) == ("server", Unavailable.advice)


async def test_an_unexpected_error_shows_no_details(client: Client, harness: Harness) -> None:
    """It is in the log, under the id that the client has."""
    harness.builds.fails = KeyError("password")
    with capture_logs() as lines:
        answer = await client.get("/v1alpha1/builds/bd-0_1")

    assert "password" not in refused(answer, 500, "UNKNOWN")
    assert "unexpected error" in {line["event"] for line in lines}


async def test_every_answer_has_an_id_of_its_own(client: Client) -> None:
    """The server chooses the id; a client cannot choose what its request is logged under."""
    answers = [await client.ask("GET", "/v2/", **{"X-Request-Id": "mine"}) for _ in range(2)]

    assert len({answer.headers["x-request-id"] for answer in answers} | {"mine"}) == 3


async def test_a_request_is_logged_with_its_whole_path(client: Client) -> None:
    """The mount shortens the path that the handler sees."""
    with capture_logs() as lines:
        await client.get("/v2/library/ubuntu/manifests/22.04")

    (line,) = (line for line in lines if line["event"] == "request answered")
    assert (line["method"], line["path"], line["status"]) == ("GET", "/v2/library/ubuntu/manifests/22.04", 404)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (f"/v2/wt/{TOKEN}/library/ubuntu/manifests/22.05", "/v2/wt/w5bg…/library/ubuntu/manifests/22.05"),
        (f"//v2/wt/{TOKEN}/ubuntu/tags/list", "//v2/wt/w5bg…/ubuntu/tags/list"),
        (f"/v2/wt/{TOKEN}", "/v2/wt/…"),
        (f"/container-token/{TOKEN}", "/container-token/w5bg…"),
        (f"/v1alpha2/container/{TOKEN}", "/v1alpha2/container/w5bg…"),
        ("/v1alpha1/builds/bd-c44968632f89dd6c_1/logs", "/v1alpha1/builds/bd-c44968632f89dd6c_1/logs"),
    ],
)
async def test_no_token_is_logged(client: Client, path: str, shown: str) -> None:
    """It is all that a pull needs, and more people read logs than may pull."""
    with capture_logs() as lines:
        await client.get(path)

    (line,) = (line for line in lines if line["event"] == "request answered")
    assert line["path"] == shown
    assert TOKEN not in str(lines)


async def test_each_get_has_a_head(client: Client) -> None:
    """Probes and caches ask so; the answer is that of GET without its body."""
    for path in ("/service-info", "/health", "/openapi/openapi.json"):
        got, head = await client.ask("GET", path), await client.ask("HEAD", path)

        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(got.body))
        assert head.headers["content-type"] == got.headers["content-type"]


async def raw(client: Client, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """What is answered to *request*, as it is, on a connection of its own."""
    host, _, port = client.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(20):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    line, *fields = head.decode().split("\r\n")
    return int(line.split()[1]), {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)}, body


@pytest.mark.parametrize("path", ["/service-info", "/v2/", f"/v2/wt/{TOKEN}/library/ubuntu/manifests/1"])
@pytest.mark.parametrize(
    ("fields", "target", "status"),
    [
        ("", "", 400),
        ("Host: a\r\nHost: a\r\n", "", 400),
        ("Host: a\r\nHost: b\r\n", "", 400),
        ("Host: \r\n", "", 400),
        ("Host: a\r\n", "?" + "q" * (17 << 10), 414),
        ("Host: a\r\nX: " + "x" * (65 << 10) + "\r\n", "", 431),
    ],
)
async def test_a_refused_head_has_the_error_format_of_its_path(
    client: Client, path: str, fields: str, target: str, status: int
) -> None:
    """A Host that is missing or twice there has made servers and proxies disagree before."""
    request = f"GET {path}{target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"

    answered, headers, body = await raw(client, request.encode())

    error = json.loads(body)
    assert (answered, headers["content-type"]) == (status, "application/json")
    assert headers["x-content-type-options"] == "nosniff"
    assert error["errors"][0]["message"] if path.startswith("/v2") else error["message"] and error["code"]


async def test_http_1_0_needs_no_host(client: Client) -> None:
    """Probes of load balancers speak it."""
    assert (await raw(client, b"GET /service-info HTTP/1.0\r\n\r\n"))[0] == 200


async def test_a_body_that_drips_is_answered_and_cut_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte every now and then is not silence; it is far from a kibibyte a second."""
    monkeypatch.setattr(bodies, "SILENCE", 1)
    host, _, port = client.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {SUBMIT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    writer.write(head.encode())

    async def drip() -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.2)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(20):
        answer = await reader.read()
    dripping.cancel()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"bytes a second" in answer


@pytest.mark.parametrize("path", [SUBMIT, "/container-token"])
async def test_an_address_has_so_many_live_tokens(harness: Harness, path: str) -> None:
    """Each token takes memory for 36 hours; refused requests do not count."""
    quotas = Quotas(anonymous_token=Quota(2, 3600))
    harness.live = Limits(MemoryBuckets(Clock()), quotas, fail_open=False)
    harness.registry.push(UBUNTU)
    where = Address("127.0.0.1", Ports.free().gateway)
    url = f"http://{where.host}:{where.port}"
    async with aiohttp.ClientSession() as session, listening(harness.app(url), where):
        client = Client(session, url)
        for image in ("ubuntu:22.04", "absent", "ubuntu:22.04"):
            await client.ask("POST", path, {"containerImage": image})
        answer = await client.ask("POST", path, {"containerImage": "ubuntu:22.04"})

    refused(answer, 429, "TOOMANYREQUESTS")
    assert "live-token limit of 2/1h" in answer.json["message"]
    assert answer.headers["retry-after"] == "1800"
    assert len(harness.grants.stored) == 2


@pytest.mark.parametrize("path", [SUBMIT, "/container-token", "/v1alpha1/inspect", "/v1alpha2/validate-creds"])
async def test_a_body_that_is_declared_far_too_large_is_refused_before_it_comes(client: Client, path: str) -> None:
    """Waiting for the bytes would hold a connection of the server for as long as the client likes."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {99 << 40}\r\n\r\n"
    async with asyncio.timeout(5):
        status, _, body = await raw(client, head.encode())

    assert status == 413
    assert "larger than 24 MiB" in json.loads(body)["message"]
