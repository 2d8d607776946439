"""Pulls: what a token gives access to, and what the client receives."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.domain.grant import Grant
from gateway.domain.location import Location
from gateway.handlers.registry import RegistryHandler
from gateway.http.caller import ClientAddress
from gateway.pull import pulls
from gateway.pull.pulls import Pulls
from swell.api.containers import ContainerConfig
from swell.concurrency import retry
from swell.errors import SwellError, Unavailable, every_class
from swell.oci.digest import digest_of, tag_of
from swell.oci.document import Document
from swell.oci.media_types import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST
from swell.store.records import BuildResult
from tests.unit.gateway.doubles import NOON, KnownEnds, MemoryGrants, MemoryImages, UnlimitedPulls, ended

TOKEN = "abcdefghijklmnopqrstuvwxyz"
UBUNTU = f"/v2/wt/{TOKEN}/library/ubuntu"
DIGEST = digest_of(b"a layer")
CODES = {
    *("BLOB_UNKNOWN", "DENIED", "DIGEST_INVALID", "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID"),
    *("NAME_UNKNOWN", "SIZE_INVALID", "TOOMANYREQUESTS", "UNAUTHORIZED", "UNKNOWN", "UNSUPPORTED"),
}


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

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """*headers* with `_` for `-`."""
        sent: list[dict[str, object]] = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: object) -> None:
            sent.append(message)  # type: ignore[arg-type]

        path, _, query = path.partition("?")
        pairs = [(name.replace("_", "-").encode(), text.encode("latin-1")) for name, text in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode("utf-8", "surrogatepass")}
        scope |= {"query_string": query.encode("utf-8", "surrogatepass"), "headers": pairs}
        await self._handler(scope, receive, send)  # type: ignore[arg-type]
        start, end = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}  # type: ignore[attr-defined]
        return Answer(start["status"], headers, end["body"])  # type: ignore[arg-type]


class Tally:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, grant: Grant, document: Document) -> None:
        self.count += 1


def granted() -> Grant:
    return Grant(
        token=TOKEN,
        image="docker.io/library/ubuntu:22.04",
        platform="linux/amd64",
        created=NOON,
        expires=NOON + timedelta(hours=36),
    )


@pytest.fixture
def pull_counter() -> Tally:
    return Tally()


@pytest.fixture
async def client(grants: MemoryGrants, ends: KnownEnds, images: MemoryImages, pull_counter: Tally) -> Client:
    await grants.put(granted())
    use_case = Pulls(grants, ends, images, UnlimitedPulls(), "https://wave.example.org")
    return Client(RegistryHandler(use_case, pull_counter, ClientAddress()))


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
async def test_the_ping_needs_no_token(client: Client, path: str) -> None:
    """Every client begins with it; a 401 here would send it to look for a password."""
    answer = await client.ask(path)

    assert (answer.status, answer.body) == (200, b"{}")


async def test_a_manifest_comes_with_its_digest(client: Client, images: MemoryImages, pull_counter: Tally) -> None:
    """HEAD has the same headers as GET, without the body; only GET is a pull."""
    got = await client.ask(f"{UBUNTU}/manifests/22.04")
    head = await client.ask(f"{UBUNTU}/manifests/22.04", "HEAD")

    assert (got.status, got.body) == (200, images.document.content)
    assert got.headers["docker-content-digest"] == images.document.digest
    assert got.headers["etag"] == f'"{images.document.digest}"'
    assert got.headers["content-length"] == str(len(images.document.content))
    assert (head.status, head.headers, head.body) == (200, got.headers, b"")
    assert pull_counter.count == 1


async def test_a_blob_is_a_redirect_to_its_bytes(client: Client) -> None:
    """HEAD is answered directly with the existence and the size of the blob."""
    answer = await client.ask(f"{UBUNTU}/blobs/{DIGEST}")
    head = await client.ask(f"{UBUNTU}/blobs/{DIGEST}", "HEAD")

    assert (answer.status, answer.headers["location"]) == (307, f"http://data.test/blobs/{DIGEST}")
    assert answer.headers["content-length"] == "0"
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "3")
    assert head.headers["accept-ranges"] == "bytes"
    assert head.headers["docker-content-digest"] == answer.headers["docker-content-digest"] == DIGEST
    assert head.headers["content-type"] == "application/octet-stream"


async def test_a_server_that_is_closed_to_strangers_serves_them_no_more(
    grants: MemoryGrants, ends: KnownEnds, images: MemoryImages, pull_counter: Tally
) -> None:
    """Tokens that were given before live on for a day and a half; those of users go on."""
    pulls = Pulls(grants, ends, images, UnlimitedPulls(), "https://wave.example.org", anonymous_access=False)
    client = Client(RegistryHandler(pulls, pull_counter, ClientAddress()))
    for path in (f"{UBUNTU}/manifests/22.04", f"{UBUNTU}/blobs/{DIGEST}", f"{UBUNTU}/tags/list"):
        await grants.put(granted())
        refused = await client.ask(path)
        await grants.put(structs.replace(granted(), user="ada"))

        assert (refused.status, refused.error["code"]) == (404, "NAME_UNKNOWN")
        assert (await client.ask(path)).status < 400


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("condition", ['"{}"', 'W/"{}"', '"sha256:0", W/"{}"', "*"])
async def test_a_client_that_has_a_manifest_receives_no_content(
    client: Client, images: MemoryImages, pull_counter: Tally, method: str, condition: str
) -> None:
    """Caches ask so; nothing was pulled, so nothing is counted as a pull."""
    digest = images.document.digest

    answer = await client.ask(f"{UBUNTU}/manifests/22.04", method, if_none_match=condition.format(digest))

    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", f'"{digest}"')
    assert pull_counter.count == 0
    assert (await client.ask(f"{UBUNTU}/manifests/22.04", method, if_none_match='"sha256:0"')).status == 200


async def test_an_image_is_served_as_what_it_is(client: Client, images: MemoryImages) -> None:
    """An image has one form only; a client that does not support it reports that better than a 406."""
    for accept in ("text/html", "application/vnd.docker.distribution.manifest.v1+json", "*/*;q=0", ";;,/"):
        answer = await client.ask(f"{UBUNTU}/manifests/22.04", accept=accept)

        assert (answer.status, answer.headers["content-type"]) == (200, images.document.media_type)


@pytest.mark.parametrize(
    ("media_type", "served"),
    [
        ("text/html", "application/octet-stream"),
        ("text/html; charset=utf-8", "application/octet-stream"),
        (f"{OCI_MANIFEST};charset=utf-8", OCI_MANIFEST),
        (DOCKER_LIST, DOCKER_LIST),
    ],
)
async def test_a_manifest_has_a_known_type_or_none(
    client: Client, images: MemoryImages, media_type: str, served: str
) -> None:
    """A registry that calls its manifest a page would run its scripts as this server's."""
    images.document = Document(media_type, images.document.content)

    answer = await client.ask(f"{UBUNTU}/manifests/22.04")

    assert (answer.status, answer.headers["content-type"]) == (200, served)


