"""Wave's golden examples by their numbers: a test whose name ends in `_e1` is the first of them.

Hosts, ids and times are those of the tests; everything else is compared with the example. Mirrors are not
supported yet.
"""

import re
from typing import Any

import pytest

from swell.testing import rootfs
from swell.testing.images import Layer
from tests.e2e.busybox import REPOSITORY, make_base, push
from tests.e2e.client import Fields, Swell, encoded, until
from tests.e2e.raw import LOGIN, SUBMIT, ask, submit
from tests.e2e.upstreams import PASSWORD, USER, Upstreams

CHALLENGE = "Basic realm=Wave Authentication"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3,9})?Z")
UNKNOWN = "ffffffffffff"


def instants(answer: Fields, *names: str) -> None:
    """Remove the members *names* from *answer*; each must be a time."""
    for name in names:
        assert INSTANT.fullmatch(answer.pop(name))


def wave_name(swell: Swell, token: str, image: str) -> str:
    return f"{swell.url.removeprefix('http://')}/wt/{token}/{image.partition('/')[2]}"


@pytest.mark.row("R1", "R2", "R10", "T2")
async def test_a_plain_image_is_named_with_its_token_e1(swell: Swell, upstreams: Upstreams) -> None:
    """Clients read these members and no others."""
    image, config = upstreams.image(), {"env": ["STAGE=qa"]}
    when = "2026-03-01T10:30:00+01:00"

    answer = (await submit(swell, containerImage=image, containerConfig=config, timestamp=when)).json

    token = answer["requestId"]
    instants(answer, "expiration")
    assert answer == {
        "requestId": token,
        "containerToken": token,
        "targetImage": wave_name(swell, token, image),
        "containerImage": image,
        "freeze": False,
        "mirror": False,
        "succeeded": True,
    }


async def test_the_first_version_returns_fewer_members_e2(swell: Swell, upstreams: Upstreams) -> None:
    """Old clients fail on members that they do not expect."""
    image = upstreams.image()

    answer = (await ask(swell, "POST", "/container-token", {"containerImage": image})).json

    token = answer["requestId"]
    instants(answer, "expiration")
    name = wave_name(swell, token, image)
    assert answer == {"requestId": token, "containerToken": token, "targetImage": name, "containerImage": image}


@pytest.mark.row("R3", "R4", "S5", "S17", "S19")
async def test_a_build_is_new_and_then_cached_e3_e4_e11_e15(swell: Swell, upstreams: Upstreams) -> None:
    """The records describe the build without the identity of the client."""
    text = f"FROM {upstreams.image()}\nENV GOLDEN=yes\nRUN sleep 5\n"
    new = (await submit(swell, containerFile=encoded(text))).json

    async def begun() -> Fields | None:
        fields = (await ask(swell, "GET", f"{SUBMIT}/{new['requestId']}/status")).json
        return None if "queuePosition" in fields else dict(fields)

    running = await until(begun)
    await swell.ended(new["buildId"])
    again = (await submit(swell, containerFile=encoded(text))).json
    done = (await ask(swell, "GET", f"{SUBMIT}/{new['requestId']}/status")).json
    path = f"/v1alpha1/builds/{new['buildId']}"
    record, status = [(await ask(swell, "GET", each)).json for each in (path, f"{path}/status")]

    build_id = new["buildId"]
    assert re.fullmatch(r"bd-[0-9a-f]{16}_1", build_id)
    common = {"containerImage": new["containerImage"], "buildId": build_id, "freeze": False, "mirror": False}
    for answer, more in ((new, {"cached": False}), (again, {"cached": True, "succeeded": True})):
        token = answer["requestId"]
        instants(answer, "expiration")
        name = wave_name(swell, token, new["containerImage"])
        assert answer == common | more | {"requestId": token, "containerToken": token, "targetImage": name}
    assert re.fullmatch(r".+:[0-9a-f]{16}", new["containerImage"])
    for fields in (running, done):
        instants(fields, "creationTime")
    assert running == {"id": new["requestId"], "status": "BUILDING", "buildId": build_id}
    duration = done.pop("duration")
    assert done == {"id": new["requestId"], "status": "DONE", "buildId": build_id, "succeeded": True}
    for fields in (record, status):
        instants(fields, "startTime")
        assert fields.pop("duration") == duration > 0
    assert status == {"id": build_id, "status": "COMPLETED", "succeeded": True}
    assert re.fullmatch("sha256:[0-9a-f]{64}", record.pop("digest"))
    assert record == {
        "buildId": build_id,
        "dockerFile": text,
        "targetImage": new["containerImage"],
        "offsetId": "Z",
        "exitStatus": 0,
        "platform": "linux/amd64",
        "format": "DOCKER",
    }


