"""Access: results are given to callers who may read what they were made of."""

from collections import Counter
from typing import Any

import pytest
from msgspec import structs

from gateway.access.images.image_access import FRESH_SECONDS, STALE_SECONDS, ImageAccess
from gateway.domain.access.identity import (
    ANONYMOUS,
    Caller,
    Identity,
    Reader,
    queue_of,
    reader_of,
    tenant_of,
)
from gateway.domain.repositories import Repositories
from gateway.submit.builds.start import BuildStarter
from gateway.submit.validation import validate
from swell.api.containers import BuildOptions, ContainerConfig, ContainerLayer, ContainerRequest
from swell.errors import (
    BadRequest,
    BlobUnknown,
    Denied,
    ManifestUnknown,
    ScopeRequired,
    SwellError,
    Unavailable,
    UpstreamFailed,
)
from swell.oci.digest import Digest, digest_of
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import OPERATOR, PUBLIC, Principal, limited_to, opens
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import FROM_CLIENT, MirrorImage, Submission
from tests.unit.gateway.doubles import (
    NOON,
    CountedBuilds,
    KnownCapabilities,
    MemoryLeases,
    MemoryRegistry,
    StubSolver,
)
from tests.unit.gateway.submit.recipes.test_packages import encoded

REPOSITORIES = Repositories(build="r.example/swell/build", cache="r.example/swell/cache")
ANONYMOUS_CALLER, INSIDER = Caller(ANONYMOUS, "203.0.113.9"), Caller(ANONYMOUS, "203.0.113.10", OPERATOR, OPERATOR)
PRIVATE, OPEN = "quay.io/private/base:1", "quay.io/open/base:1"


