"""Reading from registries: a scripted registry shows common variants and faults."""

import asyncio
import gzip
import hashlib
import json
from datetime import timedelta

import pytest
from aiohttp import web

from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.deliver.transfer import Body, Redirect
from swell.errors import (
    BlobUnknown,
    Denied,
    ManifestInvalid,
    ManifestUnknown,
    SwellError,
    TooManyRequests,
    UpstreamFailed,
    UpstreamSlow,
)
from swell.net.outbound import Policy, Reach, open_session
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest, digest_of
from swell.oci.media_types import ACCEPT, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.keyring import Keyring
from tests.integration.registry_proxy.support import Answer, Script, broken_off, make_image, said

IMAGE = make_image()
DIGEST = digest_of(IMAGE.manifest)
PATH = "/v2/team/tool/manifests/1"
CONFIG = Descriptor(media_type=OCI_CONFIG, digest=digest_of(IMAGE.config), size=len(IMAGE.config))
CONFIG_PATH = f"/v2/team/tool/blobs/{CONFIG.digest}"

good = said(body=IMAGE.manifest, content_type=OCI_MANIFEST, Docker_Content_Digest=DIGEST)


def tool(script: Script, version: str = ":1") -> Reference:
    return parse_reference(f"{script.authority}/team/tool{version}")


async def test_a_manifest_comes_with_its_bytes_and_type(script: Script, upstream: RegistryUpstream) -> None:
    """The request accepts every supported type, independent of the client's `Accept`."""
    script.on(PATH, good)

    document = await upstream.fetch_manifest(tool(script))

    assert (document.content, document.media_type, document.digest) == (IMAGE.manifest, OCI_MANIFEST, DIGEST)
    assert script.headers[0]["Accept"] == ACCEPT


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (said(404, b"secret"), ManifestUnknown, "repository '.*/team/tool:1' not found"),
        (said(401, b"secret"), Denied, "is not accessible"),
        (said(401, b"secret", WWW_Authenticate='Basic realm="secret"'), Denied, "is not accessible"),
        (said(403, b"secret"), Denied, "is not accessible"),
        (said(429, b"secret", Retry_After="7"), TooManyRequests, "takes no more requests"),
        (said(418, b"secret"), UpstreamFailed, "answers 418"),
        (said(500, b"secret"), UpstreamFailed, "answers 500"),
        (said(200, b"<html>secret</html>", content_type="text/html"), ManifestInvalid, "JSON"),
        (said(200, b"[]", content_type=OCI_MANIFEST), ManifestInvalid, "JSON object"),
        (said(200, bytes(5 << 20), content_type=OCI_MANIFEST), UpstreamFailed, "more than"),
        (said(200, IMAGE.manifest, Docker_Content_Digest=digest_of(b"x")), UpstreamFailed, "another digest"),
        (said(302), UpstreamFailed, "redirects"),
        (broken_off(b"secret", 100), UpstreamFailed, "broke off"),
    ],
)
async def test_errors_of_a_registry_are_distinguished_and_not_quoted(
    script: Script, upstream: RegistryUpstream, answer: Answer, error: type[SwellError], message: str
) -> None:
    """What it wrote may hold anything; its challenge would make our client ask our users for passwords."""
    script.on(PATH, answer)

    with pytest.raises(error, match=message) as caught:
        await upstream.fetch_manifest(tool(script))

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("header", "expected"), [("7", 7), ("0", 1), ("999999", 3600), ("soon", 60), ("²", 60)])
async def test_how_long_to_wait_is_handed_on_within_reason(
    script: Script, upstream: RegistryUpstream, header: str, expected: int
) -> None:
    """Clients that keep to it come back in time; a wild value must not lock them out for a day."""
    script.on(PATH, said(429, Retry_After=header))

    with pytest.raises(TooManyRequests) as caught:
        await upstream.fetch_manifest(tool(script))

    assert caught.value.retry_after == expected
    assert len(script.seen) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_hiccup_is_asked_through(script: Script, upstream: RegistryUpstream, status: int) -> None:
    """Docker and containerd give up at the first one."""
    script.on(PATH, said(status), said(status), good)

    assert (await upstream.fetch_manifest(tool(script))).digest == DIGEST


async def test_a_body_that_breaks_off_is_asked_for_again(script: Script, upstream: RegistryUpstream) -> None:
    """Manifests and configs are small: the whole again is simpler than the rest."""
    script.on(PATH, broken_off(IMAGE.manifest[:10], len(IMAGE.manifest)), good)
    script.on(CONFIG_PATH, broken_off(IMAGE.config[:10], len(IMAGE.config)), said(body=IMAGE.config))

    document = await upstream.fetch_manifest(tool(script))
    config = await upstream.fetch_config(tool(script), CONFIG)

    assert (document.content, config.content) == (IMAGE.manifest, IMAGE.config)


