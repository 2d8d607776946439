"""Layer caches, compression and what a build reaches, as a client of the API meets them."""

import json

import aiohttp

from swell_embedded.stack import Stack
from tests.e2e.client import Swell
from tests.e2e.upstreams import Upstreams


def registry_of(stack: Stack) -> str:
    """The embedded registry, where clients of this machine may have repositories of their own."""
    return stack.env["SWELL_BUILD_REPOSITORY"].partition("/")[0]


# An image that tells its history.
FROM = "FROM {} AS tools\nFROM scratch\nCOPY --from=tools /bin /bin\n"


async def test_recipes_with_the_same_beginning_share_it(swell: Swell, stack: Stack, upstreams: Upstreams) -> None:
    """With a cache of one's own beside a repository of one's own."""
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


async def test_a_base_image_without_a_history_is_built_from_without_a_cache(
    swell: Swell, stack: Stack, upstreams: Upstreams
) -> None:
    """Some tools leave it out, and buildah cannot keep steps apart then; the image is made nevertheless."""
    mine = {
        "buildRepository": f"{registry_of(stack)}/acme/images",
        "cacheRepository": f"{registry_of(stack)}/acme/cache",
    }
    build_id = (await swell.build(f"FROM {upstreams.image()}\nRUN date > /one\nRUN date > /two\n", **mine))["buildId"]
    assert (await swell.ended(build_id))["succeeded"], await swell.log(build_id)


async def test_a_cache_of_ones_own_has_no_part_in_images_for_everybody(
    swell: Swell, stack: Stack, upstreams: Upstreams
) -> None:
    """Whoever asks for the same recipe gets the same image, so it is not made of what one client has put somewhere."""
    containerfile = f"FROM {upstreams.image()}\nRUN echo for everybody\n"
    build_id = (await swell.build(containerfile, cacheRepository=f"{registry_of(stack)}/acme/cache"))["buildId"]
    assert (await swell.ended(build_id))["succeeded"]
    assert "cache" not in await swell.log(build_id)


async def test_layers_come_as_they_were_asked_for(swell: Swell, upstreams: Upstreams) -> None:
    """From the request to the bytes that are pulled through the token."""
    answer = await swell.build(
        f"FROM {upstreams.image()}\nRUN echo small > /small\n", buildCompression={"mode": "zstd", "level": 19}
    )
    assert (await swell.ended(answer["buildId"]))["succeeded"]
    name, _, tag = answer["targetImage"].partition("/")[2].rpartition(":")
    manifest = json.loads(await swell.bytes(f"/v2/{name}/manifests/{tag}"))
    assert manifest["layers"][-1]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
    assert (await swell.bytes(f"/v2/{name}/blobs/{manifest['layers'][-1]['digest']}"))[:4] == b"\x28\xb5\x2f\xfd"


async def test_a_level_that_does_not_exist_is_refused(swell: Swell, upstreams: Upstreams) -> None:
    """Before anything is queued."""
    _, refused = await swell.post(containerFile="RlJPTSBhCg==", buildCompression={"mode": "gzip", "level": 22})
    assert "buildCompression.level of gzip can be 0 to 9" in refused["message"]


async def test_a_dockerfile_cannot_read_the_object_store(swell: Swell, stack: Stack, upstreams: Upstreams) -> None:
    """Its inner ports want no password, and have everybody's layers and logs."""
    host, _, port = stack.env["SWELL_S3_ENDPOINT"].rpartition("/")[2].partition(":")
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/") as answer:
        assert answer.status  # from here, it answers
    build_id = (await swell.build(f"FROM {upstreams.image()}\nADD http://{host}:{port}/ /stolen\n"))["buildId"]
    assert (await swell.ended(build_id))["succeeded"] is False
    assert "connection refused" in await swell.log(build_id)
