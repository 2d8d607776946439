"""The `wave` command line with the running stack: its output, its exit code and its requests."""

import asyncio
import json
import time
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
import yaml

from swell_embedded.stack import Stack
from tests.conformance.clients.faulty_proxy import DROPPED, Fault, faulty_proxy
from tests.conformance.clients.wave_cli import Output, WaveCli
from tests.conformance.clients.wire import Clock
from tests.e2e.busybox import archive
from tests.e2e.client import Swell, as_data, client_of, encoded
from tests.e2e.engines import Engine, pull
from tests.e2e.environment import gateway_beside
from tests.e2e.raw import submit
from tests.e2e.upstreams import Upstreams, running

ALWAYS = {"dryRun": False, "freeze": False, "mirror": False, "timestamp": "2026-11-24T18:18:56.434114140+05:30"}
LONG = timedelta(hours=2)  # two minutes and a half of real time
SUBMITTED = "POST /v1alpha2/container"


def build(upstreams: Upstreams, step: str, **more: object) -> dict[str, object]:
    """`wave -f Dockerfile`."""
    return ALWAYS | {"containerFile": encoded(f"FROM {upstreams.image()}\n{step}\n")} | more


def image(upstreams: Upstreams) -> dict[str, object]:
    """`wave -i IMAGE`."""
    return ALWAYS | {"containerImage": upstreams.image(), "towerEndpoint": "https://api.cloud.seqera.io"}


@pytest.mark.row("T1", "T13")
async def test_only_the_image_name_is_printed(cli: WaveCli, upstreams: Upstreams) -> None:
    """Scripts store the output in a variable."""
    ran = await cli.run(image(upstreams))

    assert (ran.code, ran.stderr) == (0, "")
    name = ran.stdout.removesuffix("\n")
    assert "\n" not in name
    assert name.startswith(f"{cli.wire.endpoint.removeprefix('http://')}/wt/")


@pytest.mark.row("R9", "R11", "R15")
async def test_json_has_the_known_members_that_are_not_null(cli: WaveCli, upstreams: Upstreams) -> None:
    """Scripts read these members."""
    response = json.loads((await cli.run(image(upstreams), Output.JSON)).stdout)
    built = json.loads((await cli.run(build(upstreams, "ENV A=json"), Output.JSON)).stdout)

    plain = {"containerImage", "containerToken", "expiration", "freeze", "mirror", "requestId", "targetImage"}
    assert response.keys() == plain | {"succeeded"}
    assert built.keys() == plain | {"buildId", "cached"}
    assert list(response) == sorted(response)


@pytest.mark.row("R10", "R16")
async def test_yaml_has_times_in_quotes(cli: WaveCli, upstreams: Upstreams) -> None:
    """A time without quotes would be read as another type."""
    ran = await cli.run(image(upstreams), Output.YAML)

    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("expiration: ")]
    assert line.startswith("expiration: '2")
    assert yaml.safe_load(ran.stdout)["expiration"].endswith("Z")


@pytest.mark.row("R2")
async def test_awaiting_a_plain_image_sends_no_status_request(cli: WaveCli, upstreams: Upstreams) -> None:
    """There is no build, so there is nothing to wait for."""
    ran = await cli.run(image(upstreams), wait=LONG)

    assert ran.code == 0
    assert [responses for responses, _ in cli.wire.attempts] == [SUBMITTED]


@pytest.mark.row("E3", "L9", "S1", "S2", "S7")
async def test_a_container_file_with_a_context_is_awaited_and_run(
    cli: WaveCli, upstreams: Upstreams, engine: Engine, request: pytest.FixtureRequest
) -> None:
    """`wave -f Dockerfile --context d --await`: the build sees exactly the packed files."""
    context = as_data(archive({"data/a.txt": b"packed\n", ".dockerignore": b"b.txt\n"}))
    command = '["sh", "-c", "cd /context; find . -type f; cat data/a.txt"]'
    step = f"COPY . /context\nENV OF={request.node.callspec.id}\nCMD {command}"

    ran = await cli.run(build(upstreams, step, buildContext=context), wait=LONG)

    assert ran.code == 0, ran.stderr
    said = (await engine.run(ran.stdout.strip())).split()
    assert set(said) - {"./.dockerignore"} == {"./data/a.txt", "packed"}


@pytest.mark.row("S5", "S6", "S8", "S19")
async def test_an_awaited_build_has_its_duration_in_yaml(cli: WaveCli, upstreams: Upstreams) -> None:
    """The duration is an ISO 8601 text."""
    response = yaml.safe_load((await cli.run(build(upstreams, "ENV A=yaml"), Output.YAML, wait=LONG)).stdout)

    assert (response["status"], response["succeeded"]) == ("DONE", True)
    assert 0 < float(response["duration"].removeprefix("PT").removesuffix("S")) < 120