class Guarded:
    """Shows images below `quay.io/open` to all, and others to the operator; `asked` counts, `trouble` is raised."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.trouble: SwellError | None = None

    async def resolve(self, image: Reference, principal: Principal) -> Digest:
        self.asked[f"{principal} {image}"] += 1
        if self.trouble:
            raise self.trouble
        if "missing" in image.repository:
            raise ManifestUnknown
        if not (image.name.startswith("quay.io/open") or opens(principal, image)):
            raise Denied
        return digest_of(str(image).encode())

    async def resolve_blob(self, blob: Reference, principal: Principal) -> Digest:
        try:
            return await self.resolve(blob, principal)
        except ManifestUnknown as error:
            raise BlobUnknown from error


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> Guarded:
    return Guarded()


@pytest.fixture
def builds() -> MemoryBuilds:
    return MemoryBuilds()


@pytest.fixture
def access(registry: Guarded, builds: MemoryBuilds, clock: Clock) -> ImageAccess:
    return ImageAccess(REPOSITORIES, registry, builds, now=clock)


def starting_with(access: ImageAccess, builds: MemoryBuilds, built: MemoryRegistry) -> BuildStarter:
    limits, capabilities = CountedBuilds(), KnownCapabilities()
    return BuildStarter(
        REPOSITORIES, built, builds, limits, StubSolver(), MemoryLeases(), capabilities, access, now=lambda: NOON
    )


@pytest.fixture
def built() -> MemoryRegistry:
    """The repository of builds."""
    return MemoryRegistry()


@pytest.fixture
def starter(access: ImageAccess, builds: MemoryBuilds, built: MemoryRegistry) -> BuildStarter:
    return starting_with(access, builds, built)


def recipe(text: str, **more: object) -> ContainerRequest:
    return structs.replace(ContainerRequest(container_file=encoded(text)), **more)


async def record_of(
    builds: MemoryBuilds,
    containerfile: str,
    name: str = "made",
    included: tuple[str, ...] = (),
    options: BuildOptions = BuildOptions(),  # noqa: B008  (frozen)
) -> Reference:
    image = f"{REPOSITORIES.build}:{name}"
    submission = Submission(
        container_id=name,
        target_image=image,
        containerfile=containerfile,
        platform="linux/amd64",
        created=NOON,
        included=included,
        options=options,
    )
    await builds.submit(submission)
    return parse_reference(image)


@pytest.mark.parametrize(
    "text",
    [
        f"FROM {PRIVATE}\n",
        f"FROM {OPEN} AS a\nFROM {PRIVATE}\nCOPY --from=a / /\n",
        f"FROM {OPEN}\nCOPY --from={PRIVATE} / /\n",
        f"FROM {OPEN}\nRUN --mount=type=bind,from={PRIVATE},target=/m true\n",
        f"ARG BASE={PRIVATE}\nFROM $BASE\n",
        "ARG BASE\nFROM ${BASE}\n",
    ],
)
async def test_no_cached_result_is_given_without_access_to_every_base(
    starter: BuildStarter, built: MemoryRegistry, text: str
) -> None:
    """However the recipe names the base; an image whose name is unknown here counts as one that is not open."""
    wanted = validate(recipe(text), REPOSITORIES)
    started = await starter.start(wanted, [], INSIDER)
    with pytest.raises(BadRequest):  # joining the build that runs
        await starter.start(wanted, [], ANONYMOUS_CALLER)
    built.push(str(started.image))
    starter = starting_with(ImageAccess(REPOSITORIES, Guarded(), MemoryBuilds()), MemoryBuilds(), built)

    with pytest.raises(BadRequest):
        await starter.start(wanted, [], ANONYMOUS_CALLER)
    with pytest.raises(BadRequest):
        await starter.start(structs.replace(wanted, dry_run=True), [], ANONYMOUS_CALLER)


async def test_an_open_base_is_no_obstacle(starter: BuildStarter, built: MemoryRegistry) -> None:
    """The same recipe of two strangers is one build."""
    wanted = validate(recipe(f"FROM {OPEN}\n"), REPOSITORIES)
    first = await starter.start(wanted, [], ANONYMOUS_CALLER)

    joined = await starter.start(wanted, [], Caller(ANONYMOUS, "198.51.100.1"))

    assert (first.build_id, first.cached) == (joined.build_id, joined.cached)


async def test_a_base_that_may_not_be_read_is_refused_before_a_build(
    starter: BuildStarter, builds: MemoryBuilds
) -> None:
    """It would fail, and meanwhile others who may read it would join it."""
    with pytest.raises(BadRequest, match="operator-pull"):
        await starter.start(validate(recipe(f"FROM {PRIVATE}\n"), REPOSITORIES), [], ANONYMOUS_CALLER)

    assert await builds.waiting() == []


async def test_a_base_that_does_not_exist_is_the_builders_to_report(starter: BuildStarter) -> None:
    """As in Wave: the log says so."""
    found = await starter.start(validate(recipe("FROM quay.io/missing/base\n"), REPOSITORIES), [], ANONYMOUS_CALLER)

    assert found.cached is False


async def test_an_unavailable_registry_does_not_stop_a_public_build_or_those_who_join_it(
    starter: BuildStarter, registry: Guarded
) -> None:
    """The build reads only public images, so its result is for every client."""
    registry.trouble = UpstreamFailed("away")
    request = validate(recipe(f"FROM {OPEN}\n"), REPOSITORIES)
    first = await starter.start(request, [], ANONYMOUS_CALLER)
    second = await starter.start(request, [], ANONYMOUS_CALLER)

    assert first.cached is second.cached is False
    assert first.build_id == second.build_id


async def test_while_a_registry_is_unavailable_no_client_joins_a_build_that_may_read_private_images(
    starter: BuildStarter, registry: Guarded
) -> None:
    """Whether the client may read its base images is not known."""
    request = validate(recipe(f"FROM {PRIVATE}\n"), REPOSITORIES)
    await starter.start(request, [], INSIDER)
    registry.trouble = UpstreamFailed("away")

    with pytest.raises(UpstreamFailed):
        await starter.start(request, [], ANONYMOUS_CALLER)


async def test_who_may_read_more_does_not_join_a_build_that_will_fail(
    starter: BuildStarter, builds: MemoryBuilds, registry: Guarded
) -> None:
    """A stranger could keep others from a private base's image by asking for it first."""
    wanted = validate(recipe(f"FROM {PRIVATE}\n"), REPOSITORIES)
    registry.trouble = UpstreamFailed("away")
    await starter.start(wanted, [], ANONYMOUS_CALLER)
    registry.trouble = None

    with pytest.raises(Unavailable, match="try again"):
        await starter.start(wanted, [], INSIDER)


async def test_an_answer_is_remembered_for_one_principal(access: ImageAccess, registry: Guarded, clock: Clock) -> None:
    """Cached answers stay fast; what the operator may read says nothing of the public."""
    image = parse_reference(OPEN)
    for _ in range(3):
        assert (await access.check(Reader(PUBLIC), [image])).problem is None
    await access.check(Reader(OPERATOR), [image])
    assert registry.asked == {f"public {OPEN}": 1, f"operator {OPEN}": 1}

    clock.now += FRESH_SECONDS + 1
    await access.check(Reader(PUBLIC), [image])

    assert registry.asked[f"public {OPEN}"] == 2


