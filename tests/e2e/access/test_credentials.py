"""Which credentials are used for which caller, as the table in `docs/operating.md` says, and results that are not
public.

The private registry is a real one with HTTP Basic; the operator does not share it.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from swell_embedded.stack import Stack
from tests.e2e.busybox import FORMS, archive
from tests.e2e.client import PLAIN, PULLER, PUSHER, Swell, as_data, client_of, encoded
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, image_of

CALLERS = {"anonymous": "", "a key": PLAIN, "operator-pull": PULLER, "operator-push": PUSHER}
CONTAINER, FIRST, INSPECT = "/v1alpha2/container", "/container-token", "/v1alpha1/inspect"
LAYER = {"location": "", "gzipDigest": "", "gzipSize": 1, "tarDigest": "sha256:" + "0" * 64}


@pytest.fixture(scope="module")
async def closed(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that shares only its embedded registry."""
    async with new_stack(tmp_path_factory.mktemp("closed"), SHARED_REGISTRIES="") as stack:
        yield stack


@pytest.fixture(scope="module")
async def client(closed: Stack) -> AsyncIterator[Swell]:
    async with client_of(closed.url) as client:
        yield client


async def ask(client: Swell, caller: str, path: str = CONTAINER, **request: Any) -> tuple[int, dict[str, Any]]:
    return await client.post(path, **request, towerAccessToken=CALLERS[caller])


