"""Layer caches, compression and the network of builds, as clients of the API see them."""

import asyncio
import json

import aiohttp
import pytest

from swell.oci.digest import digest_of
from swell.oci.media_types import ACCEPT
from swell_embedded.stack import Stack
from tests.e2e.client import Swell
from tests.e2e.upstreams import Upstreams


def registry_of(stack: Stack) -> str:
    """Return the address of the embedded registry, in which local clients may have their own repositories."""
    return stack.env["SWELL_BUILD_REPOSITORY"].partition("/")[0]


# an image with a history
FROM = "FROM {} AS tools\nFROM scratch\nCOPY --from=tools /bin /bin\n"


async def test_container_files_with_the_same_first_steps_share_them(
    swell: Swell, stack: Stack, upstreams: Upstreams
) -> None:
    """The client names its own cache and its own build repository."""
    mine = {
        "buildRepository": f"{registry_of(stack)}/acme/images",
        "cacheRepository": f"{registry_of(stack)}/acme/cache",
    }
    logs = []
    for end in ("one", "two"):
        containerfile = FROM.format(upstreams.image()) + f"RUN date > /began\nRUN echo {end}\n"
        build_id = (await swell.build(containerfile, **mine))["buildId"]
        assert (await swell.ended(build_id))["succeeded"], await swell.log(build_id)
        logs.append(await swell.log(build_id))

    words = ("CACHED", "Using cache")  # of BuildKit, of buildah
    assert not any(word in logs[0].partition("date >")[2].partition("\n\n")[0] for word in words)
    assert any(word in logs[1] for word in words)


async def test_a_rebuild_runs_every_step_again(swell: Swell, stack: Stack, upstreams: Upstreams) -> None:
    """Neither the builder's own cache nor the one of the client answers; the new image replaces the old one."""
    mine = {
        "buildRepository": f"{registry_of(stack)}/acme/images",
        "cacheRepository": f"{registry_of(stack)}/acme/cache",
    }
    containerfile = FROM.format(upstreams.image()) + "RUN cat /proc/sys/kernel/random/uuid > /random\n"
    digests = []
    for more in ({}, {"rebuild": True}):
        answer = await swell.build(containerfile, **mine, **more)
        assert answer["cached"] is False
        ended = await swell.ended(answer["buildId"])
        assert ended["succeeded"], await swell.log(answer["buildId"])
        name, _, tag = answer["targetImage"].partition("/")[2].rpartition(":")
        manifest = await swell.bytes(f"/v2/{name}/manifests/{tag}")
        digests.append(digest_of(manifest))
        record = (await swell.get(f"/v1alpha1/builds/{answer['buildId']}"))[1]
        assert record["digest"] == digests[-1]  # not the image of the earlier build, which had the same tag

    assert digests[0] != digests[1]
    assert (await swell.build(containerfile, **mine))["cached"] is True


@pytest.mark.parametrize("part", ["tag", "layer"])
async def test_a_removed_part_of_an_image_is_noticed_within_a_second(
    swell: Swell, stack: Stack, upstreams: Upstreams, part: str
) -> None:
    """The image is built again, and the new token opens a whole image."""
    containerfile = f"FROM {upstreams.image()}\nRUN echo {part} > /removed\n"
    first = await swell.build(containerfile)
    assert (await swell.ended(first["buildId"]))["succeeded"]
    assert (await swell.build(containerfile))["cached"] is True  # which every cache knows now
    await remove(stack, first["containerImage"], part)

    async with asyncio.timeout(30):
        while (again := await swell.build(containerfile))["cached"]:  # noqa: ASYNC110  no event reports it
            await asyncio.sleep(0.2)

    assert again["buildId"] != first["buildId"]
    assert (await swell.ended(again["buildId"]))["succeeded"], await swell.log(again["buildId"])
    name, _, tag = again["targetImage"].partition("/")[2].rpartition(":")
    manifest = json.loads(await swell.bytes(f"/v2/{name}/manifests/{tag}"))
    for blob in (manifest["config"], *manifest["layers"]):
        assert digest_of(await swell.bytes(f"/v2/{name}/blobs/{blob['digest']}")) == blob["digest"]
    assert (await swell.build(containerfile))["cached"] is True


