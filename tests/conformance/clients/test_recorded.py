"""Recorded requests of Wave's clients, sent and read as the clients do, with the required responses.

They are in `tests/conformance/vectors`, recorded from the `wave` command line 1.8.2 and Nextflow's nf-wave client.
Images of the tests' registry replace the recorded images; nothing else is changed.
"""

import base64
import json
from pathlib import Path

import pytest
from msgspec import Struct

from tests.conformance.clients.nf_wave import NfWave
from tests.conformance.clients.wave_cli import INSPECT, Output, WaveCli
from tests.e2e.client import Fields, Swell
from tests.e2e.upstreams import Upstreams

VECTORS = Path(__file__).parents[1] / "vectors"
SERVED, BUILT, SHOWN, WRONG, UNKNOWN_TOKEN = "served", "built", "shown", "wrong", "unknown token"
SCANNED, REFUSED = "scanned", "refused"
STATUS = {SERVED: 200, BUILT: 200, SHOWN: 200, SCANNED: 200, WRONG: 400, UNKNOWN_TOKEN: 400, REFUSED: 403}

ANSWERS = {
    "cli image": SERVED,
    "cli image-token-workspace": UNKNOWN_TOKEN,
    "cli image-platform": SERVED,
    "cli image-no-tower": SERVED,
    "cli dockerfile": BUILT,
    "cli dockerfile-context": BUILT,
    "cli layer": SERVED,
    "cli layer-twice-config": SERVED,
    "cli layer-longname": SERVED,
    "cli config-file": SERVED,
    "cli config-cmd": SERVED,
    "cli conda": BUILT,
    "cli conda-pip": BUILT,
    "cli conda-lock-url": BUILT,
    "cli conda-file": BUILT,
    "cli conda-pixi-multi-freeze": UNKNOWN_TOKEN,
    "cli conda-sif-freeze": WRONG,  # packages are frozen to the client's own repository
    "cli cran": BUILT,
    "cli include": SERVED,
    "cli mirror": UNKNOWN_TOKEN,
    "cli dry-run": SERVED,
    "cli scan-async": SCANNED,
    "cli unicode": SERVED,
    "cli inspect": UNKNOWN_TOKEN,
    "nfwave container": SERVED,
    "nfwave container-token": UNKNOWN_TOKEN,
    "nfwave conda": BUILT,
    "nfwave conda-url": BUILT,
    "nfwave conda-file-multi": BUILT,
    "nfwave bundle-dockerfile": BUILT,
    "nfwave container-bundle": SERVED,
    "nfwave full-config": UNKNOWN_TOKEN,
    "nfwave mirror": UNKNOWN_TOKEN,
    "nfwave fusion-project-bin": SERVED,
    "nfwave fusion-multi": WRONG,  # an image cannot be of two platforms
    "nfwave sif-freeze": WRONG,
    "nfwave plugin-get-container": SERVED,
}
WITHOUT_TOKEN = {
    "cli inspect": SHOWN,
    "cli image-token-workspace": SERVED,
    "cli conda-pixi-multi-freeze": REFUSED,  # pushing needs a key with a scope
    "cli mirror": WRONG,  # a mirror pushes with the rights of its user
    "nfwave container-token": SERVED,
    "nfwave full-config": REFUSED,
    "nfwave mirror": WRONG,
}


class Recorded(Struct):
    """One request; `headers` are pairs, `body` is JSON."""

    case: str
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: str


def recorded() -> dict[str, Recorded]:
    """Return all requests by client and case."""
    requests = {}
    for client in ("cli", "nfwave"):
        for line in (VECTORS / f"{client}.jsonl").read_text().strip().split("\n"):  # one body contains U+2028
            fields = json.loads(line)
            requests[f"{client} {fields['case']}"] = Recorded(*(fields[name] for name in Recorded.__struct_fields__))
    return requests


REQUESTS = recorded()


IMAGES_OF_PACKAGES = {
    "condaOpts": ("mambaImage", "baseImage"),
    "pixiOpts": ("pixiImage", "baseImage"),
    "cranOpts": ("rImage",),
}
"""Members of `packages` that name images."""


