"""The OpenAPI document is true: its examples work as it says."""

import base64
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.openapi import examples
from gateway.openapi.operations import OPERATIONS, Operation
from swell_embedded.stack import Stack
from tests.e2e.client import PLAIN, PUSHER, Swell, encoded, until
from tests.e2e.raw import LOGIN, Answer, ask, operated_beside
from tests.e2e.upstreams import PASSWORD, USER, Upstreams

USER_TOKEN = {"Authorization": f"Bearer {PLAIN}"}


@pytest.fixture(scope="module")
async def operated(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swell]:
    async with operated_beside(stack, tmp_path_factory.mktemp("operated")) as client:
        yield client


def at_home(value: Any, upstreams: Upstreams) -> Any:
    """Return an example of the document with the image and the account of *upstreams*."""
    replacements = {examples.IMAGE: upstreams.image("docker-list"), examples.REGISTRY: upstreams.bearer}
    replacements |= {
        examples.REPOSITORY: f"{upstreams.basic}/acme/shown",
        examples.USER_NAME: USER,
        examples.PASSWORD: PASSWORD,
    }
    if isinstance(value, dict):
        return {name: _file_at_home(name, member, upstreams) for name, member in value.items()}
    return replacements.get(value, value) if isinstance(value, str) else value


def _file_at_home(name: str, member: Any, upstreams: Upstreams) -> Any:
    if name == "containerFile":
        return encoded(base64.b64decode(member).decode().replace(examples.IMAGE, upstreams.image()))
    return at_home(member, upstreams)


# These need a scanner with a database, a second registry, a signing key, a login, an operator or the id of a worker:
# see test_scans.py, test_mirrors.py, tests/integration/signing, test_vault.py, test_keys.py and test_operator.py.
ELSEWHERE = re.compile(r"/accounts|/operator/workers/|/scans/|/mirrors\b|/credentials\b|/(signature|sbom)$")
HERE = [each for each in OPERATIONS if not ELSEWHERE.search(each.path)]
BODIES = [pytest.param(each, name, id=f"{each.path} {name}") for each in HERE for name in each.examples]


@pytest.mark.parametrize(("operation", "name"), BODIES)
async def test_every_example_body_gets_the_documented_response(
    swell: Swell, operated: Swell, upstreams: Upstreams, operation: Operation, name: str
) -> None:
    """Users copy these examples, so each must work on a running server."""
    body, path = at_home(operation.examples[name], upstreams), operation.path
    if "requestId" in body:  # a request to cancel needs a running build
        built = await swell.build(f"FROM {upstreams.image()}\nRUN sleep 60\n")
        body, path = {"requestId": built["requestId"]}, path.format(buildId=built["buildId"])

    if body.get("buildRepository"):  # pushing to this repository needs a scope
        body |= {"towerAccessToken": PUSHER}

    if "{keyId}" in path:
        path = path.format(keyId=(await ask(swell, "POST", "/v1alpha2/keys", {}, **USER_TOKEN)).json["id"])
    path = path.replace("{name}", "bot")
    headers = LOGIN if operation.account else USER_TOKEN if operation.personal else {}
    server = operated if operation.account else swell
    answer = await ask(server, operation.method.upper(), path, body, **headers)

    assert answer.status == operation.status, answer.body
    assert msgspec.json.decode(answer.body, type=operation.answer) is not False


READS = [each for each in HERE if each.method == "get" and not each.path.endswith(("condalock", "sif"))]


@pytest.mark.parametrize("operation", READS, ids=lambda each: each.path)
async def test_every_documented_read_operation_works(
    operated: Swell, upstreams: Upstreams, operation: Operation
) -> None:
    """The status, media type and schema of each response are those of the document."""
    built = await operated.build(f"FROM {upstreams.image()}\nENV READ=yes\n")
    names = {"requestId": built["requestId"], "token": built["containerToken"], "buildId": built["buildId"]}

    if "{keyId}" in operation.path:
        names["keyId"] = (await ask(operated, "POST", "/v1alpha2/keys", {}, **USER_TOKEN)).json["id"]

    query = f"?image={built['containerImage']}" if operation.required else ""
    if operation.path.endswith(("/webhooks", "/preferences")):  # an operator names the owner
        query = "?user=ada"
    path = operation.path.format_map(names) + query
    login = LOGIN if operation.account or operation.personal else {}

    async def stored() -> Answer | None:
        """The answer; a build waits only two seconds for the object store to store what it has attached."""
        answer = await ask(operated, "GET", path, **login)
        return None if answer.status == 404 and path.endswith("/provenance") else answer

    answer = await until(stored, seconds=60)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"].startswith(operation.media_type)
    if operation.answer is not str:
        msgspec.json.decode(answer.body, type=operation.answer)


async def test_the_page_of_the_document_needs_no_other_server(swell: Swell) -> None:
    """All linked files exist, and the policy lets a browser load nothing from other servers."""
    page = await ask(swell, "GET", "/openapi/")
    links = re.findall(r'(?:href|src)="([^"]*)"', page.body.decode())

    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'; ")
    for link in (*links, "openapi.json", "openapi.yaml"):
        assert (await ask(swell, "GET", f"/openapi/{link}")).status == 200
    assert (await ask(swell, "GET", "/openapi")).headers["Location"] == "openapi/"
