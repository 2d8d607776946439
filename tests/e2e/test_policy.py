"""A policy of the operator at a running server: also for images that only the builder sees."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swell_embedded.stack import Stack
from tests.e2e.busybox import archive, push
from tests.e2e.client import Swell, client_of, encoded
from tests.e2e.environment import gateway_beside
from tests.e2e.raw import SUBMIT, ask
from tests.e2e.upstreams import Upstreams, running


@pytest.fixture(scope="module")
async def limited(stack: Stack, upstreams: Upstreams, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swell]:
    """A gateway whose clients may build on the images below `policy/allowed` of a registry without a login."""
    home = tmp_path_factory.mktemp("policy")
    file = home / "policy.toml"
    file.write_text(f'[everyone]\nbase_registries = ["{upstreams.open}/policy/allowed"]\n')
    url, program = gateway_beside(stack, "limited", POLICY_FILE=str(file))
    async with running(program, home), client_of(url) as client:
        yield client


async def test_a_trigger_of_a_base_image_follows_the_policy(limited: Swell, upstreams: Upstreams) -> None:
    """The gateway does not see what an ONBUILD of a base image names: the engine refuses it."""
    allowed, other = (f"{upstreams.open}/policy/{name}:1" for name in ("allowed/file", "other"))
    for image in (allowed, other):
        await push(image, archive({"file": image.encode()}), Cmd=["true"])
    for name, source, succeeds in (("good", allowed, True), ("bad", other, False)):
        base = f"{upstreams.open}/policy/allowed/{name}:1"
        await push(base, archive({"base": b""}), OnBuild=[f"COPY --from={source} /file /copied"])

        build = await limited.build(f"FROM {base}\n")
        status = await limited.ended(build["buildId"])

        log = await limited.log(build["buildId"])
        assert status["succeeded"] is succeeds, log
        if not succeeds:
            assert status["reason"] == "recipe", status
            waited = await limited.get(f"/v1alpha2/container/{build['requestId']}/status")
            assert "may not read" in waited[1]["reason"] or "policy" in waited[1]["reason"]


async def test_a_refusal_names_the_rule(limited: Swell, upstreams: Upstreams, tmp_path: Path) -> None:
    """For a container file and for an image; the code is for programs."""
    image = upstreams.image()
    for body in ({"containerFile": encoded(f"FROM {image}\n")}, {"containerImage": image}):
        answer = await ask(limited, "POST", SUBMIT, body)

        assert (answer.status, answer.json["code"]) == (403, "POLICY_DENIED")
        assert "the rule base_registries" in answer.json["message"]
        assert answer.json["side"] == "client"