def at_home(body: Fields, upstreams: Upstreams) -> Fields:
    """Return *body* with images of *upstreams* in the place of the recorded ones."""
    image = upstreams.image("docker-list")
    if not body.get("mirror") and body.get("containerImage"):
        body["containerImage"] = image
    if includes := body.get("containerIncludes"):
        body["containerIncludes"] = [image for _ in includes]
    if file := body.get("containerFile"):
        text = base64.b64decode(file).decode().replace("FROM alpine", f"FROM {image}")
        body["containerFile"] = base64.b64encode(text.encode()).decode()
    if packages := body.get("packages"):
        for options, names in IMAGES_OF_PACKAGES.items():
            packages[options] = (packages.get(options) or {}) | dict.fromkeys(names, image)
    return body


async def replay(swell: Swell, name: str, request: Recorded, body: Fields) -> tuple[int, Fields]:
    """Send the recorded request and return what the client reads from the response."""
    content = json.dumps(body, ensure_ascii=name.startswith("nfwave")).encode()
    headers = {key: value for key, value in request.headers if key != "Content-Length"}
    client = WaveCli(swell.url) if name.startswith("cli") else NfWave(swell.url)
    reply = await client.wire.ask(request.method, request.path, content, headers)
    if reply.status == 200:
        await read(client, request.path, content)
    return reply.status, json.loads(reply.body)


async def read(client: WaveCli | NfWave, path: str, body: bytes) -> None:
    """Send *body* as the client does, and read the response by its rules."""
    if isinstance(client, NfWave):
        await client.submit(body)
    elif path == INSPECT:
        assert (await client.inspect(body)).code == 0
    else:
        for output in Output:
            assert (await client.run(body, output)).code == 0


def check(kind: str, status: int, answer: Fields) -> None:
    """Check that *answer* has the members that clients read from a response of that *kind*."""
    assert status == STATUS[kind], answer
    if kind in {SERVED, BUILT, SCANNED}:
        assert "://" not in answer["targetImage"]
        assert f"/wt/{answer['containerToken']}/" in answer["targetImage"]
        assert answer["expiration"].endswith("Z")
        assert answer["requestId"]
    if kind == SERVED:
        assert (answer["succeeded"], "buildId" in answer) == (True, False)
    if kind == SCANNED:
        assert answer["scanId"].startswith("sc-") and "succeeded" not in answer
    if kind == BUILT:
        assert answer["buildId"].startswith("bd-")
        assert (answer["cached"], answer.get("succeeded")) == (False, None)
    if kind == SHOWN:
        assert answer.keys() <= {"container", "index"}
    if kind == UNKNOWN_TOKEN:
        assert "is not paired" in answer["message"]
    if status != 200:
        assert answer["message"]
        assert answer.get("next") or answer["code"] == "BAD_REQUEST"  # its message says what to change


def test_every_recorded_request_has_an_expected_response() -> None:
    """A new recording without an expectation would prove nothing."""
    assert REQUESTS.keys() == ANSWERS.keys()
    assert {name for name, kind in ANSWERS.items() if kind == UNKNOWN_TOKEN} == WITHOUT_TOKEN.keys()


@pytest.mark.row("B2", "B3", "B8", "B14", "R1", "R3", "L4", "T2", "T13", "T17")
@pytest.mark.parametrize("name", ANSWERS)
async def test_a_recorded_request_gets_the_expected_response(swell: Swell, upstreams: Upstreams, name: str) -> None:
    """A request with an unknown token is not anonymous: its token belongs to an unknown Platform."""
    request = REQUESTS[name]

    status, answer = await replay(swell, name, request, at_home(json.loads(request.body), upstreams))

    check(ANSWERS[name], status, answer)


@pytest.mark.parametrize("name", WITHOUT_TOKEN)
async def test_a_recorded_request_without_its_token_is_anonymous(swell: Swell, upstreams: Upstreams, name: str) -> None:
    """Without the token, the same request is served."""
    request = REQUESTS[name]
    body = at_home(json.loads(request.body), upstreams) | {"towerAccessToken": None}

    status, answer = await replay(swell, name, request, body)

    check(WITHOUT_TOKEN[name], status, answer)
