"""Who may read records: each cell of the table in `docs/identity.md`, over HTTP."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import bcrypt
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from gateway.access.accounts.accounts import Accounts
from gateway.domain.access.identity import ANONYMOUS, USER_SCOPES, Identity, Scope
from gateway.domain.access.record_access import TABLE, Reader, RecordAccess, Resource
from gateway.http.read_guard import resource_of
from swell.errors import Unauthorized
from swell.net.http import listening
from swell.registry.credentials.principal import OPERATOR
from swell.serve import Address
from swell_embedded.ports import Ports
from tests.integration.gateway.harness import Client, Harness

from .test_app import FILE

IMAGE = "docker.io/library/ubuntu:22.04"
ADDRESS, EMAIL = "127.0.0.1", "ada@lab.example"

USERS = {
    "ada": Identity(user="ada", email=EMAIL, organisation="engines", pushes_as=OPERATOR, scopes=USER_SCOPES),
    "cyd": Identity(user="cyd", organisation="engines", scopes=USER_SCOPES),
    "bob": Identity(user="bob", organisation="others", scopes=USER_SCOPES),
    "eve": Identity(user="eve", scopes=USER_SCOPES),
    "root": Identity(user="root", scopes=USER_SCOPES | {Scope.ADMINISTER}),
}
BASIC = "Basic " + base64.b64encode(b"ops:pw").decode()
CLIENTS: dict[Reader, list[str]] = {
    Reader.REQUESTER: ["Bearer ada"],
    Reader.ORGANISATION: ["Bearer cyd"],
    Reader.ANYONE: ["Bearer bob", "Bearer eve", "Bearer unknown", ""],
    Reader.OPERATOR: ["Bearer root", BASIC],
}
PATHS: dict[Resource, list[str]] = {
    Resource.CONTAINER: ["/v1alpha2/container/{request}", "/container-token/{request}"],
    Resource.CONTAINER_STATUS: ["/v1alpha2/container/{request}/status"],
    Resource.BUILD: ["/v1alpha1/builds/{build}", "/v1alpha1/builds/{build}/sif", "//v1alpha1//builds/{build}"],
    Resource.BUILD_STATUS: ["/v1alpha1/builds/{build}/status"],
    Resource.BUILD_LOG: ["/v1alpha1/builds/{build}/logs"],
    Resource.LOCK: ["/v1alpha1/builds/{build}/condalock"],
    Resource.ATTESTATION: [f"/v1alpha1/builds/{{build}}/{name}" for name in ("signature", "provenance", "sbom")],
    Resource.BUILD_LIST: ["/v1alpha1/builds?image={image}"],
    Resource.MIRROR: ["/v1alpha1/mirrors/{mirror}"],
    Resource.MIRROR_LOG: ["/v1alpha1/mirrors/{mirror}/logs"],
    Resource.SCAN: ["/v1alpha1/scans/{scan}"],
    Resource.SCAN_FILE: [f"/v1alpha1/scans/{{scan}}/{name}" for name in ("logs", "spdx", "cyclonedx", "report", "vex")],
    Resource.PAGE: ["/view/builds/{build}"],
}


class Known:
    async def identify(self, token: str | None, endpoint: str | None) -> Identity:
        if token and token not in USERS:
            raise Unauthorized
        return USERS[token] if token else ANONYMOUS


@pytest.fixture
def harness() -> Harness:
    harness = Harness()
    harness.identities = Known()
    harness.accounts = Accounts({b"ops": bcrypt.hashpw(b"pw", bcrypt.gensalt(4))})
    for image in (IMAGE, "docker.io/library/alpine:3.20"):
        harness.registry.push(image)
    for _ in range(1000):
        harness.logs.more.release()
    return harness


@asynccontextmanager
async def serving(harness: Harness) -> AsyncIterator[Client]:
    where = Address("127.0.0.1", Ports.free().gateway)
    url = f"http://{where.host}:{where.port}"
    async with aiohttp.ClientSession() as session, listening(harness.app(url), where):
        yield Client(session, url)


async def requested(client: Client, token: str) -> dict[str, Any]:
    """The ids of what the user with *token* has requested: a build with a scan, and a mirror."""
    build = (await client.submit({"containerFile": FILE, "scanMode": "async", "towerAccessToken": token})).json
    mirror = {"images": [IMAGE], "buildRepository": "quay.io/acme", "towerAccessToken": token}
    mirrored = (await client.ask("POST", "/v1alpha1/mirrors", mirror)).json
    ids = {"request": build["requestId"], "build": build["buildId"], "scan": build["scanId"]}
    return ids | {"mirror": mirrored["mirrorId"], "image": build["containerImage"]}


async def is_readable(client: Client, path: str, authorization: str) -> bool:
    """Whether the client passes the check; what it reads need not exist."""
    headers = {"Authorization": authorization} if authorization else {}
    answer = await client.ask("GET", path, **headers)
    assert answer.status in {200, 307, 404, 401, 403}, answer
    return answer.status not in {401, 403}


@pytest.mark.parametrize("resource", Resource)
@pytest.mark.parametrize("level", RecordAccess)
async def test_a_cell_of_the_table(harness: Harness, level: RecordAccess, resource: Resource) -> None:
    """Each client of each column, for each path of a row."""
    harness.record_access = level
    async with serving(harness) as client:
        ids = await requested(client, "ada")
        for path in PATHS[resource]:
            for reader, authorizations in CLIENTS.items():
                for authorization in authorizations:
                    readable = await is_readable(client, path.format_map(ids), authorization)
                    allowed = reader in TABLE[resource][level] or Reader.ANYONE in TABLE[resource][level]
                    assert readable is allowed, (path, authorization)


async def test_a_second_requester_of_the_same_build_reads_it_too(harness: Harness) -> None:
    """The same inputs are the same build: both clients know its recipe."""
    harness.record_access = RecordAccess.REQUESTER
    async with serving(harness) as client:
        ids = await requested(client, "ada")
        path = f"/v1alpha1/builds/{ids['build']}"
        assert not await is_readable(client, path, "Bearer bob")

        await client.submit({"containerFile": FILE, "towerAccessToken": "bob"})

        assert await is_readable(client, path, "Bearer bob")
        assert await is_readable(client, path, "Bearer ada")
        assert not await is_readable(client, path, "Bearer eve")
        assert not await is_readable(client, f"/v1alpha2/container/{ids['request']}", "Bearer bob")


async def test_the_builds_of_single_platforms_have_the_same_readers(harness: Harness) -> None:
    """The record of the whole build names their ids."""
    harness.record_access = RecordAccess.REQUESTER
    body = {"containerFile": FILE, "containerPlatform": "linux/amd64,linux/arm64", "towerAccessToken": "ada"}
    async with serving(harness) as client:
        build = (await client.submit(body)).json["buildId"]
        record = await client.ask("GET", f"/v1alpha1/builds/{build}", Authorization="Bearer ada")
        children = [child["id"] for child in record.json["buildChildIds"]["refs"]]

        assert len(children) == 2
        for child in children:
            assert await is_readable(client, f"/v1alpha1/builds/{child}", "Bearer ada")
            assert not await is_readable(client, f"/v1alpha1/builds/{child}", "Bearer bob")


async def test_a_refusal_names_the_rule_and_who_can_change_it(harness: Harness) -> None:
    """Without a token, 401: the client may have forgotten to send one."""
    harness.record_access = RecordAccess.ORGANISATION
    async with serving(harness) as client:
        path = f"/v1alpha1/builds/{(await requested(client, 'ada'))['build']}"
        stranger = await client.ask("GET", path, Authorization="Bearer bob")
        anonymous = await client.get(path)

    assert (stranger.status, anonymous.status) == (403, 401)
    for answer in (stranger, anonymous):
        assert "SWELL_RECORD_ACCESS=organisation" in answer.json["message"]
        assert "the operator can change that" in answer.json["message"]


async def test_what_an_anonymous_client_has_requested_is_for_everyone_with_the_id(harness: Harness) -> None:
    """It cannot be recognised again."""
    harness.record_access = RecordAccess.REQUESTER
    async with serving(harness) as client:
        build = (await client.submit({"containerFile": FILE})).json["buildId"]

        assert await is_readable(client, f"/v1alpha1/builds/{build}", "")


async def test_no_record_has_an_email_or_an_address(harness: Harness) -> None:
    """Also for the requester and for operators: records are copied into reports."""
    async with serving(harness) as client:
        ids = await requested(client, "ada")
        for paths in PATHS.values():
            for path in paths:
                for authorization in ("Bearer ada", BASIC):
                    answer = await client.ask("GET", path.format_map(ids), Authorization=authorization)
                    text = answer.body.decode().replace(client.url, "").replace(client.url[7:], "")
                    assert EMAIL not in text, path
                    assert ADDRESS not in text, path


def test_every_handler_of_a_record_has_a_row() -> None:
    """A new route with an id in its path must name its row with `reads`, or be listed here with its reason."""
    app = Harness().app("http://localhost")
    while not isinstance(app, Litestar):
        app = app._app
    others = {
        "/v1alpha2/metrics/{metric:path}",  # operators only
        "/v1alpha3/metrics/{metric:path}",
        "/v1alpha2/operator/workers/{worker_id:str}",
        "/v1alpha2/accounts/{name:str}",  # operators only
        "/v1alpha2/keys/{key_id:str}",  # the user's own keys
        "/v1alpha2/credentials/{registry:path}",  # the credentials of the user or the organisation
        "/openapi/assets/{name:str}",  # files of the program
        "/assets/{name:str}",
    }
    missing = {
        route.path_format
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if isinstance(handler, HTTPRouteHandler) and "GET" in handler.http_methods and "{" in route.path
        if resource_of(handler) is None and route.path not in others
    }
    assert missing == set()