async def test_a_lasting_hiccup_ends(script: Script, upstream: RegistryUpstream) -> None:
    """Three times is enough for a client that waits."""
    script.on(PATH, said(503))

    with pytest.raises(UpstreamFailed, match="answers 503"):
        await upstream.fetch_manifest(tool(script))

    assert len(script.seen) == 3


async def test_a_registry_that_says_nothing_is_given_up(script: Script) -> None:
    """The deadline is over all tries; it is shortened here, and real time passes."""

    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    script.on(PATH, silent)

    reach = Reach(answer_timeout=timedelta(seconds=0.3))
    async with open_session(Policy(frozenset({"127.0.0.1"})), reach) as session:
        with pytest.raises(UpstreamSlow, match="does not answer in time"):
            await RegistryUpstream(session, Keyring()).fetch_manifest(tool(script))


async def test_a_manifest_by_digest_has_that_digest(script: Script, upstream: RegistryUpstream) -> None:
    """Otherwise a registry or a proxy could replace a pinned image."""
    wrong = digest_of(b"something else")
    script.on(f"/v2/team/tool/manifests/{DIGEST}", good)
    script.on(f"/v2/team/tool/manifests/{wrong}", said(body=IMAGE.manifest, content_type=OCI_MANIFEST))

    assert (await upstream.fetch_manifest(tool(script, f"@{DIGEST}"))).digest == DIGEST
    with pytest.raises(UpstreamFailed, match="another digest"):
        await upstream.fetch_manifest(tool(script, f"@{wrong}"))


async def test_a_digest_is_returned_without_reading_the_manifest(script: Script, upstream: RegistryUpstream) -> None:
    """A HEAD costs nothing of Docker Hub's pull limit."""
    script.on(PATH, good)

    assert await upstream.head_manifest(tool(script)) == DIGEST
    assert [method for method, *_ in script.seen] == ["HEAD"]


@pytest.mark.parametrize("header", ["", "sha256:short"])
async def test_a_registry_that_sends_no_digest_is_read(script: Script, upstream: RegistryUpstream, header: str) -> None:
    """The header is optional in the specification."""
    script.on(PATH, said(body=IMAGE.manifest, content_type=OCI_MANIFEST, Docker_Content_Digest=header))

    assert await upstream.head_manifest(tool(script)) == DIGEST


@pytest.mark.parametrize("status", [400, 405, 501])
async def test_a_registry_that_does_not_know_head_is_read(
    script: Script, upstream: RegistryUpstream, status: int
) -> None:
    """Clients fall back to GET there, too; what GET says then counts."""
    script.on(PATH, said(status), good)
    assert await upstream.head_manifest(tool(script)) == DIGEST

    script.on(PATH, said(status), said(404))
    with pytest.raises(ManifestUnknown):
        await upstream.head_manifest(tool(script))


async def test_a_place_that_is_signed_for_get_alone_is_read(
    script: Script, other: Script, upstream: RegistryUpstream
) -> None:
    """Object stores refuse HEAD with a link for GET. Only what GET says counts."""
    script.on(PATH, said(307, Location=f"{other.url}/signed"))
    other.on("/signed", said(403), said(body=IMAGE.manifest, content_type=OCI_MANIFEST))

    assert await upstream.head_manifest(tool(script)) == DIGEST
    assert [method for method, _, _ in other.seen] == ["HEAD", "GET"]
    script.on(PATH, said(403), good)
    assert await upstream.head_manifest(tool(script)) == DIGEST
    script.on(PATH, said(403))
    with pytest.raises(Denied):
        await upstream.head_manifest(tool(script))


async def test_gzip_is_undone_where_it_was_applied(script: Script, upstream: RegistryUpstream) -> None:
    """Some registries compress unasked, others only say so. Clients written in Go read both."""
    script.on(PATH, said(body=IMAGE.manifest, content_type=OCI_MANIFEST, Content_Encoding="gzip"))
    assert (await upstream.fetch_manifest(tool(script))).digest == DIGEST

    encoded = gzip.compress(IMAGE.manifest)
    script.on(PATH, said(body=encoded, content_type=OCI_MANIFEST, Content_Encoding="gzip"))
    assert (await upstream.fetch_manifest(tool(script))).content == IMAGE.manifest


async def test_a_config_is_read_through_a_redirect_and_verified(
    script: Script, other: Script, upstream: RegistryUpstream
) -> None:
    """Storage is another origin, and its bytes are believed no more than the registry's."""
    script.on(CONFIG_PATH, said(307, Location=str(other.url / "stored")))
    other.on("/stored", said(body=IMAGE.config), said(body=IMAGE.config[:-1] + b" "))

    document = await upstream.fetch_config(tool(script), CONFIG)

    assert (document.content, document.media_type) == (IMAGE.config, OCI_CONFIG)
    with pytest.raises(UpstreamFailed, match="another digest"):
        await upstream.fetch_config(tool(script), CONFIG)