async def remove(stack: Stack, image: str, part: str) -> None:
    """Delete the manifest or the last layer of *image* in the embedded registry."""
    known = stack.registry
    name, _, tag = image.partition("/")[2].rpartition(":")
    base = f"http://{known.address.replace('localhost', '127.0.0.1')}/v2/{name}"
    login = {"Authorization": aiohttp.encode_basic_auth(known.username, known.password)}
    async with aiohttp.ClientSession(headers=login) as registry:
        async with registry.get(f"{base}/manifests/{tag}", headers={"Accept": ACCEPT}) as answer:
            digest, manifest = answer.headers["Docker-Content-Digest"], json.loads(await answer.read())
        path = f"manifests/{digest}" if part == "tag" else f"blobs/{manifest['layers'][-1]['digest']}"
        async with registry.delete(f"{base}/{path}") as answer:
            assert answer.status == 202


async def test_a_base_image_without_a_history_builds_without_a_cache(
    swell: Swell, stack: Stack, upstreams: Upstreams
) -> None:
    """Some tools omit the history, and buildah then cannot distinguish steps. The image is built nevertheless."""
    mine = {
        "buildRepository": f"{registry_of(stack)}/acme/images",
        "cacheRepository": f"{registry_of(stack)}/acme/cache",
    }
    build_id = (await swell.build(f"FROM {upstreams.image()}\nRUN date > /one\nRUN date > /two\n", **mine))["buildId"]
    assert (await swell.ended(build_id))["succeeded"], await swell.log(build_id)


async def test_a_clients_cache_is_not_used_for_shared_images(swell: Swell, stack: Stack, upstreams: Upstreams) -> None:
    """The same container file gives all clients the same image, so no client's cache may supply its layers."""
    containerfile = f"FROM {upstreams.image()}\nRUN echo for all\n"
    build_id = (await swell.build(containerfile, cacheRepository=f"{registry_of(stack)}/acme/cache"))["buildId"]
    assert (await swell.ended(build_id))["succeeded"]
    assert "cache" not in await swell.log(build_id)


async def test_layers_have_the_requested_compression(swell: Swell, upstreams: Upstreams) -> None:
    """The claim holds from the request to the bytes that a client pulls."""
    answer = await swell.build(
        f"FROM {upstreams.image()}\nRUN echo small > /small\n", buildCompression={"mode": "zstd", "level": 19}
    )
    assert (await swell.ended(answer["buildId"]))["succeeded"]
    name, _, tag = answer["targetImage"].partition("/")[2].rpartition(":")
    manifest = json.loads(await swell.bytes(f"/v2/{name}/manifests/{tag}"))
    assert manifest["layers"][-1]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
    assert (await swell.bytes(f"/v2/{name}/blobs/{manifest['layers'][-1]['digest']}"))[:4] == b"\x28\xb5\x2f\xfd"


async def test_an_invalid_compression_level_is_refused(swell: Swell, upstreams: Upstreams) -> None:
    """The request is refused before a build is queued."""
    _, refused = await swell.post(containerFile="RlJPTSBhCg==", buildCompression={"mode": "gzip", "level": 22})
    assert "buildCompression.level of gzip must be 0 to 9" in refused["message"]


async def test_a_dockerfile_cannot_read_the_object_store(swell: Swell, stack: Stack, upstreams: Upstreams) -> None:
    """Its internal ports need no password and contain the layers and logs of all clients."""
    host, _, port = stack.env["SWELL_S3_ENDPOINT"].rpartition("/")[2].partition(":")
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/") as answer:
        assert answer.status  # the port answers requests from this process
    build_id = (await swell.build(f"FROM {upstreams.image()}\nADD http://{host}:{port}/ /stolen\n"))["buildId"]
    assert (await swell.ended(build_id))["succeeded"] is False
    assert "connection refused" in await swell.log(build_id)