async def test_a_blob_is_octets_for_any_media_type_of_its_manifest(
    client: Client, images: MemoryImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The media type of a layer is its author's word."""

    async def locate(grant: Grant, digest: str) -> Location:
        return Location("http://data.test/", 3, "text/html", 2_000_000_000)

    monkeypatch.setattr(images, "locate", locate)
    head = await client.ask(f"{UBUNTU}/blobs/{DIGEST}", "HEAD")

    assert head.headers["content-type"] == "application/octet-stream"


async def test_a_digest_that_was_asked_for_is_the_one_that_is_answered(client: Client) -> None:
    """A client compares the digest in the response with the one it requested; the bytes were verified already."""
    digest = "sha512:" + 128 * "a"

    answer = await client.ask(f"{UBUNTU}/manifests/{digest}")

    assert (answer.headers["docker-content-digest"], answer.headers["etag"]) == (digest, f'"{digest}"')


async def test_the_tags_are_the_one_that_was_granted(client: Client, grants: MemoryGrants) -> None:
    """The other tags of the repository are other people's (S-2); the name is that which the client knows."""
    listed = await client.ask(f"{UBUNTU}/tags/list")
    head = await client.ask(f"{UBUNTU}/tags/list", "HEAD")
    name = f"wt/{TOKEN}/library/ubuntu"

    assert msgspec.json.decode(listed.body) == {"name": name, "tags": ["22.04"]}
    assert (head.status, head.headers, head.body) == (200, listed.headers, b"")
    for query in ("n=0", "last=22.04", "last=zz&n=5"):
        assert msgspec.json.decode((await client.ask(f"{UBUNTU}/tags/list?{query}")).body)["tags"] == []
    await grants.put(msgspec.structs.replace(grants.stored[TOKEN], image=f"docker.io/library/ubuntu@{DIGEST}"))
    assert msgspec.json.decode((await client.ask(f"{UBUNTU}/tags/list")).body) == {"name": name, "tags": []}


async def test_an_image_by_digest_with_additions_has_a_tag_of_its_own(client: Client, grants: MemoryGrants) -> None:
    """Another tag is not served, and `docker pull` needs one: the digest names the image without the additions."""
    config = ContainerConfig(env=("A=b",))
    pinned = f"docker.io/library/ubuntu@{DIGEST}"
    await grants.put(structs.replace(granted(), image=pinned, container_config=config))

    answers = [await client.ask(f"{UBUNTU}/manifests/{tag}") for tag in (tag_of(DIGEST), "22.04", "latest")]

    assert [answer.status for answer in answers] == [200, 404, 404]
    assert msgspec.json.decode((await client.ask(f"{UBUNTU}/tags/list")).body)["tags"] == [tag_of(DIGEST)]


async def test_referrers_are_an_index_that_can_be_sorted_out(client: Client, images: MemoryImages) -> None:
    """The filter is named in the response, as the distribution-spec requires."""
    images.referring = b'{"artifactType":"application/a"},{"artifactType":"application/b"}'

    whole = await client.ask(f"{UBUNTU}/referrers/{DIGEST}")
    some = await client.ask(f"{UBUNTU}/referrers/{DIGEST}?artifactType=application%2Fb")

    assert whole.headers["content-type"] == some.headers["content-type"] == OCI_INDEX
    assert "oci-filters-applied" not in whole.headers
    assert some.headers["oci-filters-applied"] == "artifactType"
    assert len(msgspec.json.decode(whole.body)["manifests"]) == 2
    assert msgspec.json.decode(some.body)["manifests"] == [{"artifactType": "application/b"}]


@pytest.mark.parametrize("error", [each for each in every_class() if each.__module__ == SwellError.__module__])
async def test_every_error_has_a_code_of_the_specification(
    client: Client, images: MemoryImages, error: type[SwellError]
) -> None:
    """Clients know the codes of the distribution-spec and UNKNOWN; 429 and 503 have `Retry-After`."""
    images.fails = error()

    answer = await client.ask(f"{UBUNTU}/manifests/22.04")

    assert answer.status == error.status
    assert answer.error["code"] in CODES
    assert ("retry-after" in answer.headers) >= (error.status in {429, 503})
    assert "docker-distribution-api-version" in answer.headers


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    path=st.one_of(
        st.text(),
        st.text().map(lambda text: f"/v2/{text}"),
        st.builds(
            "{}/{}/{}?{}".format,
            st.just(UBUNTU),
            st.sampled_from(["manifests", "blobs", "tags", "referrers", "x"]),
            st.one_of(st.text(), st.sampled_from(["22.04", "list", DIGEST])),
            st.text(),
        ),
    ),
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS", ""]),
    headers=st.dictionaries(
        st.sampled_from(["if_none_match", "accept", "range"]), st.text(st.characters(codec="latin-1"))
    ),
)
async def test_no_request_causes_an_internal_error(
    client: Client, path: str, method: str, headers: dict[str, str]
) -> None:
    """A registry's answer, or a registry's refusal; and HEAD says what GET says."""
    answer = await client.ask(path, method, **headers)

    assert answer.status < 500
    if answer.status >= 400 and method != "HEAD":
        assert answer.error["code"] in CODES
    if method == "HEAD" and "/blobs/" not in path:
        got = await client.ask(path, "GET", **headers)
        assert (got.status, got.headers) == (answer.status, answer.headers)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/v2/wt/{'z' * 26}/library/ubuntu/manifests/22.04", 404, "NAME_UNKNOWN"),
        (f"/v2/wt/{TOKEN}/library/debian/manifests/12", 404, "NAME_UNKNOWN"),
        (f"{UBUNTU}/blobs/sha256:baddigest", 400, "DIGEST_INVALID"),
        (f"{UBUNTU}/manifests/sha256:baddigest", 400, "DIGEST_INVALID"),
        (f"{UBUNTU}/referrers/sha256:baddigest", 400, "DIGEST_INVALID"),
        (f"{UBUNTU}/manifests/latest", 404, "MANIFEST_UNKNOWN"),
        ("/v2/wt/T/library/ubuntu/manifests/22.04", 404, "NAME_UNKNOWN"),
        (f"{UBUNTU}/tags", 404, "NAME_INVALID"),
        ("/v2/library/ubuntu/manifests/22.04", 404, "NAME_INVALID"),
        ("/v2/_catalog", 404, "UNSUPPORTED"),
        ("/v2/%ff/..//manifests/", 404, "NAME_INVALID"),
    ],
)
async def test_what_no_token_opens_is_not_found(client: Client, path: str, status: int, code: str) -> None:
    """Unknown, expired and foreign look the same, and the token is not echoed."""
    answer = await client.ask(path)

    assert (answer.status, answer.error["code"]) == (status, code)
    assert "z" * 26 not in answer.error["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_pushing_is_refused_with_a_code_of_the_specification(client: Client, method: str) -> None:
    """Clients show the code and the message of the distribution-spec."""
    answer = await client.ask(f"{UBUNTU}/manifests/22.04", method)

    assert (answer.status, answer.error["code"], answer.headers["allow"]) == (405, "UNSUPPORTED", "GET, HEAD")


async def test_a_pull_of_a_failed_build_gets_the_reason(client: Client, grants: MemoryGrants, ends: KnownEnds) -> None:
    """A user who pulls sees only this message, so it has the reason and the URL of the log."""
    await grants.put(msgspec.structs.replace(grants.stored[TOKEN], build_id="bd-0_1"))
    ends.results["bd-0_1"] = ended(succeeded=False, message="The step 'RUN false' ended with exit status 1.")

    answer = await client.ask(f"{UBUNTU}/manifests/22.04")

    assert (answer.status, answer.error["code"]) == (404, "MANIFEST_UNKNOWN")
    assert "'RUN false' ended with exit status 1" in answer.error["message"]
    assert "https://wave.example.org/v1alpha1/builds/bd-0_1/logs" in answer.error["message"]


async def test_a_build_that_succeeded_opens_its_image(client: Client, grants: MemoryGrants, ends: KnownEnds) -> None:
    """A pull that waited for the build continues without another request."""
    await grants.put(msgspec.structs.replace(grants.stored[TOKEN], build_id="bd-0_1"))
    ends.results["bd-0_1"] = ended(succeeded=True)

    assert (await client.ask(f"{UBUNTU}/manifests/22.04")).status == 200


async def test_a_token_that_is_taken_away_while_its_build_runs_opens_nothing(
    client: Client, grants: MemoryGrants, ends: KnownEnds
) -> None:
    """The pull may wait for minutes, so the token is checked again after the build."""
    await grants.put(msgspec.structs.replace(grants.stored[TOKEN], build_id="bd-0_1"))

    async def end_of(build_id: str) -> BuildResult:
        await grants.revoke(TOKEN)
        return ended(succeeded=True)

    ends.result = end_of  # type: ignore[method-assign]

    assert (await client.ask(f"{UBUNTU}/manifests/22.04")).status == 404


async def test_an_unexpected_error_shows_no_details(client: Client, images: MemoryImages) -> None:
    """The story is for the log; the client gets a code and a status."""
    images.document = None  # type: ignore[assignment]

    answer = await client.ask(f"{UBUNTU}/manifests/22.04")

    assert (answer.status, answer.error["code"]) == (500, "UNKNOWN")
    assert "NoneType" not in answer.error["message"]


class Outage(MemoryImages):
    """Images that a backend cannot serve for the next *failures* requests."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def manifest(self, grant: Grant, reference: str) -> Document:
        if self.failures:
            self.failures -= 1
            raise Unavailable
        return await super().manifest(grant, reference)


@pytest.mark.parametrize(("was_known", "status"), [(False, 200), (True, 503)])
async def test_a_pull_that_has_waited_for_its_build_outlives_a_short_outage(
    was_known: bool, status: int, grants: MemoryGrants, ends: KnownEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client has waited for minutes. Other pulls are refused at once: their clients can try again."""
    monkeypatch.setattr(retry, "PAUSES", (0.001, 0.001))
    monkeypatch.setattr(ends, "is_known", lambda _: was_known)
    ends.results["bd-1_1"] = ended(succeeded=True)
    await grants.put(structs.replace(granted(), build_id="bd-1_1"))
    handler = Pulls(grants, ends, Outage(3), UnlimitedPulls(), "https://wave.example.org")

    answer = await Client(RegistryHandler(handler, Tally(), ClientAddress())).ask(f"{UBUNTU}/manifests/22.04")

    assert answer.status == status


async def test_a_pull_does_not_wait_for_ever_for_a_backend(
    grants: MemoryGrants, ends: KnownEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time of a short outage, the client gets 503."""
    monkeypatch.setattr(retry, "PAUSES", (0.001, 0.001))
    monkeypatch.setattr(pulls, "SHORT_OUTAGE", timedelta(milliseconds=20))
    ends.results["bd-1_1"] = ended(succeeded=True)
    await grants.put(structs.replace(granted(), build_id="bd-1_1"))
    handler = Pulls(grants, ends, Outage(1_000_000), UnlimitedPulls(), "https://wave.example.org")

    answer = await Client(RegistryHandler(handler, Tally(), ClientAddress())).ask(f"{UBUNTU}/manifests/22.04")

    assert answer.status == 503