async def test_a_config_that_is_missing_or_huge_is_refused(script: Script, upstream: RegistryUpstream) -> None:
    """The second without asking for it."""
    with pytest.raises(BlobUnknown):
        await upstream.fetch_config(tool(script), CONFIG)
    with pytest.raises(ManifestInvalid):
        await upstream.fetch_config(tool(script), Descriptor(digest=CONFIG.digest, size=9 << 20))

    assert len(script.seen) == 1


async def opened(
    upstream: RegistryUpstream, reference: Reference, digest: Digest
) -> Redirect | tuple[int | None, bytes]:
    async with upstream.open_blob(reference, digest) as found:
        if isinstance(found, Body):
            return found.size, b"".join([piece async for piece in found.pieces])
        return found


async def test_a_blob_comes_as_its_bytes(script: Script, upstream: RegistryUpstream) -> None:
    """With the length, if the registry sends it."""
    script.on(CONFIG_PATH, said(body=IMAGE.config))

    assert await opened(upstream, tool(script), CONFIG.digest) == (len(IMAGE.config), IMAGE.config)


@pytest.mark.parametrize("location", ["http://cdn.example/a%2Fb?sig=%2B&x=~", "/elsewhere?a=b"])
async def test_a_blobs_redirect_is_not_followed(script: Script, upstream: RegistryUpstream, location: str) -> None:
    """Our client goes there itself; a signed address must come through to the letter."""
    script.on(CONFIG_PATH, said(307, Location=location))

    found = await opened(upstream, tool(script), CONFIG.digest)

    assert found == Redirect(location if "://" in location else f"{script.url}{location}")


async def test_a_missing_blob_is_unknown(script: Script, upstream: RegistryUpstream) -> None:
    """And the message names the repository."""
    with pytest.raises(BlobUnknown, match=r"of repository '.*/team/tool' not found"):
        await opened(upstream, tool(script), CONFIG.digest)


REFERRER = {
    "mediaType": OCI_MANIFEST,
    "digest": digest_of(b"a signature"),
    "size": 11,
    "artifactType": "application/sig",
}
REFERRERS = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [REFERRER]}).encode()
REFERRERS_PATH = f"/v2/team/tool/referrers/{DIGEST}"
REFERRERS_TAG = f"/v2/team/tool/manifests/{DIGEST.replace(':', '-')}"


async def test_referrers_come_from_their_endpoint(script: Script, upstream: RegistryUpstream) -> None:
    """The referrers API of the distribution-spec."""
    script.on(REFERRERS_PATH, said(body=REFERRERS, content_type=OCI_INDEX))

    found = await upstream.fetch_referrers(tool(script, f"@{DIGEST}"))

    assert found and found.content == REFERRERS


@pytest.mark.parametrize("status", [400, 404, 405, 501])
async def test_referrers_come_from_their_tag_where_the_question_is_not_known(
    script: Script, upstream: RegistryUpstream, status: int
) -> None:
    """What registries did before there was an end-point."""
    script.on(REFERRERS_PATH, said(status))
    script.on(REFERRERS_TAG, said(body=REFERRERS, content_type=OCI_INDEX))

    found = await upstream.fetch_referrers(tool(script, f"@{DIGEST}"))

    assert found and found.content == REFERRERS


async def test_without_referrers_there_are_none(script: Script, upstream: RegistryUpstream) -> None:
    """Nothing at all, an empty index, or something under the tag that is no index."""
    image = tool(script, f"@{DIGEST}")
    assert await upstream.fetch_referrers(image) is None
    script.on(REFERRERS_TAG, good)
    assert await upstream.fetch_referrers(image) is None
    empty = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    script.on(REFERRERS_PATH, said(body=empty, content_type=OCI_INDEX))
    assert await upstream.fetch_referrers(image) is None


async def test_a_registry_that_refuses_referrers_gives_an_error(script: Script, upstream: RegistryUpstream) -> None:
    """A refusal must not look like an image without signatures."""
    script.on(REFERRERS_PATH, said(403))

    with pytest.raises(Denied):
        await upstream.fetch_referrers(tool(script, f"@{DIGEST}"))


SHA512 = f"sha512:{hashlib.sha512(IMAGE.manifest).hexdigest()}"


async def test_a_manifest_named_by_sha512_is_verified_by_it(script: Script, upstream: RegistryUpstream) -> None:
    """Registries also send its sha256; the requested digest decides."""
    path, image = f"/v2/team/tool/manifests/{SHA512}", tool(script, f"@{SHA512}")
    script.on(path, good)

    assert (await upstream.fetch_manifest(image)).content == IMAGE.manifest
    assert await upstream.head_manifest(image) == SHA512

    script.on(path, said(body=IMAGE.manifest + b" ", content_type=OCI_MANIFEST))
    for question in (upstream.fetch_manifest, upstream.head_manifest):
        with pytest.raises(UpstreamFailed):
            await question(image)
