"""What requests can contain beyond an image and a container file, and the records of requests."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest

from gateway.adapters.access.confirmed_cache import FRESH
from swell.oci.digest import digest_of
from swell_embedded.stack import Stack
from tests.e2e.builds.test_builds import manifest_path
from tests.e2e.busybox import archive, document_of, push, root
from tests.e2e.client import Fields, Swell, as_data, client_of, encoded, until
from tests.e2e.engines import Engine, pull, succeed
from tests.e2e.environment import gateway_beside
from tests.e2e.upstreams import Upstreams, image_of, running

LOGIN = aiohttp.encode_basic_auth("anna", "secret")
FIRST = "/container-token"
SECOND = "/v1alpha2/container"

SHOW = archive({"opt/show": b'#!/bin/sh\npwd\necho "args: $*"\nenv\n[ ! -e /included.txt ] || cat /included.txt\n'})
"""A program that prints its arguments, working directory, files and environment."""

HOSTILE = [
    "QUOTED=a 'b' \"c\"",
    "DOLLARS=$HOME ${PATH:-x} $(id) `id`",
    "BLANKS= two  words ",
    "EMPTY=",
    "SLASHES=\\$a\\",
]
CONFIG = {
    "entrypoint": ["/opt/show", "--all", "$HOME"],
    "env": HOSTILE,
    "workingDir": '/some where/$x "y"',
    "layers": [as_data(SHOW)],
}
SHOWN = {'/some where/$x "y"', "args: --all $HOME", "MODE=base", *HOSTILE}

TOOL = b"""#!/bin/sh
case "$*" in
*" -f "*/conda.yml)
    for file; do :; done
    mkdir -p /opt/conda/bin && cp $file /opt/conda/bin/samtools && chmod +x /opt/conda/bin/samtools
    echo "installed $((6 * 7))" ;;