async def test_the_first_version_names_new_builds_only_e5(swell: Swell, upstreams: Upstreams) -> None:
    """Old clients wait for every build that a response names."""
    body = {"containerFile": encoded(f"FROM {upstreams.image()}\nENV FIRST=version\n")}

    new = (await ask(swell, "POST", "/container-token", body)).json
    await swell.ended(new["buildId"])
    again = (await ask(swell, "POST", "/container-token", body)).json

    members = {"requestId", "containerToken", "targetImage", "expiration", "containerImage"}
    assert new.keys() == members | {"buildId"}
    assert again.keys() == members


@pytest.mark.row("R5")
async def test_a_frozen_image_has_a_name_without_a_token_e6(swell: Swell, upstreams: Upstreams) -> None:
    """The name of a SIF file begins with `oras://`; a dry run returns it."""
    options = {"mambaImage": upstreams.image(), "baseImage": upstreams.image()}
    packages = {"type": "CONDA", "entries": ["jq=1.7.1"], "channels": ["conda-forge"], "condaOpts": options}
    repository = f"{upstreams.open}/acme/images"
    frozen = {"freeze": True, "buildRepository": repository, "packages": packages, "dryRun": True}

    file, image = [await swell.submit(**frozen, format=form) for form in ("sif", None)]

    pattern = re.escape(repository) + r":jq-1\.7\.1--[0-9a-f]{16}"
    assert re.fullmatch(f"oras://{pattern}", file["targetImage"])
    assert re.fullmatch(pattern, image["targetImage"])
    for answer in (file, image):
        assert answer["targetImage"] == answer["containerImage"]
        assert (answer["freeze"], answer["mirror"]) == (True, False)
        assert not answer.keys() & {"containerToken", "expiration"}


@pytest.mark.row("R12")
async def test_a_dry_run_returns_the_name_and_builds_nothing_e8(swell: Swell, upstreams: Upstreams) -> None:
    """The later real build has the same name, and is the first build."""
    build = {"containerFile": encoded(f"FROM {upstreams.image()}\nENV DRY=run\n")}

    dry = (await submit(swell, **build, dryRun=True)).json
    real = (await submit(swell, **build)).json

    assert dry["containerImage"] == real["containerImage"]
    assert (dry["cached"], dry["freeze"], dry["mirror"], dry["succeeded"]) == (False, False, False, True)
    assert dry["buildId"] == re.sub(r"bd-(\w+)_1", r"\1_0", real["buildId"])  # the real build was the first one


@pytest.mark.row("B23")
@pytest.mark.parametrize("together", ["linux/amd64,linux/arm64", "linux/arm64, linux/amd64"])
async def test_a_build_for_two_platforms_is_one_build_e9(swell: Swell, upstreams: Upstreams, together: str) -> None:
    """Its number counts as that of any other build; Wave's number is always 0."""
    answer = (await submit(swell, **_both(upstreams, together))).json

    assert re.fullmatch(r"bd-[0-9a-f]{16}_[1-9]\d*", answer["buildId"])
    assert answer["containerImage"].endswith(f"/swell/build:{answer['buildId'][3:19]}")
    assert (answer["cached"], answer["freeze"], answer["mirror"], answer.get("succeeded")) == (
        False,
        False,
        False,
        None,
    )


def _both(upstreams: Upstreams, together: str) -> Fields:
    containerfile = f"FROM {upstreams.image('oci-index')}\nENV TOGETHER='{together}'\n"
    return {"containerFile": encoded(containerfile), "containerPlatform": together}


@pytest.mark.row("S9")
async def test_the_status_of_a_failed_build_has_the_reason_e11(swell: Swell, upstreams: Upstreams) -> None:
    """`detailsUri` is the page that clients show to users."""
    new = await swell.build(f"FROM {upstreams.image()}\nRUN exit 3\n")
    await swell.ended(new["buildId"])

    status = (await ask(swell, "GET", f"{SUBMIT}/{new['requestId']}/status")).json

    instants(status, "creationTime")
    assert status.pop("duration") > 0
    assert status.pop("reason")
    assert status.pop("detailsUri").startswith(f"{swell.url}/")
    assert status == {"id": new["requestId"], "status": "DONE", "buildId": new["buildId"], "succeeded": False}


