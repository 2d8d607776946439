"""A mirror copies its images in order, repeats what fails for the moment, and follows a tag that moves."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from builder.domain.failure import BuildFailure
from builder.mirror import Mirroring, Report
from swell.api.mirrors import PlannedImage
from swell.errors import Denied, ManifestUnknown, SwellError, TooManyRequests, UpstreamFailed
from swell.oci.digest import Digest, digest_of
from swell.oci.reference import Reference
from swell.registry.credentials.principal import PUBLIC, Principal
from swell.store.records import MirrorImage, Reason, Submission

FIRST, SECOND = digest_of(b"first"), digest_of(b"second")
SOURCE, TARGET = "quay.io/acme/tool:1", "registry.example/acme/tool:1"


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    async def write_line(self, line: bytes) -> None:
        self.lines.append(line.decode())


class Copies:
    """Copies that fail with each of *errors* first; the source has each of *digests* in turn when it is asked."""

    def __init__(self, *errors: SwellError, digests: tuple[Digest, ...] = ()) -> None:
        self.errors = list(errors)
        self.digests = list(digests)
        self.copied: list[str] = []
        self.tagged: list[str] = []
        self.stalls = False
        self.principals: tuple[Principal, Principal] | None = None

    def __call__(self, principal: Principal, push_principal: Principal) -> "Copies":
        self.principals = principal, push_principal
        return self

    async def digest_of_source(self, source: Reference) -> Digest:
        return self.digests.pop(0) if self.digests else FIRST

    async def copy(
        self, source: Reference, target: Reference, report: Report, may_tag: Callable[[], Awaitable[bool]]
    ) -> Digest:
        if self.stalls:
            await asyncio.Event().wait()
        if self.errors:
            raise self.errors.pop(0)
        self.copied.append(str(source))
        if await may_tag():
            self.tagged.append(f"{target} {source.reference}")
        return Digest(source.reference)

    async def plan(self, source: Reference, target: Reference) -> PlannedImage:
        return PlannedImage(digest=source.reference, size=3, missing=2, missing_blobs=1, cached=False)


def mirror(*images: MirrorImage) -> Submission:
    images = images or (MirrorImage(source=SOURCE, target=TARGET, digest=FIRST),)
    return Submission(
        container_id="mr-0123456789ab",
        target_image=images[0].target,
        containerfile="",
        platform="",
        created=datetime(2026, 11, 23, tzinfo=UTC),
        mirror=images,
        push_principal=Principal("operator:registry.example/acme/tool"),
    )


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.mirror.PAUSES", (0.0, 0.0, 0.0))


async def made(copies: Copies, submission: Submission, log: Log | None = None) -> Digest:
    return await Mirroring(copies, timedelta(hours=1)).make(submission, log or Log())


async def test_the_credentials_are_those_of_the_submission() -> None:
    """The source is read with the principal of the caller, the target is pushed with the one for pushes."""
    copies = Copies()

    assert await made(copies, mirror()) == FIRST

    assert copies.principals == (PUBLIC, "operator:registry.example/acme/tool")
    assert (copies.copied, copies.tagged) == ([f"quay.io/acme/tool@{FIRST}"], [f"{TARGET} {FIRST}"])


async def test_a_tag_that_moves_is_followed() -> None:
    """The old image gets no tag; the new one is copied and tagged."""
    copies, log = Copies(digests=(SECOND, SECOND)), Log()

    assert await made(copies, mirror(), log) == SECOND

    assert copies.tagged == [f"{TARGET} {SECOND}"]
    assert any("moved from" in line for line in log.lines)


async def test_a_tag_that_moves_all_the_time_is_a_failure(without_pauses: None) -> None:
    """Otherwise one mirror could run for ever."""
    copies = Copies(digests=tuple(digest_of(bytes([number])) for number in range(100)))

    with pytest.raises(BuildFailure, match="moved 3 times"):
        await made(copies, mirror())


async def test_a_failing_registry_is_tried_again(without_pauses: None) -> None:
    """Three times; a longer `Retry-After` than two minutes is not waited for."""
    copies, log = Copies(UpstreamFailed("quay.io: 502"), UpstreamFailed("quay.io: 502")), Log()

    assert await made(copies, mirror(), log) == FIRST
    assert sum("trying again" in line for line in log.lines) == 2

    with pytest.raises(BuildFailure) as failure:
        await made(Copies(*[UpstreamFailed("quay.io: 502")] * 4), mirror())
    assert failure.value.reason is Reason.BASE_IMAGE
    with pytest.raises(BuildFailure, match="no more requests"):
        await made(Copies(TooManyRequests("no more requests", retry_after=3600)), mirror())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Denied("'registry.example/acme/tool' is not shown to us"), Reason.PUSH),
        (Denied("'quay.io/acme/tool' is not shown to us"), Reason.BASE_IMAGE),
        (ManifestUnknown("quay.io/acme/tool@sha256:1 not found"), Reason.BASE_IMAGE),
    ],
)
async def test_a_refusal_is_final_and_says_whose_it_is(error: SwellError, reason: Reason) -> None:
    """Trying again would change nothing; the reason says which registry refused."""
    with pytest.raises(BuildFailure, match="was not copied to") as failure:
        await made(Copies(error), mirror())

    assert failure.value.reason is reason


async def test_a_mirror_has_a_time_limit() -> None:
    """The message says how many images are complete."""
    copies = Copies()
    copies.stalls = True

    with pytest.raises(BuildFailure, match="0 of 1 images") as failure:
        await Mirroring(copies, timedelta(0)).make(mirror(), Log())

    assert failure.value.reason is Reason.TIMED_OUT


async def test_a_plan_has_every_image_in_order() -> None:
    """Each is read by the digest that the gateway has resolved."""
    images = [MirrorImage(source=SOURCE, target=TARGET, digest=digest) for digest in (FIRST, SECOND)]

    plan = await Mirroring(Copies(), timedelta(hours=1)).plan(images, PUBLIC, PUBLIC)

    assert [each.digest for each in plan.images] == [FIRST, SECOND]