async def test_a_refusal_is_not_remembered(access: ImageAccess, registry: Guarded) -> None:
    """Access that was given just now counts at once."""
    for _ in range(2):
        assert (await access.check(Reader(PUBLIC), [parse_reference(PRIVATE)])).problem

    assert registry.asked[f"public {PRIVATE}"] == 2


async def test_while_a_registry_is_away_its_last_answer_counts_for_a_day(
    access: ImageAccess, registry: Guarded, clock: Clock
) -> None:
    """Otherwise an outage of one registry would stop every pipeline that runs on it."""
    image = parse_reference(OPEN)
    await access.check(Reader(PUBLIC), [image])
    registry.trouble = UpstreamFailed("away")
    clock.now += FRESH_SECONDS + 1
    assert (await access.check(Reader(PUBLIC), [image])).problem is None

    clock.now += STALE_SECONDS

    assert (await access.check(Reader(PUBLIC), [image])).problem is registry.trouble


async def test_access_that_was_withdrawn_is_not_stale(access: ImageAccess, registry: Guarded, clock: Clock) -> None:
    """The registry's refusal replaces what it said before."""
    image = parse_reference(OPEN)
    await access.check(Reader(PUBLIC), [image])
    clock.now += FRESH_SECONDS + 1
    registry.trouble = Denied()
    assert (await access.check(Reader(PUBLIC), [image])).problem
    registry.trouble = UpstreamFailed("away")

    assert (await access.check(Reader(PUBLIC), [image])).problem is registry.trouble


async def test_access_to_a_base_that_was_withdrawn_is_not_stale_for_the_images_on_it(
    access: ImageAccess, registry: Guarded, builds: MemoryBuilds, clock: Clock
) -> None:
    """An outage after the refusal does not bring back what was said before it."""
    below = await record_of(builds, f"FROM {OPEN}\n")
    image = await record_of(builds, f"FROM {below}\n", "above")
    assert (await access.check(Reader(PUBLIC), [image])).problem is None
    clock.now += FRESH_SECONDS + 1
    registry.trouble = Denied()
    assert isinstance((await access.check(Reader(PUBLIC), [image])).problem, ScopeRequired)
    registry.trouble = UpstreamFailed("away")

    assert (await access.check(Reader(PUBLIC), [image])).problem is registry.trouble


@pytest.mark.parametrize(
    ("containerfile", "included", "readable"),
    [
        (f"FROM {OPEN}\n", (), True),
        (f"FROM {PRIVATE}\n", (), False),
        ("FROM quay.io/missing/base\n", (), False),
        (f"FROM {OPEN}\n", (PRIVATE,), False),
        (f"FROM {OPEN}\n", (OPEN,), True),
        ("FROM scratch\n", (), True),
    ],
)
async def test_an_image_of_ours_is_read_by_who_may_read_its_base(
    access: ImageAccess, builds: MemoryBuilds, containerfile: str, included: tuple[str, ...], readable: bool
) -> None:
    """The record of its build says what it was made of, the layers of other images included."""
    image = await record_of(builds, containerfile, included=included)

    if readable:
        assert opens(await access.pull_principal(Reader(PUBLIC), image), image)
    else:
        with pytest.raises(ScopeRequired, match=r"built from an image"):
            await access.pull_principal(Reader(PUBLIC), image)
    assert await access.pull_principal(Reader(OPERATOR), image) == OPERATOR


async def test_an_image_of_ours_that_was_built_with_secrets_needs_the_scope(
    access: ImageAccess, builds: MemoryBuilds
) -> None:
    """Its steps may have fetched what only the secret opens, although its base is public; also as base of another."""
    options = BuildOptions(build_secrets={"token": "npm"})
    image = await record_of(builds, f"FROM {OPEN}\nRUN true\n", options=options)
    above = await record_of(builds, f"FROM {image}\nRUN true\n", "above")

    for each in (image, above):
        with pytest.raises(ScopeRequired, match="secrets"):
            await access.pull_principal(Reader(PUBLIC), each)
        assert await access.pull_principal(Reader(OPERATOR), each) == OPERATOR