def actions(upstreams: Upstreams, closed: Stack) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the rows of the table. Each uses its own container file, so no result is reused in another row."""
    private, public = image_of(upstreams.basic, FORMS[0]), upstreams.image()
    shared = closed.env["SWELL_BUILD_REPOSITORY"].partition("/")[0] + "/library/not-there:1"
    foreign = f"{upstreams.basic}/acme/table"
    blob = {**LAYER, "location": f"docker://{upstreams.basic}/v2/library/busybox/blobs/sha256:" + "1" * 64}
    blob["gzipDigest"] = "sha256:" + "1" * 64
    return {
        "pull a public image": (CONTAINER, {"containerImage": public}),
        "pull a private image": (CONTAINER, {"containerImage": private}),
        "pull a private image, first version": (FIRST, {"containerImage": private}),
        "inspect a private image": (INSPECT, {"containerImage": private}),
        "include a private image": (CONTAINER, {"containerImage": public, "containerIncludes": [private]}),
        "build FROM a private image": (CONTAINER, {"containerFile": encoded(f"FROM {private}\nLABEL a=1\n")}),
        "build FROM a private image that buildArgs name": (
            CONTAINER,
            {
                "containerFile": encoded(f"ARG BASE={public}\nFROM $BASE\nLABEL a=5\n"),
                "buildArgs": {"BASE": private},
            },
        ),
        "build with COPY --from a private image": (
            CONTAINER,
            {"containerFile": encoded(f"FROM {public}\nCOPY --from={private} /bin/busybox /copied\n")},
        ),
        "dry run FROM a private image": (
            CONTAINER,
            {"containerFile": encoded(f"FROM {private}\nLABEL a=2\n"), "dryRun": True},
        ),
        "packages on a private image": (
            CONTAINER,
            {
                "packages": {"type": "CONDA", "entries": ["a"], "condaOpts": {"baseImage": private}},
                "buildTemplate": "conda/micromamba:v2",
                "dryRun": True,
            },
        ),
        "push to a repository of others": (
            CONTAINER,
            {"containerImage": public, "freeze": True, "buildRepository": foreign},
        ),
        "dry run of such a push": (
            CONTAINER,
            {"containerImage": public, "freeze": True, "buildRepository": foreign, "dryRun": True},
        ),
        "store steps in a repository of others": (
            CONTAINER,
            {
                "containerFile": encoded(f"FROM {public}\nLABEL a=3\n"),
                "buildRepository": foreign,
                "cacheRepository": f"{upstreams.basic}/acme/steps",
            },
        ),
        "copy a public image": (
            CONTAINER,
            {"containerImage": public, "mirror": True, "buildRepository": foreign, "dryRun": True},
        ),
        "copy a private image": (
            CONTAINER,
            {"containerImage": private, "mirror": True, "buildRepository": f"{upstreams.bearer}/acme", "dryRun": True},
        ),
        "push to this server's repository": (CONTAINER, {"containerFile": encoded(f"FROM {public}\nLABEL a=4\n")}),
        "name an image of a shared registry": (CONTAINER, {"containerImage": shared}),
    }


PULLS, PUSHES = {"operator-pull"}, {"operator-push"}
ALLOWED = {
    "pull a public image": set(CALLERS),
    "pull a private image": PULLS,
    "pull a private image, first version": PULLS,
    "inspect a private image": PULLS,
    "include a private image": PULLS,
    "build FROM a private image": PULLS,
    "build FROM a private image that buildArgs name": PULLS,
    "build with COPY --from a private image": PULLS,
    "dry run FROM a private image": PULLS,
    "packages on a private image": PULLS,
    "push to a repository of others": PUSHES,
    "dry run of such a push": PUSHES,
    "store steps in a repository of others": PUSHES,
    "copy a public image": PUSHES,
    "copy a private image": set(),
    "push to this server's repository": set(CALLERS),
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("action", ALLOWED)
async def test_the_table_of_credentials(
    client: Swell, closed: Stack, upstreams: Upstreams, action: str, caller: str
) -> None:
    """Checks each cell of the table in `docs/operating.md`; a refusal names the missing scope."""
    path, request = actions(upstreams, closed)[action]

    status, answer = await ask(client, caller, path, **request)

    if caller in ALLOWED[action]:
        assert status == 200, answer
    else:
        assert 400 <= status < 500, answer
        is_pushed = ALLOWED[action] == PUSHES or (not ALLOWED[action] and caller not in PUSHES)
        missing = "operator-push" if is_pushed else "operator-pull"
        if action.startswith("copy") and caller == "anonymous":
            missing = "token"  # Wave's rule: only users copy images
        assert missing in str(answer), answer


@pytest.mark.parametrize("caller", CALLERS)
async def test_a_shared_registry_is_readable_by_all_clients(
    client: Swell, closed: Stack, upstreams: Upstreams, caller: str
) -> None:
    """The embedded registry has a password, and every client learns which images it does not have."""
    _, request = actions(upstreams, closed)["name an image of a shared registry"]

    status, answer = await ask(client, caller, **request)

    assert (status, "not" in answer["message"]) == (400, True)
    assert "operator-pull" not in answer["message"], answer


async def test_a_result_needs_access_to_its_base_image(client: Swell, upstreams: Upstreams) -> None:
    """A guessed container file gives no token for the image of a private base: running, built, or in a dry run."""
    containerfile = encoded(f"FROM {image_of(upstreams.basic, FORMS[0])}\nLABEL of=a-private-base\n")
    status, first = await ask(client, "operator-pull", containerFile=containerfile)
    assert status == 200, first

    joined, _ = await ask(client, "anonymous", containerFile=containerfile)
    assert (await client.ended(first["buildId"]))["succeeded"], await client.log(first["buildId"])
    cached, refusal = await ask(client, "anonymous", containerFile=containerfile)
    dry, _ = await ask(client, "anonymous", containerFile=containerfile, dryRun=True)
    _, answer = await ask(client, "operator-pull", containerFile=containerfile)

    assert (joined, cached, dry) == (400, 400, 400), refusal
    assert answer["cached"]


async def test_an_image_of_this_server_needs_access_to_its_base_image(
    client: Swell, closed: Stack, upstreams: Upstreams
) -> None:
    """The image is named, included, inspected or used as base. The record of its build lists its base images."""
    images = {}
    for name, base in {"private": image_of(upstreams.basic, FORMS[0]), "public": upstreams.image()}.items():
        containerfile = encoded(f"FROM {base}\nLABEL of=named-directly\n")
        _, answer = await ask(client, "operator-pull", containerFile=containerfile)
        assert (await client.ended(answer["buildId"]))["succeeded"], await client.log(answer["buildId"])
        _, record = await client.get(f"/v1alpha1/builds/{answer['buildId']}")
        images[name] = record["targetImage"]

    def requests(image: str) -> list[tuple[str, dict[str, Any]]]:
        return [
            (CONTAINER, {"containerImage": image}),
            (CONTAINER, {"containerImage": upstreams.image(), "containerIncludes": [image]}),
            (INSPECT, {"containerImage": image}),
        ]

    for path, request in requests(images["private"]):
        status, answer = await ask(client, "anonymous", path, **request)
        assert status == 403, answer
        assert "operator-pull" in str(answer)
        assert (await ask(client, "operator-pull", path, **request))[0] == 200
    for path, request in requests(images["public"]):
        assert (await ask(client, "anonymous", path, **request))[0] == 200
    unknown = f"{closed.env['SWELL_BUILD_REPOSITORY']}:unknown"
    assert (await ask(client, "anonymous", containerImage=unknown))[0] == 403


async def test_an_image_of_this_server_needs_access_to_all_its_inputs(
    client: Swell, closed: Stack, upstreams: Upstreams
) -> None:
    """Its base is public, but its context is a blob of a private registry, or came with another client's request."""
    private = image_of(upstreams.basic, FORMS[0])
    _, seen = await ask(client, "operator-pull", INSPECT, containerImage=private)
    layer, diff_id = seen["container"]["manifest"]["layers"][0], seen["container"]["config"]["rootfs"]["diff_ids"][0]
    name, _, _ = private.removeprefix(f"{upstreams.basic}/").partition(":")
    blob = f"docker://{upstreams.basic}/v2/{name}/blobs/{layer['digest']}"
    known = {"gzipDigest": layer["digest"], "gzipSize": layer["size"], "tarDigest": diff_id}
    contexts = {"operator-pull": {"location": blob, **known}, "a key": as_data(archive({"secret.txt": b"mine"}))}

    for caller, context in contexts.items():
        containerfile = encoded(f"FROM {upstreams.image()}\nCOPY . /context\nLABEL by={len(caller)}\n")
        _, made = await ask(client, caller, containerFile=containerfile, buildContext=context)
        assert (await client.ended(made["buildId"]))["succeeded"], await client.log(made["buildId"])
        image = made["containerImage"]
        status, own = await ask(client, caller, containerImage=image)
        assert status == 200, own
        for request in ({"containerImage": image}, {"containerFile": encoded(f"FROM {image}\nLABEL b=1\n")}):
            status, refusal = await ask(client, "anonymous", **request)
            assert (status, "operator-pull" in refusal["message"]) == (403, True), refusal

    public = encoded(f"FROM {upstreams.image()}\nLABEL of=all\n")
    _, made = await ask(client, "anonymous", containerFile=public)
    assert (await client.ended(made["buildId"]))["succeeded"]
    both = {"containerImage": made["containerImage"], "containerIncludes": [image]}
    assert (await ask(client, "anonymous", containerImage=made["containerImage"]))[0] == 200
    assert (await ask(client, "anonymous", **both))[0] == 403  # the first one opens its repository, but not the second