async def test_a_short_build_is_awaited_without_a_pause(swell: Swell, upstreams: Upstreams) -> None:
    """The client polls at once and then after ten seconds; its first poll waits for the end of the build."""
    cli = WaveCli(swell.url, Clock())

    ran = await cli.run(build(upstreams, "ENV SHORT=build"), wait=LONG)

    assert ran.code == 0
    assert cli.wire.clock.slept == []


@pytest.mark.row("S9", "S10")
@pytest.mark.parametrize("output", Output)
async def test_a_failed_build_is_shown_in_each_format(cli: WaveCli, upstreams: Upstreams, output: Output) -> None:
    """Plain text: reason and address of the log on stderr, exit code 1. JSON: a normal response, exit code 0."""
    ran = await cli.run(build(upstreams, f"RUN exit 3 # {output}"), output, wait=LONG)

    if output == Output.PLAIN:
        assert (ran.code, ran.stdout) == (1, "")
        _, reason, address = ran.stderr.splitlines()
        assert reason
        assert address.startswith(f"{cli.wire.endpoint}/")
        return
    response = yaml.safe_load(ran.stdout)
    assert (ran.code, response["succeeded"]) == (0, False)
    assert ("reason" in response) == (output == Output.YAML)


@pytest.mark.row("S16")
async def test_a_second_is_too_short_for_a_slow_build(swell: Swell, upstreams: Upstreams) -> None:
    """The client checks the time after each poll, so it polls twice, ten seconds apart."""
    cli = WaveCli(swell.url, Clock())  # the ten seconds pass at once

    ran = await cli.run(build(upstreams, "RUN sleep 9"), wait=timedelta(seconds=1))

    assert (ran.code, ran.stdout) == (1, "")
    assert "max await time" in ran.stderr
    assert len(cli.wire.attempts) == 3
    assert cli.wire.clock.slept == [10.0]


@pytest.mark.row("I7")
async def test_info_has_no_note(cli: WaveCli) -> None:
    """The client adds a note when the server's version is too low."""
    ran = await cli.info()

    assert ran.code == 0
    assert "required" not in ran.stdout
    assert "1.37.0" in ran.stdout


@pytest.mark.row("I1", "I2")
@pytest.mark.parametrize("form", ["oci", "oci-index"])
async def test_inspect_prints_a_container_or_an_index(cli: WaveCli, upstreams: Upstreams, form: str) -> None:
    """The client makes the address of each layer from the registry's host."""
    name = upstreams.image(form)

    response = json.loads((await cli.inspect({"containerImage": name})).stdout)

    if form == "oci-index":
        assert len(response["index"]["manifests"]) == 2
        return
    (layer,) = response["container"]["manifest"]["layers"]
    registry, _, repository = name.rpartition(":")[0].partition("/")
    assert layer["uri"] == f"http://{registry}/v2/{repository}/blobs/{layer['digest']}"


@pytest.mark.row("T6")
async def test_a_refusal_is_shown_with_its_status(cli: WaveCli) -> None:
    """Users see the message of the server."""
    ran = await cli.run(ALWAYS | {"containerImage": "http://a"})

    assert ran.code == 1
    assert ran.stderr.startswith("[400] {")
    assert "scheme" in ran.stderr


@pytest.mark.row("T3")
@pytest.mark.parametrize("slashes", ["", "/", "//"])
async def test_a_server_behind_a_path_prefix_works(
    swell: Swell, upstreams: Upstreams, clock: Clock, slashes: str
) -> None:
    """The proxy strips the prefix. Slashes at the end of the endpoint do not matter."""
    async with faulty_proxy(swell.url, "/base") as proxy:
        cli = WaveCli(proxy.url + slashes, clock)
        ran = await cli.run(build(upstreams, f"ENV PREFIX={len(slashes)}"), wait=LONG)

    assert ran.code == 0, ran.stderr
    assert proxy.paths[0] == "POST /base/v1alpha2/container"
    assert all(path.startswith("GET /base/v1alpha2/container/") for path in proxy.paths[1:])


