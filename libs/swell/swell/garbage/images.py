"""Images of the build repository that neither a build nor a token refers to.

Source: OCI distribution-spec, "Deleting Manifests", and "Listing Tags",
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#content-management
Source: CNCF Distribution, "Listing Repositories", https://distribution.github.io/distribution/spec/api/#listing-repositories
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from swell.errors import NotFound, SwellError, Unavailable
from swell.garbage.findings import Finding
from swell.garbage.marks import Marks
from swell.garbage.references import References
from swell.net.outbound import follow, read, send
from swell.oci.digest import Digest
from swell.oci.reference import Reference, parse_reference
from swell.registry.client import RegistryClient
from swell.registry.copy.tree import CopyLimits, read_tree
from swell.registry.push import fetch_document
from swell.registry.responses import failure
from swell.store import keys
from swell.store.connections.redis import translated

PAGE = 1000
MAX_PAGES = 1000
_BYTES = 16 << 20
_REFERRERS = "sha256-"


class _Repositories(Struct):
    repositories: tuple[str, ...] = ()


class _Tags(Struct):
    tags: tuple[str, ...] | None = None


async def collect(
    redis: Redis, client: RegistryClient, repository: str, used: References, marks: Marks, *, deletes: bool
) -> AsyncIterator[Finding]:
    """Yield, and with *deletes* remove, images below *repository* that were not used for the age of *marks*.

    A manifest stays while one of its tags is used. The registry frees the bytes when it collects its own garbage. The
    size is that of the layers of an image, which others may share.

    Raises:
        Unavailable, UpstreamFailed, Denied: a backend does not answer, or refuses to delete.
    """
    base = parse_reference(repository)
    for place in await _repositories(client, base):
        tags = await _tags(client, place)
        digests = await _digests(client, place, [tag for tag in tags if not tag.startswith(_REFERRERS)])
        kept = {
            digest
            for digest, names in digests.items()
            if any(map(used.has_image, (f"{place.name}@{digest}", *(_name(place, tag) for tag in names))))
        }
        for digest, names in digests.items():
            label = f"{place.name}@{digest}"
            if digest in kept:
                await marks.clear(label)
                continue
            size = await _size(client, place.at(digest))
            if not await marks.is_due(label):
                yield Finding("image", f"{place.name}:{names[0]}", size, waits=True)
                continue
            if deletes:
                if await _is_used_now(redis, place, names):
                    continue
                await _delete(client, place, digest)
                if (referrers := f"{_REFERRERS}{digest.removeprefix('sha256:')}") in tags:
                    await _delete_tag(client, place, referrers)
                await marks.clear(label)
            yield Finding("image", f"{place.name}:{names[0]}", size)


def _name(place: Reference, tag: str) -> str:
    return f"{place.name}:{tag}"


async def _is_used_now(redis: Redis, place: Reference, names: Sequence[str]) -> bool:
    """Whether a build of one of *names* was requested since the references were read."""
    with translated():
        stored = [keys.latest_build(f"{scheme}{_name(place, tag)}") for tag in names for scheme in ("", "oras://")]
        return bool(await redis.exists(*stored))


async def _repositories(client: RegistryClient, base: Reference) -> list[Reference]:
    """The repository *base* and those below it; only *base* if the registry does not list its repositories."""
    names, last = [base.repository], ""
    for _ in range(MAX_PAGES):
        url = client.base(base.registry) / "v2/_catalog"
        response = await client.ask_url(follow, "GET", base, url.with_query(n=str(PAGE), last=last), {})
        async with response:
            if response.status != 200:
                break
            listed = msgspec.json.decode(await read(response, _BYTES), type=_Repositories).repositories
        names += [each for each in listed if each.startswith(f"{base.repository}/")]
        if len(listed) < PAGE or listed[-1] == last:
            break
        last = listed[-1]
    return [parse_reference(f"{base.registry}/{name}") for name in dict.fromkeys(names)]


async def _tags(client: RegistryClient, place: Reference) -> list[str]:
    tags, last = list[str](), ""
    for _ in range(MAX_PAGES):
        url = (client.base(place.registry) / f"v2/{place.repository}/tags/list").with_query(n=str(PAGE), last=last)
        async with await client.ask_url(follow, "GET", place, url, {}) as response:
            if response.status == 404:
                break
            if response.status != 200:
                raise failure(response.status, response.headers, f"the tags of '{place.name}'", NotFound)
            listed = msgspec.json.decode(await read(response, _BYTES), type=_Tags).tags or ()
        tags += listed
        if len(listed) < PAGE or listed[-1] == last:
            break
        last = listed[-1]
    return tags


async def _digests(client: RegistryClient, place: Reference, tags: Sequence[str]) -> Mapping[Digest, list[str]]:
    found: defaultdict[Digest, list[str]] = defaultdict(list)
    for tag in tags:
        if document := await fetch_document(client, parse_reference(_name(place, tag))):
            found[document.digest].append(tag)
    return found


async def _size(client: RegistryClient, image: Reference) -> int:
    """The bytes of all layers of *image*, of all its platforms; 0 if a part is missing."""
    try:
        tree = await read_tree(client, image, CopyLimits(size=1 << 50))
    except SwellError:
        return 0
    return tree.size


async def _delete(client: RegistryClient, place: Reference, digest: Digest) -> None:
    url = client.base(place.registry) / f"v2/{place.repository}/manifests/{digest}"
    response = await client.ask_url(send, "DELETE", place, url, {})
    response.release()
    if response.status == 405:
        raise Unavailable(f"{place.registry} does not delete images: its own settings must allow it")
    if response.status not in {200, 202, 404}:
        raise failure(response.status, response.headers, f"'{place.name}@{digest}'", NotFound)


async def _delete_tag(client: RegistryClient, place: Reference, tag: str) -> None:
    if document := await fetch_document(client, parse_reference(_name(place, tag))):
        await _delete(client, place, document.digest)
