"""Packages as layers, from the request to the running container, with a local channel."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.e2e.client import Swell, encoded
from tests.e2e.command_line.test_cli_doctor import swell_of
from tests.e2e.engines import Containers
from tests.e2e.upstreams import Upstreams
from tests.integration.builder.conda.channel import Channel


def request_for(channel: Channel, upstreams: Upstreams, *entries: str, form: str = "oci-index") -> dict[str, Any]:
    packages = {
        "type": "CONDA",
        "entries": entries,
        "channels": [channel.url],
        "condaOpts": {"baseImage": upstreams.image(form), "basePackages": ""},
    }
    return {"packages": packages, "buildTemplate": "conda/direct:v1"}


@pytest.mark.parametrize("form", ["docker", "oci-index"])
async def test_packages_run_in_the_image(swell: Swell, channel: Channel, upstreams: Upstreams, form: str) -> None:
    """The base image is of the docker or the OCI format. The pull waits for the build, and podman runs the result."""
    command = ["/bin/sh", "-c", "tool-2; echo $CONDA_PREFIX $PATH"]
    request = request_for(channel, upstreams, "tool", "greeter", "python", form=form)
    answer = await swell.submit(**request, containerConfig={"entrypoint": command})
    with TemporaryDirectory(prefix="e2e-") as folder:
        said = await Containers("podman", Path(folder)).run(answer["targetImage"])
    assert "hello from /opt/conda\nlibrary\n/opt/conda /opt/conda/bin:" in said
    log = await swell.log(answer["buildId"])
    assert "4 packages for linux-64 become layers on" in log
    assert "CONDA_LOCK" not in log
    _, lock = await swell.read(f"/v1alpha1/builds/{answer['buildId']}/condalock")
    assert f"{channel.url}/linux-64/tool-1.0-0.conda#sha256:" in lock.decode()


async def test_a_repeated_request_is_not_solved_again(swell: Swell, channel: Channel, upstreams: Upstreams) -> None:
    """The result is the image of the first build."""
    first = await swell.submit(**request_for(channel, upstreams, "greeter"))
    await swell.ended(first["buildId"])
    second = await swell.submit(**request_for(channel, upstreams, "greeter"))
    assert (second["cached"], second["buildId"]) == (True, first["buildId"])


async def test_the_lock_file_of_a_build_gives_the_same_image(
    swell: Swell, channel: Channel, upstreams: Upstreams
) -> None:
    """The name differs, because the request differs. The bytes are equal."""
    first = await swell.submit(**request_for(channel, upstreams, "tool", "python"))
    await swell.ended(first["buildId"])
    _, lock = await swell.read(f"/v1alpha1/builds/{first['buildId']}/condalock")
    again = request_for(channel, upstreams)
    again["packages"] |= {"environment": encoded(lock.decode()), "entries": None}
    second = await swell.submit(**again)
    await swell.ended(second["buildId"])
    assert first["buildId"] != second["buildId"]
    assert await digest(swell, first["buildId"]) == await digest(swell, second["buildId"])


async def digest(swell: Swell, build_id: str) -> str:
    _, record = await swell.get(f"/v1alpha1/builds/{build_id}")
    assert record["digest"].startswith("sha256:")
    return str(record["digest"])


async def test_a_request_that_cannot_be_solved_is_refused_at_once(
    swell: Swell, channel: Channel, upstreams: Upstreams
) -> None:
    """The response has the explanation of the solver, and no build starts."""
    status, answer = await swell.post(**request_for(channel, upstreams, "tool", "libgreet=2"))
    assert status == 400
    assert "libgreet >=1,<2, which cannot be installed" in json.dumps(answer, ensure_ascii=False)
    status, answer = await swell.post(**request_for(channel, upstreams, "nothing-of-that-name"))
    assert status == 400
    assert "No candidates were found for nothing-of-that-name" in json.dumps(answer)
    assert (await swell.post(**request_for(channel, upstreams, "nothing-of-that-name"), dryRun=True))[0] == 400


async def test_the_command_line_prints_a_lock_that_gives_the_same_image(
    swell: Swell, channel: Channel, upstreams: Upstreams, tmp_path: Path
) -> None:
    """`swell lock` of a build is the environment of the next one."""
    options = ("--template", "conda/direct:v1", "--base-image", upstreams.image(), "--base-packages", "", "-o", "json")
    code, out, err = await swell_of(swell.url, tmp_path, "build", "-p", "greeter", "-c", channel.url, *options)
    assert code == 0, err
    first = json.loads(out)

    _, lock, _ = await swell_of(swell.url, tmp_path, "lock", first["buildId"])
    (tmp_path / "lock.txt").write_text(lock)
    code, out, err = await swell_of(swell.url, tmp_path, "build", "-e", str(tmp_path / "lock.txt"), *options)

    assert code == 0, err
    again = json.loads(out)
    assert "greeter" in lock
    records = [(await swell.get(f"/v1alpha1/builds/{each['buildId']}"))[1] for each in (first, again)]
    assert records[0]["digest"] == records[1]["digest"]
