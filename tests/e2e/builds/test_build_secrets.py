"""A secret of the operator, from the request to the log."""

from tests.e2e.client import HOLDER, PUSHER, SECRET, Swell, encoded
from tests.e2e.upstreams import Upstreams


async def test_a_build_uses_a_secret_that_its_key_may_use_and_its_log_masks_it(
    swell: Swell, upstreams: Upstreams
) -> None:
    """The step prints it; readers of the log see asterisks. Other keys may not start or share the build."""
    step = f'RUN --mount=type=secret,id=a,env=A test $(echo $A | rev) = {SECRET[::-1]} && echo "got $A in $((6 * 7))"'
    request = {"containerFile": encoded(f"FROM {upstreams.image()}\n{step}\n"), "buildSecrets": {"a": "token"}}

    answer = await swell.submit(**request, towerAccessToken=HOLDER)
    await swell.ended(answer["buildId"])

    assert (await swell.build_status(answer["buildId"]))["succeeded"] is True
    log = await swell.log(answer["buildId"])
    assert "got *** in 42" in log and SECRET not in log
    for key in ("", PUSHER):
        status, refusal = await swell.post(**request, towerAccessToken=key)
        assert (status, "secret token" in refusal["message"]) == (403, True)


async def test_a_secret_that_is_not_there_is_reported(swell: Swell, upstreams: Upstreams) -> None:
    """A wrong id in the request is found by the step that requires it."""
    step = "RUN --mount=type=secret,id=b,required=true true"
    request = {"containerFile": encoded(f"FROM {upstreams.image()}\n{step}\n"), "buildSecrets": {"a": "token"}}

    answer = await swell.submit(**request, towerAccessToken=HOLDER)
    await swell.ended(answer["buildId"])

    _, status = await swell.get(f"/v1alpha2/container/{answer['requestId']}/status")
    assert status["succeeded"] is False
    assert "secret b" in status["reason"]