async def test_an_image_of_ours_on_another_is_followed_to_its_base(access: ImageAccess, builds: MemoryBuilds) -> None:
    """Through as many images of ours as there may be."""
    first = await record_of(builds, f"FROM {PRIVATE}\n", "first")
    second = await record_of(builds, f"FROM {first}\n", "second")

    with pytest.raises(ScopeRequired):
        await access.pull_principal(Reader(PUBLIC), second)


@pytest.mark.parametrize(
    "name", [f"{REPOSITORIES.build}:unknown", f"{REPOSITORIES.build}@sha256:{'a' * 64}", "r.example/swell/cache:x"]
)
async def test_an_image_of_ours_without_a_record_needs_the_scope(access: ImageAccess, name: str) -> None:
    """Records expire before images do; layers of the cache never have one."""
    with pytest.raises(ScopeRequired, match="operator-pull"):
        await access.pull_principal(Reader(PUBLIC), parse_reference(name))


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({}, True),
        ({"build_repository": "r.example/swell/build/mine"}, True),
        ({"build_repository": "quay.io/theirs/images"}, False),
        ({"build_repository": "r.example/library"}, False),
        ({"build_repository": "quay.io/mine/images", "cache_repository": "quay.io/theirs/cache"}, False),
        ({"build_repository": "quay.io/mine/images", "cache_repository": "quay.io/mine/cache"}, True),
    ],
)
async def test_a_push_to_a_repository_of_others_needs_the_scope(
    access: ImageAccess, fields: dict[str, str], allowed: bool
) -> None:
    """Frozen images and cached steps go where the key says, or where this server pushes anyway."""
    principal = limited_to(["quay.io/mine"])
    wanted = validate(recipe(f"FROM {OPEN}\n", **fields), REPOSITORIES)

    if allowed:
        pushing = await access.push_principal(principal, wanted.repository, wanted.cache_repository)
        assert opens(pushing, parse_reference(wanted.repository))
    else:
        with pytest.raises(ScopeRequired, match="operator-push"):
            await access.push_principal(principal, wanted.repository, wanted.cache_repository)


async def test_a_recipe_names_a_bounded_number_of_images(access: ImageAccess, registry: Guarded) -> None:
    """Each costs a request to a registry of the caller's choice."""
    images = [parse_reference(f"quay.io/open/base{number}") for number in range(200)]

    assert isinstance((await access.check(Reader(PUBLIC), images)).problem, BadRequest)
    assert not registry.asked


BLOB = f"sha256:{'b' * 64}"


def blob_in(repository: str) -> str:
    registry, _, path = repository.partition("/")
    return f"docker://{registry}/v2/{path}/blobs/{BLOB}"


async def built_from(
    builds: MemoryBuilds, sources: tuple[str, ...] | None, name: str = "made", by: Caller = INSIDER, **fields: object
) -> Reference:
    """The image of a build on an open base, which *by* requested; its context came from *sources*."""
    image = f"{REPOSITORIES.build}:{name}"
    submission = Submission(
        container_id=name,
        target_image=image,
        containerfile=f"FROM {OPEN}\nCOPY . .\n",
        platform="linux/amd64",
        created=NOON,
        sources=sources,
        client=queue_of(by),
        tenant=tenant_of(by),
    )
    await builds.submit(structs.replace(submission, **fields))
    return parse_reference(image)


@pytest.mark.parametrize(
    ("repository", "readable"),
    [
        ("quay.io/open/files", True),
        ("quay.io/private/files", False),
        ("quay.io/missing/files", False),
        (REPOSITORIES.build, False),
    ],
)
async def test_an_image_of_ours_with_a_blob_of_a_repository_is_read_by_who_may_read_the_blob(
    access: ImageAccess, builds: MemoryBuilds, repository: str, readable: bool
) -> None:
    """Its base is public, but its context or a layer came from there; blobs of own repositories have no record."""
    image = await built_from(builds, (blob_in(repository),))
    above = await record_of(builds, f"FROM {image}\n", "above")

    for each in (image, above):
        if readable:
            assert opens(await access.pull_principal(Reader(PUBLIC), each), each)
        else:
            with pytest.raises(ScopeRequired):
                await access.pull_principal(Reader(PUBLIC), each)
        assert await access.pull_principal(Reader(OPERATOR), each) == OPERATOR