@pytest.mark.row("T8", "T9", "T11")
@pytest.mark.parametrize(
    "faults",
    [[Fault(503), Fault(503)], [Fault(502), Fault(504)], [DROPPED], [Fault(503, unseen=True), DROPPED]],
    ids=["503 twice", "502 and 504", "dropped", "unseen and dropped"],
)
async def test_a_repeated_request_is_one_build(
    swell: Swell, upstreams: Upstreams, clock: Clock, faults: list[Fault], request: pytest.FixtureRequest
) -> None:
    """The server may have processed the request before the response was lost."""
    async with faulty_proxy(swell.url) as proxy:
        cli = WaveCli(proxy.url, clock)
        proxy.faults = list(faults)
        ran = await cli.run(build(upstreams, f"ENV AGAIN={request.node.callspec.id.replace(' ', '-')}"), Output.JSON)

    assert ran.code == 0, ran.stderr
    assert len(cli.wire.attempts) == len(faults) + 1
    assert len(set(cli.wire.attempts)) == 1
    assert json.loads(ran.stdout)["buildId"].endswith("_1")


@pytest.mark.row("T10")
async def test_the_command_line_gives_up_at_429(swell: Swell, upstreams: Upstreams, clock: Clock) -> None:
    """The client has no retry for 429."""
    async with faulty_proxy(swell.url) as proxy:
        proxy.faults = [Fault(429, {"Retry-After": "1"}, unseen=True)]
        ran = await WaveCli(proxy.url, clock).run(image(upstreams))

    assert (ran.code, ran.stderr[:5], proxy.faults) == (1, "[429]", [])


@pytest.mark.row("T4", "T5")
async def test_one_connection_takes_a_get_with_a_content_type_and_a_post(swell: Swell) -> None:
    """Requests after a refused body work as well."""
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:
        for _ in range(3):
            async with session.post(f"{swell.url}/v1alpha2/container", data=b"{") as refused:
                assert refused.status == 400
            async with session.get(f"{swell.url}/service-info") as response:
                assert response.status == 200


@pytest.mark.row("T14")
async def test_headers_of_other_systems_are_accepted(cli: WaveCli, upstreams: Upstreams) -> None:
    """The response has a trace of the server's own: a client must not choose which requests are recorded."""
    trace = "4cf944a72edf4153876b47c32d10e65f"
    headers = {"Authorization": "Bearer x", "Traceparent": f"00-{trace}-180dae8a6c6f4b7b-01"}

    accepted = await cli.wire.ask("POST", "/v1alpha2/container", json.dumps(image(upstreams)).encode(), headers)
    refused = await cli.wire.ask("POST", "/v1alpha2/container", b"{}", headers)

    assert accepted.status == 200
    assert json.loads(refused.body)["traceId"] != trace


@pytest.mark.row("E1", "R13")
async def test_a_later_request_gets_a_new_token_for_the_same_image(
    cli: WaveCli, upstreams: Upstreams, tmp_path: Path
) -> None:
    """nf-wave repeats its request after half an hour, and pulls without a login."""
    body = image(upstreams) | {"containerConfig": {"cmd": ["true"], "layers": []}}

    first, second = [json.loads((await cli.run(body, Output.JSON)).stdout) for _ in range(2)]

    assert first["containerToken"] != second["containerToken"]
    assert first["expiration"] <= second["expiration"]
    digests = set()
    for answer in (first, second):
        assert (await pull(answer["targetImage"], tmp_path / answer["containerToken"])).status == 0
        index = json.loads((tmp_path / answer["containerToken"] / "index.json").read_text())
        digests.add(index["manifests"][0]["digest"])
    assert len(digests) == 1


@pytest.mark.row("R14", "S2", "S15")
async def test_a_hundred_pollers_are_answered_and_count_against_no_limit(
    stack: Stack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """Nextflow polls once a second for every waiting task. Requests for the same image are one build."""
    limits = {f"{kind}_LIMIT": "1/1h" for kind in ("ANONYMOUS_BUILD", "ANONYMOUS_PULL")}
    url, gateway = gateway_beside(stack, "polled", **limits)
    async with running(gateway, tmp_path), client_of(url) as swell:
        body = build(upstreams, "RUN sleep 4")
        responses = await asyncio.gather(*(submit(swell, **body) for _ in range(10)))
        (build_id,) = {each.json["buildId"] for each in responses}
        requests = [each.json["requestId"] for each in responses]

        async def poll(number: int) -> list[tuple[int, float]]:
            answers = []
            for _ in range(3):
                started = time.perf_counter()
                status, _ = await swell.get(f"/v1alpha2/container/{requests[number % 10]}/status")
                answers.append((status, time.perf_counter() - started))
                await asyncio.sleep(1)
            return answers

        answers = [each for one in await asyncio.gather(*(poll(number) for number in range(100))) for each in one]
        ended = await swell.ended(build_id)

    assert {status for status, _ in answers} == {200}
    assert sorted(seconds for _, seconds in answers)[len(answers) // 2] < 1  # for a busy machine
    assert ended["succeeded"]
