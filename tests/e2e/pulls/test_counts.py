"""The operator reads the numbers of builds and pulls."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest

from gateway.adapters.access.api_keys import hash_of, new_key
from swell_embedded.stack import Stack
from tests.e2e.busybox import archive
from tests.e2e.client import Swell, as_link, client_of, until
from tests.e2e.engines import pull
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, Web

LOGIN = aiohttp.encode_basic_auth("anna", "secret")
KEY = new_key()


class Operator:
    """Reads the usage metrics of the server at *url*."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def read(self, path: str, login: str = LOGIN) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": login} if login else {}
        async with self._session.get(f"{self._url}/v1alpha3/metrics/{path}", headers=headers) as response:
            return response.status, await response.json() if response.status != 401 else {}

    async def counts(self, path: str, count: int) -> dict[str, Any]:
        """Wait until the count has the expected value and return it; pulls are published after a second."""

        async def look() -> dict[str, Any] | None:
            _, answer = await self.read(path)
            return answer if answer["count"] >= count else None

        return await until(look)


@pytest.fixture
async def stack(new_stack: OpenStack, tmp_path: Path) -> AsyncIterator[Stack]:
    """A stack without counts, with an operator's account for Anna and an API key for a user of acme.org."""
    accounts, keys = tmp_path / "accounts", tmp_path / "keys.toml"
    accounts.write_bytes(b"anna:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)) + b"\n")
    keys.write_text(f'[[key]]\nhash = "{hash_of(KEY)}"\nuser = "zoe"\norganisation = "acme.org"\n')
    async with new_stack(tmp_path / "home", ACCOUNTS_FILE=str(accounts), API_KEYS_FILE=str(keys)) as opened:
        yield opened


@pytest.fixture
async def swell(stack: Stack) -> AsyncIterator[Swell]:
    async with client_of(stack.url) as client:
        yield client


@pytest.fixture
async def operator(stack: Stack) -> AsyncIterator[Operator]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        yield Operator(stack.url, session)


async def test_every_build_and_every_pull_is_counted(
    swell: Swell, operator: Operator, upstreams: Upstreams, web: Web, tmp_path: Path
) -> None:
    """Failed builds count, cached builds are cache hits. A pull is one image, even if it takes several requests.

    An image with Fusion is counted as a Fusion pull as well.
    """
    good = await swell.build(f"FROM {upstreams.image()}\nENV A=b\n")
    bad = await swell.build(f"FROM {upstreams.image()}\nRUN false\n")
    for answer in (good, bad):
        await swell.ended(answer["buildId"])
    again = await swell.build(f"FROM {upstreams.image()}\nENV A=b\n")
    layer = archive({"usr/bin/fusion": b"#!/bin/sh\n"})
    fusion = as_link(layer, web.add("fusion-amd64.tar.gz", layer.gzipped))
    with_fusion = await swell.submit(containerImage=upstreams.image(), containerConfig={"layers": [fusion]})
    for number, name in enumerate([good["targetImage"], again["targetImage"], with_fusion["targetImage"]]):
        ran = await pull(name, tmp_path / f"image-{number}")
        assert ran.status == 0, ran.output

    assert await operator.counts("pulls", 3) == {"metric": "pulls", "count": 3}
    assert await operator.counts("builds", 2) == {"metric": "builds", "count": 2}
    assert await operator.counts("fusion/pulls", 1) == {"metric": "fusion", "count": 1}
    assert await operator.counts("hits", 1) == {"metric": "hits", "count": 1}
    assert (await operator.counts("bytes", 1))["count"] > 3 * 500_000  # of busybox
    assert await operator.counts("mirrors", 0) == {"metric": "mirrors", "count": 0}
    assert await operator.counts("builds?arch=x86_64", 2) == {"metric": "builds", "arch": "amd64", "count": 2}
    assert await operator.read("builds?date=2024-02-29") == (200, {"metric": "builds", "count": 0})


async def test_use_counts_for_the_organisation_of_the_requesting_user(
    swell: Swell, operator: Operator, upstreams: Upstreams, tmp_path: Path
) -> None:
    """Pulls from another machine with the same name count for it too. Use by others does not."""
    of_acme = await swell.build(f"FROM {upstreams.image()}\nENV A=b\n", towerAccessToken=KEY)
    anonymous = await swell.submit(containerImage=upstreams.image())
    await swell.ended(of_acme["buildId"])
    for number, answer in enumerate([of_acme, of_acme, anonymous]):
        ran = await pull(answer["targetImage"], tmp_path / f"image-{number}")
        assert ran.status == 0, ran.output

    assert await operator.counts("pulls", 3) == {"metric": "pulls", "count": 3, "orgs": {"acme.org": 2}}
    assert await operator.counts("builds", 1) == {"metric": "builds", "count": 1, "orgs": {"acme.org": 1}}
    assert await operator.counts("pulls?org=acme.org&arch=amd64", 2) == {
        "metric": "pulls",
        "arch": "amd64",
        "count": 2,
        "orgs": {"acme.org": 2},
    }
    assert await operator.read("pulls?org=none.io") == (200, {"metric": "pulls", "count": 0, "orgs": {"none.io": 0}})


async def test_an_image_of_an_index_counts_for_its_own_architecture(
    swell: Swell, operator: Operator, upstreams: Upstreams, tmp_path: Path
) -> None:
    """A name that one machine requests can be pulled on machines of other architectures."""
    name = (await swell.submit(containerImage=upstreams.image("oci-index")))["targetImage"]
    path = name.partition("/")[2].rpartition(":")[0]
    _, index = await swell.get(f"/v2/{path}/manifests/oci-index")
    for entry in index["manifests"]:
        await swell.bytes(f"/v2/{path}/manifests/{entry['digest']}")

    architectures = [entry["platform"]["architecture"] for entry in index["manifests"]]
    assert await operator.counts("pulls", len(architectures)) == {"metric": "pulls", "count": len(architectures)}
    for architecture in ("amd64", "arm64"):
        answer = await operator.counts(f"pulls?arch={architecture}", 1)
        assert answer["count"] == architectures.count(architecture)


async def test_metrics_need_an_account(operator: Operator) -> None:
    """The numbers show what organisations do."""
    assert (await operator.read("pulls", ""))[0] == 401
    assert (await operator.read("pulls", aiohttp.encode_basic_auth("anna", "guess")))[0] == 401
    assert (await operator.read("pulls"))[0] == 200