async def test_a_request_can_be_looked_up_in_both_forms_e13(swell: Swell, upstreams: Upstreams) -> None:
    """The record has all members of the example except the client's address."""
    image, config = upstreams.image(), {"env": ["STAGE=qa"], "layers": [], "cmd": None}
    when = "2026-03-01T10:30:00+01:00"
    token = (await submit(swell, containerImage=image, containerConfig=config, timestamp=when)).json["requestId"]

    record = (await ask(swell, "GET", f"{SUBMIT}/{token}")).json
    described = (await ask(swell, "GET", f"/container-token/{token}")).json

    instants(record, "expiration")
    instants(described, "expiration")
    request = {
        "containerImage": image,
        "containerConfig": {"env": ["STAGE=qa"]},
        "platform": "linux/amd64",
        "towerEndpoint": "https://api.cloud.seqera.io",
        "timestamp": "2026-03-01T09:30:00Z",
        "zoneId": "+01:00",
    }
    name = wave_name(swell, token, image)
    assert record == request | {"id": token, "sourceImage": image, "waveImage": name, "mirror": False}
    assert described == {
        "token": token,
        "request": request,
        "build": {},
        "source": {"image": image},
        "wave": {"image": name},
    }


@pytest.mark.row("T7")
@pytest.mark.parametrize("path", ["/container-token/{}", SUBMIT + "/{}", SUBMIT + "/{}/status"])
async def test_the_record_of_an_unknown_request_is_404_e13(swell: Swell, path: str) -> None:
    """The message names the id that is unknown."""
    answer = await ask(swell, "GET", path.format(UNKNOWN))

    assert (answer.status, UNKNOWN in answer.json["message"]) == (404, True)


async def test_an_operator_revokes_a_token_e14(operated: Swell, upstreams: Upstreams) -> None:
    """Other clients get 401 with a challenge, and a second DELETE gets 404."""
    path = f"/container-token/{(await submit(operated, containerImage=upstreams.image())).json['requestId']}"

    anonymous = await ask(operated, "DELETE", path)
    taken, again = [await ask(operated, "DELETE", path, **LOGIN) for _ in range(2)]

    assert (anonymous.status, anonymous.body, anonymous.headers["WWW-Authenticate"]) == (401, b"", CHALLENGE)
    assert (taken.status, taken.body) == (200, b"")
    assert (again.status, bool(again.json["message"])) == (404, True)


async def test_an_unknown_build_is_404_e15(swell: Swell) -> None:
    """All paths of a build agree."""
    for rest in ("", "/status", "/logs", "/condalock"):
        assert (await ask(swell, "GET", f"/v1alpha1/builds/nope{rest}")).status == 404


@pytest.mark.row("I1", "I2", "I3")
async def test_an_image_can_be_inspected_e18(swell: Swell, upstreams: Upstreams) -> None:
    """With a platform the response is a container, without one the index."""
    image, base = upstreams.image("oci-index"), make_base("arm64", docker=False)
    registry = image.partition("/")[0]
    body = {"containerImage": image}

    one = (await ask(swell, "POST", "/v1alpha1/inspect?platform=linux/arm64", body)).json
    whole = (await ask(swell, "POST", "/v1alpha1/inspect", body)).json

    assert one == {
        "container": {
            "registry": registry,
            "hostName": f"http://{registry}",
            "imageName": REPOSITORY,
            "reference": "oci-index",
            "digest": base.manifest.digest,
            "config": {
                "architecture": "arm64",
                "config": {"env": base.config.fields["config"]["Env"], "cmd": ["/bin/sh"]},
                "rootfs": base.config.fields["rootfs"],
            },
            "manifest": base.manifest.fields,
            "v1": False,
            "v2": True,
            "oci": True,
        }
    }
    assert whole.keys() == {"index"}
    assert whole["index"].keys() == {"schemaVersion", "mediaType", "manifests", "digest"}


@pytest.mark.row("B31", "I4")
@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("", {}, 400),
        ("?platform=amd64,arm64", {"containerImage": "a"}, 400),
        ("", {"containerImage": "{none}"}, 404),
    ],
)
async def test_an_impossible_inspection_has_an_error_message_e18(
    swell: Swell, upstreams: Upstreams, query: str, body: dict[str, str], status: int
) -> None:
    """Clients show the message to users."""
    named = {name: value.format(none=upstreams.image("none")) for name, value in body.items()}

    answer = await ask(swell, "POST", f"/v1alpha1/inspect{query}", named)

    assert (answer.status, bool(answer.json["message"])) == (status, True)


@pytest.mark.row("I8")
@pytest.mark.parametrize("path", ["/v1alpha2/validate-creds", "/validate-creds", "/validate-creds wrapped"])
async def test_credentials_are_true_or_false_e19(swell: Swell, upstreams: Upstreams, path: str) -> None:
    """The older path accepts them wrapped or not, because clients use both forms."""

    async def valid(**fields: str) -> Any:
        body = {"userName": USER, "password": PASSWORD, "registry": upstreams.bearer} | fields
        address, _, wrapped = path.partition(" ")
        answer = await ask(swell, "POST", address, {"request": body} if wrapped else body)
        return answer.status, answer.json

    assert await valid() == (200, True)
    assert await valid(password="p") == (200, False)
    assert (await valid(registry="127.0.0.1"))[0] == 400


