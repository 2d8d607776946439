"""The SBOM of a build: the signed one, or what is known before a signature."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gateway.builds.sboms import SbomQueries
from swell.errors import BadRequest, NotFound
from swell.oci.digest import digest_of
from swell.store.attestations import Attestation
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import BuildResult, Child, Listing, ListingState, Signing, SigningState, Submission
from swell.store.reports import SbomFormat, sbom_key
from tests.unit.gateway.doubles import NOON, RunningScanners

LOCK = f"https://conda.anaconda.org/bioconda/noarch/multiqc-1.25-pyhdfd78af_0.conda#sha256:{'a' * 64}\n"
REPOSITORY = "registry.example.com/team/builds"
DIGEST = digest_of(b"image")


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


class Site:
    """Builds and what is stored about them, by build and by key."""

    def __init__(self) -> None:
        self.builds, self.scanners = MemoryBuilds(), RunningScanners()
        self.signed: dict[str, bytes] = {}
        self.locks: dict[str, str] = {}
        self.reports: dict[str, bytes] = {}
        self.queries = SbomQueries(self.builds, self, self, self.scanners)

    async def attestation(self, build_id: str, kind: Attestation) -> bytes | None:
        return self.signed.get(build_id) if kind is Attestation.SBOM else None

    async def lock(self, build_id: str) -> AsyncIterator[bytes] | None:
        return _pieces(self.locks[build_id].encode()) if build_id in self.locks else None

    async def open(self, key: str) -> AsyncIterator[bytes] | None:
        return _pieces(self.reports[key]) if key in self.reports else None

    async def built(
        self, container_id: str, platform: str = "linux/amd64", *children: Child, succeeded: bool = True
    ) -> str:
        """Store a build that has succeeded; return its id."""
        submission = Submission(
            container_id=container_id,
            target_image=f"{REPOSITORY}:{container_id}",
            containerfile="FROM a\n",
            platform=platform,
            created=NOON,
            children=children,
        )
        build_id, _ = await self.builds.submit(submission)
        result = BuildResult(succeeded=succeeded, exit_status=0, started=NOON, finished=NOON, digest=DIGEST)
        await self.builds.finish(build_id, result)
        return build_id

    async def sbom(self, build_id: str, platform: str | None = None) -> Any:
        content = b"".join([piece async for piece in await self.queries.sbom(build_id, platform)])
        return msgspec.json.decode(content)


@pytest.fixture
def site() -> Site:
    return Site()


async def test_what_is_known_best_is_returned(site: Site) -> None:
    """The scanner's list, the packages of the lock file, which are exact, and then what was signed."""
    build_id = await site.built("c44968632f89dd6c")

    site.reports[sbom_key(REPOSITORY, DIGEST, SbomFormat.SPDX)] = b'{"packages": []}'
    assert await site.sbom(build_id) == {"packages": []}
    site.locks[build_id] = LOCK
    document = await site.sbom(build_id)
    assert (document["spdxVersion"], document["packages"][0]["name"]) == ("SPDX-2.3", "multiqc")
    site.signed[build_id] = b'{"dsseEnvelope": {}}'
    assert await site.sbom(build_id) == {"dsseEnvelope": {}}


async def test_a_lock_file_without_packages_is_none(site: Site) -> None:
    """A container file can print a lock file with anything in it."""
    build_id = await site.built("c44968632f89dd6c")
    site.locks[build_id] = "# nothing\n"

    with pytest.raises(NotFound):
        await site.sbom(build_id)


async def test_a_missing_sbom_says_why(site: Site) -> None:
    """Without a scanner none will come; a signature that fails, and a build that has failed, are the reason as well."""
    build_id, failed = await site.built("c44968632f89dd6c"), await site.built("d700b75853d8096c", succeeded=False)

    with pytest.raises(NotFound, match="shortly"):
        await site.sbom(build_id)
    site.scanners.running = False
    with pytest.raises(NotFound, match="no scanner.*make scanners"):
        await site.sbom(build_id)
    await site.builds.put_signing(
        build_id, Signing(state=SigningState.RETRYING, attempts=3, time=NOON, reason="the registry is full")
    )
    with pytest.raises(NotFound, match="attempt 3 .* another one follows: the registry is full"):
        await site.sbom(build_id)
    listing = Listing(state=ListingState.RETRYING, attempts=2, time=NOON, reason="syft was killed")
    await site.builds.put_listing(build_id, listing)
    with pytest.raises(NotFound, match="no SBOM yet: attempt 2 .* another one follows: syft was killed"):
        await site.sbom(build_id)
    await site.builds.put_listing(build_id, replace(listing, state=ListingState.GIVEN_UP))
    with pytest.raises(NotFound, match="could not be listed, after 2 attempts: syft was killed"):
        await site.sbom(build_id)
    with pytest.raises(NotFound, match="no image"):
        await site.sbom(failed)
    with pytest.raises(NotFound, match="no build"):
        await site.sbom("bd-0123456789abcdef_1")


async def test_a_build_of_several_platforms_has_an_sbom_for_each(site: Site) -> None:
    """Without a platform it lists them. The image of a platform may have existed before, from another build."""
    amd64, arm64 = await site.built("1111111111111111"), await site.built("2222222222222222", "linux/arm64")
    site.signed |= {amd64: b'"amd64"', arm64: b'"arm64"'}
    children = (
        Child(platform="linux/amd64", target_image=f"{REPOSITORY}:1111111111111111"),
        Child(platform="linux/arm64", target_image=f"{REPOSITORY}:2222222222222222", build_id=arm64),
        Child(platform="linux/arm/v7", target_image=f"{REPOSITORY}:3333333333333333"),
    )
    index = await site.built("c44968632f89dd6c", "linux/amd64,linux/arm64", *children)

    listed = (await site.sbom(index))["platforms"]
    assert [each["platform"] for each in listed] == ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    assert listed[1] == {"platform": "linux/arm64", "image": children[1].target_image, "buildId": arm64}
    assert [await site.sbom(index, platform) for platform in ("linux/amd64", "arm64")] == ["amd64", "arm64"]
    with pytest.raises(NotFound, match="has expired"):
        await site.sbom(index, "linux/arm/v7")
    with pytest.raises(NotFound, match="is for linux/amd64, linux/arm64"):
        await site.sbom(index, "linux/arm/v6")
    with pytest.raises(BadRequest):
        await site.sbom(index, "../..")
    with pytest.raises(NotFound, match="is for linux/arm64"):
        await site.sbom(arm64, "linux/amd64")