"env export"*) printf '@EXPLICIT\\nhttps://conda.example.org/samtools-1.17.conda\\n' ;;
esac
"""
"""A stand-in for micromamba: its `samtools` prints the list of requested packages."""
LOCK = b"@EXPLICIT\nhttps://conda.example.org/samtools-1.17.conda\n"
PASSWD = {"etc/passwd": b"root:x:0:0::/:/bin/sh\nmamba:x:1000:1000::/:/bin/sh\n", "etc/group": b"mamba:x:1000:\n"}

SAMTOOLS = {"type": "CONDA", "entries": ["samtools=1.17"], "channels": ["conda-forge", "bioconda"]}


@pytest.mark.parametrize("engine", ["skopeo"], indirect=True)
async def test_a_frozen_image_is_pulled_from_the_registry_that_the_client_named(
    swell: Swell, upstreams: Upstreams, images: str, engine: Engine
) -> None:
    """It outlives every token, so the response has none. The image contains all additions unchanged."""
    image = await push(
        f"{upstreams.open}/acme/entry:1", root(), Env=["PATH=/bin", "MODE=base"], Entrypoint=["/run", "a"]
    )
    answer = await swell.submit(containerImage=image, containerConfig=CONFIG, freeze=True, buildRepository=images)
    done = await _done(swell, answer["requestId"])

    again = await swell.submit(containerImage=image, containerConfig=CONFIG, freeze=True, buildRepository=images)

    said = set((await engine.run(answer["targetImage"])).splitlines())

    assert answer["targetImage"] == answer["containerImage"] == f"{images}:{_id(answer)}"
    assert (answer["freeze"], "containerToken" in answer, "expiration" in answer) == (True, False, False)
    assert done["succeeded"] is True
    assert (again["targetImage"], again["cached"], again["succeeded"]) == (answer["targetImage"], True, True)
    assert said >= SHOWN | {"WAVE_ENTRY_CHAIN=/run a"}


@pytest.mark.parametrize("engine", ["podman"], indirect=True)
async def test_a_frozen_build_has_its_own_steps_its_config_and_its_includes(
    swell: Swell, upstreams: Upstreams, images: str, engine: Engine
) -> None:
    """Included layers are part of the image. The entrypoint of the container file is in WAVE_ENTRY_CHAIN."""
    included = await push(f"{upstreams.open}/acme/included:1", archive({"included.txt": b"of another image\n"}))
    answer = await swell.build(
        f'FROM {upstreams.image()}\nENV STEP=done\nENTRYPOINT ["/own", "start"]\n',
        containerConfig=CONFIG,
        containerIncludes=[included],
        freeze=True,
        buildRepository=images,
    )
    assert (await swell.ended(answer["buildId"]))["succeeded"], await swell.log(answer["buildId"])

    said = set((await engine.run(answer["targetImage"])).splitlines())

    assert said >= SHOWN | {"WAVE_ENTRY_CHAIN=/own start", "STEP=done", "of another image"}


async def test_a_frozen_image_is_not_served_through_its_request(
    swell: Swell, upstreams: Upstreams, images: str
) -> None:
    """The error contains the name that works."""
    answer = await swell.submit(containerImage=upstreams.image(), freeze=True, buildRepository=images)
    path = manifest_path(f"host/wt/{answer['requestId']}/{answer['targetImage'].partition('/')[2]}")

    status, refused = await swell.get(path)

    assert status == 404
    assert answer["targetImage"] in refused["errors"][0]["message"]
    await swell.ended(answer["buildId"])


@pytest.mark.parametrize("engine", ["skopeo", "podman"], indirect=True)
async def test_included_images_come_on_top_in_their_order(swell: Swell, upstreams: Upstreams, engine: Engine) -> None:
    """Each comes from its own registry with its own credentials; the last one overrides the others."""
    one = archive({"one.txt": b"one\n", "which.txt": b"first\n"})
    two = archive({"two.txt": b"two\n", "which.txt": b"second\n"})
    first = await push(f"{upstreams.open}/acme/one:1", one)
    second = await push(f"{upstreams.basic}/acme/two:1", two, authorization=_login(upstreams))
    answer = await swell.submit(
        containerImage=image_of(upstreams.bearer),
        containerIncludes=[first, second],
        containerConfig={"cmd": ["cat", "/one.txt", "/two.txt", "/which.txt"]},
    )

    said = (await engine.run(answer["targetImage"])).splitlines()

    assert said[-3:] == ["one", "two", "second"]


@pytest.mark.parametrize("engine", ["skopeo"], indirect=True)
@pytest.mark.row("E4")
async def test_packages_are_installed_and_their_lock_file_is_stored(
    swell: Swell, upstreams: Upstreams, engine: Engine
) -> None:
    """The image name shows the packages. The lock file is for programs, so it is not in the log."""
    image = await swell.submit(
        packages=SAMTOOLS | {"condaOpts": await tool_images(upstreams)},
        containerConfig={"cmd": ["sh", "-c", "cat $(which samtools)"]},
    )
    build_id = image["buildId"]

    assert (await swell.ended(build_id))["succeeded"], await swell.log(build_id)
    assert image["containerImage"].endswith(f":samtools-1.17--{_id(image)}")
    assert "- samtools=1.17" in await engine.run(image["targetImage"])
    assert await swell.bytes(f"/v1alpha1/builds/{build_id}/condalock") == LOCK
    log = await swell.log(build_id)
    assert "installed 42" in log
    assert LOCK.decode() not in log
    _, record = await swell.get(f"{SECOND}/{image['requestId']}")
    assert "- samtools=1.17" in record["condaFile"]


async def test_a_build_without_packages_has_no_lock_file(swell: Swell, upstreams: Upstreams) -> None:
    """The status is 404, as for an unknown build."""
    build_id = (await swell.build(f"FROM {upstreams.image()}\nENV NO=packages\n"))["buildId"]
    await swell.ended(build_id)

    assert (await swell.read(f"/v1alpha1/builds/{build_id}/condalock"))[0] == 404


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        (None, ":samtools-1.17--{}"),
        ("none", ":{}"),
        ("tagPrefix", ":samtools-1.17--{}"),
        ("imageSuffix", "/samtools:1.17--{}"),
    ],
)
async def test_the_name_strategy_places_package_names(
    stack: Stack, swell: Swell, strategy: str | None, name: str
) -> None:
    """Some registries need a repository for each tool, others have one for all."""
    answer = await swell.submit(packages=SAMTOOLS, nameStrategy=strategy, dryRun=True)

    assert answer["containerImage"] == stack.env["SWELL_BUILD_REPOSITORY"] + name.format(_id(answer))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"packages": SAMTOOLS}, ["micromamba install", "conda.yml"]),
        ({"packages": SAMTOOLS, "buildTemplate": "conda/pixi:v1"}, ["pixi init --import", "shell-hook"]),
        ({"packages": {"type": "CRAN", "entries": ["dplyr", "bioc::DESeq2"]}}, ["Rscript", "dplyr", "DESeq2"]),
    ],
)
async def test_a_dry_run_shows_the_container_file_of_packages(swell: Swell, request_: Fields, words: list[str]) -> None:
    """Users check a container file before they build it, or use it elsewhere."""
    answer = await swell.submit(**request_, dryRun=True)

    assert [word for word in words if word not in answer["containerFile"]] == []


async def test_a_dry_run_starts_nothing(swell: Swell, upstreams: Upstreams) -> None:
    """No build starts, and nothing can be pulled. The name is the one that the image would have."""
    containerfile = f"FROM {upstreams.image()}\nENV DRY=run\n"
    image = await swell.submit(containerImage=upstreams.image(), dryRun=True)
    dry = await swell.build(containerfile, dryRun=True)

    assert dry["buildId"].endswith("_0") and not dry["buildId"].startswith("bd-")
    assert (dry["cached"], dry["succeeded"], dry["containerFile"]) == (False, True, containerfile)
    assert (await swell.read(f"/v1alpha1/builds/{dry['buildId']}"))[0] == 404
    assert (await swell.read(f"/v1alpha1/builds/bd-{_id(dry)}_1"))[0] == 404
    for name in (image["targetImage"], dry["targetImage"]):
        assert (await swell.read(manifest_path(name)))[0] == 404
    assert (await _status(swell, dry["requestId"]))["status"] == "DONE"
    wet = await swell.build(containerfile)
    assert (wet["containerImage"], wet["buildId"], wet["cached"]) == (dry["containerImage"], f"bd-{_id(dry)}_1", False)
    await swell.ended(wet["buildId"])


async def test_the_first_version_of_the_api_gives_tokens_for_images(swell: Swell, upstreams: Upstreams) -> None:
    """Its responses have only the members that its clients expect."""
    status, answer = await swell.post(FIRST, containerImage=upstreams.image())

    assert status == 200
    assert answer.keys() == {"requestId", "containerToken", "targetImage", "expiration", "containerImage"}
    assert digest_of(await swell.bytes(manifest_path(answer["targetImage"]))) == document_of("docker").digest


async def test_the_first_version_of_the_api_returns_a_token_for_frozen_images(
    swell: Swell, upstreams: Upstreams, images: str
) -> None:
    """Its clients require the member; they pull the image from its own registry."""
    request = {"containerImage": upstreams.image(), "containerConfig": {"env": ["API=first"]}}
    _, answer = await swell.post(FIRST, **request, freeze=True, buildRepository=images)
    await swell.ended(answer["buildId"])

    assert answer["targetImage"] == answer["containerImage"] == f"{images}:{_id(answer)}"
    assert (answer["containerToken"], "expiration" in answer) == (answer["requestId"], True)


async def test_the_first_version_of_the_api_names_only_new_builds(
    swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """Its clients expect that a named build is still running."""
    request = {"containerFile": encoded(f"FROM {upstreams.image()}\nENV API=first\n")}
    _, new = await swell.post(FIRST, **request)
    assert (await pull(new["targetImage"], tmp_path)).status == 0

    _, again = await swell.post(FIRST, **request)

    assert new["buildId"].startswith("bd-")
    assert new.keys() - again.keys() == {"buildId"}
    assert again["containerImage"] == new["containerImage"]
    assert await swell.bytes(manifest_path(again["targetImage"])) == await swell.bytes(
        manifest_path(new["targetImage"])
    )


@pytest.mark.parametrize("form", ["docker", "oci-index"])
async def test_the_record_of_a_request_has_the_digests_of_its_image(
    swell: Swell, upstreams: Upstreams, form: str
) -> None:
    """After the first pull it has the digest in the registry and the digest that was served."""
    image = upstreams.image(form)
    request = {"containerImage": image, "timestamp": "2026-03-01T10:30:00+01:00", "fingerprint": "f1"}
    config = {"env": ["STAGE=qa"], "layers": [as_data(SHOW)]}
    answer = await swell.submit(**request, containerConfig=config)
    path = f"{SECOND}/{answer['requestId']}"
    _, before = await swell.get(path)
    manifest = await swell.bytes(manifest_path(answer["targetImage"]))

    record = await until(lambda: _pulled(swell, path))

    source = await succeed("skopeo", "inspect", "--tls-verify=false", "--format={{.Digest}}", f"docker://{image}")
    digests = {"sourceDigest": source.strip(), "waveDigest": digest_of(manifest)}
    assert (record, digests["sourceDigest"]) == (before | digests, document_of(form).digest)
    layer = as_data(SHOW) | {"location": "data:DATA+OMITTED"}
    assert record == digests | {
        "id": answer["requestId"],
        "containerImage": image,
        "containerConfig": {"env": ["STAGE=qa"], "layers": [layer]},
        "platform": "linux/amd64",
        "towerEndpoint": "https://api.cloud.seqera.io",
        "fingerprint": "f1",
        "timestamp": "2026-03-01T09:30:00Z",
        "zoneId": "+01:00",
        "sourceImage": image,
        "waveImage": answer["targetImage"],
        "expiration": answer["expiration"],
        "mirror": False,
    }


async def test_a_token_is_described_in_the_form_of_the_first_version(swell: Swell, upstreams: Upstreams) -> None:
    """The build part is empty for a plain image; for a build it contains the files as text."""
    image = upstreams.image()
    plain = await swell.submit(containerImage=image)
    built = await swell.build(f"FROM {image}\nENV DESCRIBED=yes\n")

    _, description = await swell.get(f"{FIRST}/{plain['containerToken']}")
    _, built_record = await swell.get(f"{FIRST}/{built['containerToken']}")

    assert description.keys() == {"token", "expiration", "request", "build", "source", "wave"}
    assert (description["token"], description["build"]) == (plain["containerToken"], {})
    assert (description["source"], description["wave"]) == ({"image": image}, {"image": plain["targetImage"]})
    build = {"containerFile": f"FROM {image}\nENV DESCRIBED=yes\n", "buildId": built["buildId"], "buildNew": True}
    assert built_record["build"] == build | {"freeze": False}
    await swell.ended(built["buildId"])


@pytest.mark.parametrize("path", [FIRST, SECOND])
async def test_an_unknown_request_has_no_record(swell: Swell, path: str) -> None:
    """The status is 404 in both versions of the API."""
    assert (await swell.read(f"{path}/ffffffffffff"))[0] == 404


@pytest.fixture
async def gateways(stack: Stack, tmp_path: Path) -> AsyncIterator[list[Swell]]:
    """Clients of two gateways of the stack, with an operator's account for Anna."""
    accounts = tmp_path / "accounts"
    accounts.write_bytes(b"anna:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)) + b"\n")
    async with AsyncExitStack() as opened:
        clients = []
        for name in ("one", "two"):
            url, program = gateway_beside(stack, name, ACCOUNTS_FILE=str(accounts))
            await opened.enter_async_context(running(program, tmp_path))
            clients.append(await opened.enter_async_context(client_of(url)))
        yield clients


async def test_a_revoked_token_opens_nothing_at_any_gateway(gateways: list[Swell], upstreams: Upstreams) -> None:
    """Caches in memory are invalidated. Only an account may revoke a token, and the record of the request stays."""
    answer = await gateways[0].submit(containerImage=upstreams.image())
    path, token = manifest_path(answer["targetImage"]), f"{FIRST}/{answer['containerToken']}"
    for gateway in gateways:
        await gateway.bytes(path)
    wrong = aiohttp.encode_basic_auth("anna", "guess")

    refused = (401, "Basic realm=Wave Authentication")
    assert [await gateways[0].delete(token, login) for login in ("", wrong)] == [refused, refused]
    assert (await gateways[0].read(path))[0] == 200
    assert await gateways[0].delete(token, LOGIN) == (200, "")

    assert (await gateways[0].read(path))[0] == 404
    await until(lambda: _is_closed(gateways[1], path), seconds=FRESH - 1)  # before the gateway reads the grant again
    assert await gateways[0].delete(token, LOGIN) == (404, "")
    assert (await gateways[0].read(token))[0] == 200


def _id(answer: Fields) -> str:
    """Return the container id, which names of builds and images contain."""
    return str(answer["buildId"].removeprefix("bd-").rpartition("_")[0])


def _login(upstreams: Upstreams) -> str:
    """Return the credentials of the registry `basic`, for a client that pushes there."""
    auths = json.loads(upstreams.auth_file.read_bytes())["auths"]
    return f"Basic {auths[upstreams.basic]['auth']}"


async def tool_images(upstreams: Upstreams) -> dict[str, str]:
    """The image with the stand-in for micromamba, and the base image that its result is copied into."""
    users = archive(PASSWD | {"tmp/.keep": b""})
    tool = archive({"bin/micromamba": TOOL}, links={"usr/bin/env": "/bin/env"})
    env = ["PATH=/bin", "MAMBA_ROOT_PREFIX=/opt/conda", "MAMBA_USER=mamba"]
    return {
        "mambaImage": await push(f"{upstreams.open}/acme/micromamba:2", root(), users, tool, Env=env, User="mamba"),
        "baseImage": await push(f"{upstreams.open}/acme/base:1", root(), users, Env=["PATH=/bin"]),
    }


async def _status(swell: Swell, request_id: str) -> Fields:
    return (await swell.get(f"{SECOND}/{request_id}/status"))[1]


async def _done(swell: Swell, request_id: str) -> Fields:
    """Return the status of a request after its end."""

    async def look() -> Fields | None:
        status = await _status(swell, request_id)
        return status if status["status"] == "DONE" else None

    return await until(look, seconds=120)


async def _pulled(swell: Swell, path: str) -> Any:
    _, record = await swell.get(path)
    return record if "waveDigest" in record else None


async def _is_closed(swell: Swell, path: str) -> bool:
    return (await swell.read(path))[0] == 404
