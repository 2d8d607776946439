"""Everything that an augmented image refers to can be pulled with its token and matches its descriptor."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from swell.oci.digest import digest_of
from tests.e2e.busybox import FORMS, archive
from tests.e2e.client import Swell, as_data
from tests.e2e.upstreams import Upstreams

CONFIG = {"env": ["NAME=größe ☃"], "layers": [as_data(archive({"added": b"added\n"}))]}


async def fetch(session: aiohttp.ClientSession, url: str) -> tuple[Any, bytes]:
    """Return the headers that HEAD and GET agree on, and the body of GET; redirects are followed."""
    seen = []
    for method in ("HEAD", "GET"):
        async with session.request(method, url) as answer:
            names = ("Content-Length", "Content-Type", "Docker-Content-Digest")
            seen.append((answer.status, *(answer.headers.get(name) for name in names)))
            content = await answer.read()
    assert seen[0] == seen[1]
    return seen[1], content


async def walk(session: aiohttp.ClientSession, name: str, reference: str) -> AsyncIterator[tuple[Any, bytes]]:
    """Return everything below *reference*: the descriptor, if a document has one, and the bytes."""
    head, content = await fetch(session, f"{name}/manifests/{reference}")
    document = json.loads(content)
    assert (head[0], head[2], head[3]) == (200, document["mediaType"], digest_of(content))
    yield {"digest": head[3], "size": int(head[1])}, content
    for entry in document.get("manifests", ()):
        async for descendants in walk(session, name, entry["digest"]):
            yield descendants
    for blob in filter(None, (document.get("config"), *document.get("layers", ()))):
        head, content = await fetch(session, f"{name}/blobs/{blob['digest']}")
        assert head[0] == 200
        yield blob, content


@pytest.mark.parametrize("adds", [True, False], ids=["augmented", "as it is"])
@pytest.mark.parametrize("form", FORMS)
async def test_every_descriptor_matches_the_served_bytes(
    swell: Swell, upstreams: Upstreams, form: str, adds: bool
) -> None:
    """Sizes count bytes, also of text that is not ASCII. GET and HEAD agree."""
    config = CONFIG if adds else None
    answer = await swell.submit(containerImage=upstreams.image(form), containerConfig=config)
    repository, _, tag = answer["targetImage"].partition("/")[2].rpartition(":")

    async with aiohttp.ClientSession() as session:
        descendants = [each async for each in walk(session, f"{swell.url}/v2/{repository}", tag)]

    assert len(descendants) == {"docker": 3, "oci": 3, "docker-list": 7, "oci-index": 7}[form] + adds
    for descriptor, content in descendants:
        assert (descriptor["digest"], descriptor["size"]) == (digest_of(content), len(content))
