"""A policy of the operator at a running server: also for images that only the builder sees."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from swell_embedded.stack import Stack
from tests.e2e.builds.test_builds import manifest_path
from tests.e2e.busybox import archive, push
from tests.e2e.client import Swell, client_of, encoded, until
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


async def test_a_newer_policy_holds_for_tokens_at_every_gateway(
    stack: Stack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """Also for pulls that are repeated from memory; the former policy lets the token pull again."""
    file, image = tmp_path / "policy.toml", upstreams.image()
    file.write_text("")
    async with AsyncExitStack() as opened:
        gateways = []
        for name in ("policy-one", "policy-two"):
            url, program = gateway_beside(stack, name, POLICY_FILE=str(file))
            await opened.enter_async_context(running(program, tmp_path))
            gateways.append(await opened.enter_async_context(client_of(url)))
        answer = await gateways[0].submit(containerImage=image)
        path = manifest_path(answer["targetImage"])

        async def all_answer(status: int) -> bool:
            return all([(await ask(gateway, "GET", path)).status == status for gateway in gateways for _ in range(2)])

        for content, status in (("", 200), ("[everyone]\ndigest_only = true\n", 403), ("", 200)):
            file.write_text(content)
            await until(partial(all_answer, status), seconds=30)
        file.write_text("[everyone]\ndigest_only = true\n")
        await until(partial(all_answer, 403), seconds=30)
        refusal = (await ask(gateways[1], "GET", path)).json["errors"][0]

    assert "the rule digest_only" in refusal["message"]
    assert refusal["code"] == "DENIED"


async def test_a_refusal_names_the_rule(limited: Swell, upstreams: Upstreams, tmp_path: Path) -> None:
    """For a container file and for an image; the code is for programs."""
    image = upstreams.image()
    for body in ({"containerFile": encoded(f"FROM {image}\n")}, {"containerImage": image}):
        answer = await ask(limited, "POST", SUBMIT, body)

        assert (answer.status, answer.json["code"]) == (403, "POLICY_DENIED")
        assert "the rule base_registries" in answer.json["message"]
        assert answer.json["side"] == "client"
