"""Pulls: what a token opens, and what a client is told."""

from datetime import timedelta

import msgspec
import pytest

from gateway.domain.grant import Grant
from gateway.handlers.caller import ClientAddress
from gateway.handlers.registry import RegistryHandler, parse_path
from gateway.pull import Pulls
from swell.errors import NameInvalid
from swell.oci.digest import digest_of
from swell.oci.document import Document
from tests.unit.gateway.conftest import NOON, FreePulls, KnownEnds, MemoryGrants, MemoryImages, ended

TOKEN = "abcdefghijklmnopqrstuvwxyz"
UBUNTU = f"/v2/wt/{TOKEN}/library/ubuntu"
DIGEST = digest_of(b"a layer")


class Answer(msgspec.Struct):
    """What came back over ASGI."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, str]:
        (error,) = msgspec.json.decode(self.body)["errors"]
        return dict(error)


class Client:
    """Asks the registry handler as an ASGI server does."""

    def __init__(self, handler: RegistryHandler) -> None:
        self._handler = handler

    async def ask(self, path: str, method: str = "GET") -> Answer:
        sent: list[dict[str, object]] = []

        async def send(message: object) -> None:
            sent.append(message)  # type: ignore[arg-type]

        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": []}
        await self._handler(scope, None, send)  # type: ignore[arg-type]
        start, end = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}  # type: ignore[attr-defined]
        return Answer(start["status"], headers, end["body"])  # type: ignore[arg-type]


class Tally:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, grant: Grant, document: Document) -> None:
        self.count += 1


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
async def client(grants: MemoryGrants, ends: KnownEnds, images: MemoryImages, tally: Tally) -> Client:
    grant = Grant(
        token=TOKEN,
        image="docker.io/library/ubuntu:22.04",
        platform="linux/amd64",
        created=NOON,
        expires=NOON + timedelta(hours=36),
    )
    await grants.put(grant)
    pulls = Pulls(grants, ends, images, FreePulls(), "https://wave.example.org")
    return Client(RegistryHandler(pulls, tally, ClientAddress()))


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
async def test_the_ping_needs_no_token(client: Client, path: str) -> None:
    """Every client begins with it; a 401 here would send it to look for a password."""
    answer = await client.ask(path)

    assert (answer.status, answer.body) == (200, b"{}")


async def test_a_manifest_comes_with_its_digest(client: Client, images: MemoryImages, tally: Tally) -> None:
    """HEAD tells the same as GET, without the body; only GET is a pull."""
    got = await client.ask(f"{UBUNTU}/manifests/22.04")
    head = await client.ask(f"{UBUNTU}/manifests/22.04", "HEAD")

    assert (got.status, got.body) == (200, images.document.content)
    assert got.headers["docker-content-digest"] == images.document.digest
    assert got.headers["etag"] == f'"{images.document.digest}"'
    assert got.headers["content-length"] == str(len(images.document.content))
    assert (head.status, head.headers, head.body) == (200, got.headers, b"")
    assert tally.count == 1


async def test_a_blob_is_a_redirect_to_its_bytes(client: Client) -> None:
    answer = await client.ask(f"{UBUNTU}/blobs/{DIGEST}")

    assert (answer.status, answer.headers["location"]) == (307, f"http://data.test/blobs/{DIGEST}")
    assert answer.headers["content-length"] == "0"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/v2/wt/{'z' * 26}/library/ubuntu/manifests/22.04", 404, "NAME_UNKNOWN"),
        (f"/v2/wt/{TOKEN}/library/debian/manifests/12", 404, "NAME_UNKNOWN"),
        (f"{UBUNTU}/blobs/sha256:baddigest", 400, "DIGEST_INVALID"),
        (f"{UBUNTU}/tags", 404, "NAME_INVALID"),
        ("/v2/library/ubuntu/manifests/22.04", 404, "NAME_INVALID"),
        ("/v2/_catalog", 404, "NAME_INVALID"),
        ("/v2/%ff/..//manifests/", 404, "NAME_INVALID"),
    ],
)
async def test_what_no_token_opens_is_not_found(client: Client, path: str, status: int, code: str) -> None:
    """Unknown, expired and foreign look the same, and the token is not echoed."""
    answer = await client.ask(path)

    assert (answer.status, answer.error["code"]) == (status, code)
    assert "z" * 26 not in answer.error["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_pushing_is_refused_in_the_registrys_words(client: Client, method: str) -> None:
    answer = await client.ask(f"{UBUNTU}/manifests/22.04", method)

    assert (answer.status, answer.error["code"], answer.headers["allow"]) == (405, "UNSUPPORTED", "GET, HEAD")


async def test_a_failed_build_tells_the_puller_why(client: Client, grants: MemoryGrants, ends: KnownEnds) -> None:
    """Whoever pulls sees this message only, so it names the reason and the page."""
    await grants.put(msgspec.structs.replace(grants.kept[TOKEN], build_id="bd-0_1"))
    ends.results["bd-0_1"] = ended(succeeded=False, message="The step 'RUN false' ended with exit status 1.")

    answer = await client.ask(f"{UBUNTU}/manifests/22.04")

    assert (answer.status, answer.error["code"]) == (404, "MANIFEST_UNKNOWN")
    assert "'RUN false' ended with exit status 1" in answer.error["message"]
    assert "https://wave.example.org/v1alpha1/builds/bd-0_1/logs" in answer.error["message"]


async def test_a_build_that_succeeded_opens_its_image(client: Client, grants: MemoryGrants, ends: KnownEnds) -> None:
    await grants.put(msgspec.structs.replace(grants.kept[TOKEN], build_id="bd-0_1"))
    ends.results["bd-0_1"] = ended(succeeded=True)

    assert (await client.ask(f"{UBUNTU}/manifests/22.04")).status == 200


async def test_an_error_that_nobody_foresaw_tells_no_story(client: Client, images: MemoryImages) -> None:
    """The story is for the log; the client gets a code and a status."""
    images.document = None  # type: ignore[assignment]

    answer = await client.ask(f"{UBUNTU}/manifests/22.04")

    assert (answer.status, answer.error["code"]) == (500, "UNKNOWN")
    assert "NoneType" not in answer.error["message"]


def test_a_name_may_hold_the_word_manifests() -> None:
    path = parse_path(f"/v2/wt/{TOKEN}/acme/manifests/tool/manifests/1")

    assert (path.name, path.kind, path.reference) == ("acme/manifests/tool", "manifests", "1")


@pytest.mark.parametrize(
    "path", ["", "/", "/v2/wt", "/v2/wt//manifests/x", "/v2/wt/t/n/manifest/x", "/v3/wt/t/n/blobs/x"]
)
def test_other_paths_name_no_image(path: str) -> None:
    with pytest.raises(NameInvalid):
        parse_path(path)