@pytest.mark.parametrize("sources", [(FROM_CLIENT,), (blob_in("quay.io/open/files"), FROM_CLIENT), None])
async def test_an_image_of_ours_with_files_of_a_client_is_read_by_that_client(
    access: ImageAccess, builds: MemoryBuilds, sources: tuple[str, ...] | None
) -> None:
    """Who knows the digest of a context can compute the tag, but has not the files. Old records do not name sources."""
    ada = Caller(Identity(user="ada", organisation="acme"), "203.0.113.1")
    colleague = Caller(Identity(user="bob", organisation="acme"), "203.0.113.2")
    image = await built_from(builds, sources, by=ada, context=Digest(BLOB))

    for reader in (ada, colleague):
        assert opens(await access.pull_principal(reader_of(reader), image), image)
    for stranger in (ANONYMOUS_CALLER, Caller(Identity(user="eve"), "203.0.113.1")):
        with pytest.raises(ScopeRequired, match="files of the client"):
            await access.pull_principal(reader_of(stranger), image)


async def test_an_old_record_without_context_and_layers_has_no_files_of_a_client(
    access: ImageAccess, builds: MemoryBuilds
) -> None:
    """Most images of earlier versions stay readable."""
    image = await built_from(builds, None)

    assert opens(await access.pull_principal(Reader(PUBLIC), image), image)


async def test_the_record_of_a_mirror_gives_no_access(access: ImageAccess, builds: MemoryBuilds) -> None:
    """It names no base images, so it would be readable by all."""
    mirrored = MirrorImage(source=PRIVATE, target=f"{REPOSITORIES.build}:made", digest=Digest(BLOB))
    image = await built_from(builds, (), mirror=(mirrored,), containerfile="")

    with pytest.raises(ScopeRequired):
        await access.pull_principal(Reader(PUBLIC), image)


async def test_an_image_that_may_be_read_does_not_open_others_of_its_repository(
    access: ImageAccess, builds: MemoryBuilds
) -> None:
    """A request that names an image of its own, and one of another client beside it, gets neither."""
    own = await record_of(builds, f"FROM {OPEN}\n", "own")
    foreign = await record_of(builds, f"FROM {PRIVATE}\n", "foreign")
    layer = parse_reference(f"{REPOSITORIES.build}@{BLOB}")

    for images in ([own, foreign], [own, layer], [foreign, own]):
        with pytest.raises(ScopeRequired):
            await access.pull_principal_for_all(Reader(PUBLIC), images)
        assert isinstance((await access.check(Reader(PUBLIC), images)).problem, ScopeRequired)


async def test_a_dry_run_needs_access_to_the_blobs_of_the_build(
    starter: BuildStarter, access: ImageAccess, builds: MemoryBuilds, built: MemoryRegistry
) -> None:
    """It does not fetch them, so the registry is asked; otherwise it would reveal builds of others."""
    context = ContainerLayer(blob_in("quay.io/private/files"), gzip_digest=BLOB, gzip_size=1, tar_digest=BLOB)
    request = validate(recipe(f"FROM {OPEN}\n", build_context=context, dry_run=True), REPOSITORIES)

    built.push(str((await starter.start(request, [], INSIDER)).image))

    assert (await starter.start(request, [], INSIDER)).cached
    with pytest.raises(BadRequest, match="quay.io/private/files"):
        await starter.start(request, [], ANONYMOUS_CALLER)


async def test_the_record_of_a_build_says_where_its_files_came_from(
    starter: BuildStarter, builds: MemoryBuilds
) -> None:
    """Of a URL nothing is stored, because it may be signed. Layers of included images are checked with the images."""
    layers = [
        {"location": blob_in("quay.io/open/files")},
        {"location": blob_in("quay.io/open/included")},
        {"location": "https://files.example/layer?signature=1"},
    ]
    known: dict[str, Any] = {"gzip_digest": BLOB, "gzip_size": 1, "tar_digest": BLOB}
    config = ContainerConfig(layers=tuple(ContainerLayer(location=layer["location"], **known) for layer in layers))
    request = recipe(
        f"FROM {OPEN}\n",
        build_context=ContainerLayer(blob_in("quay.io/open/context"), **known),
        container_config=config,
        freeze=True,
        build_repository="quay.io/mine/images",
    )
    wanted = structs.replace(validate(request, REPOSITORIES), included=(parse_reference("quay.io/open/included:1"),))

    started = await starter.start(wanted, [], INSIDER)

    build = await builds.get(started.build_id or "")
    assert build is not None
    assert build.submission.sources == (
        blob_in("quay.io/open/context"),
        blob_in("quay.io/open/files"),
        FROM_CLIENT,
    )