@pytest.mark.row("I6")
async def test_service_info_has_the_api_level_e20(swell: Swell, operated: Swell) -> None:
    """The version is Wave's API level; Swell's own version has another member. The operator sets the commit."""
    info, with_commit = [(await ask(each, "GET", "/service-info")).json["serviceInfo"] for each in (swell, operated)]

    assert info["version"] == with_commit["version"] == "1.37.0"
    assert (info["commitId"], with_commit["commitId"]) == ("unknown", "0f1e2d3")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1alpha2/metrics/builds?org=none.io", {"metric": "builds", "count": 0, "orgs": {"none.io": 0}}),
        ("/v1alpha2/metrics/fusion/pulls?date=2026-03-01", {"metric": "fusion", "count": 0}),
        (
            "/v1alpha3/metrics/pulls?arch=x86_64&org=none.io",
            {"metric": "pulls", "arch": "amd64", "count": 0, "orgs": {"none.io": 0}},
        ),
        ("/v1alpha2/metrics/pulls?arch=x86_64&org=none.io", {"metric": "pulls", "count": 0, "orgs": {"none.io": 0}}),
        ("/v1alpha3/metrics/scans?org=none.io", {"metric": "scans", "count": 0, "orgs": {"none.io": 0}}),
        ("/v1alpha3/metrics/mirrors?date=&org=&arch=", {"metric": "mirrors", "count": 0}),
        ("/v1alpha2/metrics/pulls?date=2026-3-1", 400),
        ("/v1alpha3/metrics/pulls?arch=riscv", 400),
        ("/v1alpha3/metrics/what", 404),
    ],
)
async def test_metrics_need_an_account_e21(operated: Swell, path: str, expected: Any) -> None:
    """Other clients get 401 with a challenge and no body, as from Wave."""
    answer = await ask(operated, "GET", path, **LOGIN)
    anonymous = await ask(operated, "GET", "/v1alpha2/metrics/pulls")

    assert expected in (answer.status, answer.json), answer.body
    assert answer.status == 200 or answer.json["message"]
    assert (anonymous.status, anonymous.body, anonymous.headers["WWW-Authenticate"]) == (401, b"", CHALLENGE)


@pytest.mark.row("R8", "S3", "S11", "S12")
async def test_a_required_scan_is_judged_by_the_allowed_levels_e10_e12_e16(swell: Swell, upstreams: Upstreams) -> None:
    """The id is there at once, `succeeded` is open; then SCANNING, and DONE with the counts and a reason."""
    packages = rootfs.debian({"libdemo": "1.0-1", "tiny": "2.0"})
    image = await push(f"{upstreams.open}/acme/golden:1", Layer(*rootfs.layer_of(packages)))
    strict, tolerant = [
        (await submit(swell, containerImage=image, scanMode="required", scanLevels=levels)).json
        for levels in (["LOW"], ["LOW", "HIGH"])
    ]
    scan_id = strict["scanId"]
    assert re.fullmatch(r"sc-[0-9a-f]{16}_1", scan_id) and tolerant["scanId"] == scan_id
    assert "succeeded" not in strict and "succeeded" not in tolerant
    seen = set()

    async def judged() -> Fields | None:
        status: Fields = (await ask(swell, "GET", f"{SUBMIT}/{strict['requestId']}/status")).json
        seen.add(status["status"])
        return status if status["status"] == "DONE" else None

    refused = await until(judged, seconds=120)
    accepted = (await ask(swell, "GET", f"{SUBMIT}/{tolerant['requestId']}/status")).json
    record = (await ask(swell, "GET", f"/v1alpha1/scans/{scan_id}")).json

    assert seen <= {"SCANNING", "DONE"}
    for status in (refused, accepted):
        instants(status, "creationTime")
        assert status.pop("duration") > 0
        assert status.pop("reason")
        assert status.pop("detailsUri").endswith(f"/scans/{scan_id}")
    common = {"status": "DONE", "scanId": scan_id, "vulnerabilities": {"HIGH": 1, "LOW": 1}}
    assert refused == common | {"id": strict["requestId"], "succeeded": False}
    assert accepted == common | {"id": tolerant["requestId"], "succeeded": True}
    instants(record, "startTime")
    assert record.pop("duration") > 0
    assert (
        record["vulnerabilities"][0].items()
        >= {
            "id": "CVE-2026-0001",
            "severity": "HIGH",
            "title": "demo",
            "pkgName": "libdemo",
            "installedVersion": "1.0-1",
            "fixedVersion": "1.1",
            "primaryUrl": "https://vulnerabilities.example/CVE-2026-0001",
        }.items()
    )
    known = {"id": scan_id, "containerImage": image, "platform": "linux/amd64", "status": "SUCCEEDED", "exitCode": 0}
    assert record.items() >= known.items()
