"""What BuildKit builds come to: layers, caches, platforms, SIF files."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from builder.adapters.registry import registry_push
from builder.buildkit.daemons.programs import Programs
from builder.buildkit.engine import BuildkitEngine
from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from builder.sif.push import Sifs
from swell.api.containers import BuildCompression, BuildOptions, CompressionMode
from swell.jobs.messages import Definition
from swell.net.outbound import Policy, open_session
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import parse_auth_file
from swell.store.records import Reason
from tests.integration.builder.buildah.test_platforms import arm64_program
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.contract import failure_of
from tests.integration.builder.harness import Output, Registry, gzipped_tar

__all__ = ["buildkit", "programs"]


@pytest.fixture(scope="module")
async def daemons(
    registry: Registry, programs: Programs, base: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BuildkitEngine]:
    auth = registry.auth_file
    async with open_session(Policy(frozenset({registry.address}))) as session:
        client = RegistryClient(session, parse_auth_file(auth.read_bytes()), actions="pull,push")
        sifs = Sifs(registry_push(client), limit=1 << 30, memory=4 << 30)
        async with Buildkit(registry, programs, base).open(tmp_path_factory.mktemp("outputs"), sifs=sifs) as engine:
            yield engine


async def built(engine: BuildkitEngine, recipe: Recipe) -> str:
    output = Output()
    await engine.build(recipe, output)
    return output.text


def manifest(registry: Registry, name: str) -> dict[str, Any]:
    repository, _, tag = name.partition(":")
    return dict(json.loads(registry.fetch(f"{repository}/manifests/{tag}")[0]))


async def test_images_are_oci_images_and_keep_what_docker_adds(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry
) -> None:
    """HEALTHCHECK and SHELL have no place in the OCI specification; BuildKit writes them all the same."""
    steps = 'HEALTHCHECK --start-interval=2s CMD true\nSHELL ["/bin/sh", "-ec"]\nRUN true\n'
    await built(daemons, buildkit.recipe(steps, made="outputs/oci:1"))
    document = manifest(registry, "outputs/oci:1")
    assert document["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    config = registry.config("outputs/oci", "1")["config"]
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "StartInterval": 2_000_000_000}
    assert config["Shell"] == ["/bin/sh", "-ec"]


@pytest.mark.parametrize(
    ("mode", "media_type"),
    [
        (CompressionMode.GZIP, "application/vnd.oci.image.layer.v1.tar+gzip"),
        (CompressionMode.ZSTD, "application/vnd.oci.image.layer.v1.tar+zstd"),
        (CompressionMode.ESTARGZ, "application/vnd.oci.image.layer.v1.tar+gzip"),
    ],
)
async def test_layers_are_compressed_as_asked(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry, mode: CompressionMode, media_type: str
) -> None:
    """Base layers stay as they are, unless that is forced."""
    name = f"outputs/{mode}"
    recipe = buildkit.recipe(f"RUN echo {mode} > /made\n", made=f"{name}:1")
    await built(daemons, structs.replace(recipe, compression=BuildCompression(mode=mode, level=3)))
    base, made = manifest(registry, "base:1")["layers"], manifest(registry, f"{name}:1")["layers"]
    assert made[0]["digest"] == base[0]["digest"]
    assert made[-1]["mediaType"] == media_type
    if mode is CompressionMode.ESTARGZ:
        assert "containerd.io/snapshot/stargz/toc.digest" in made[-1]["annotations"]
    forced = buildkit.recipe(f"RUN echo {mode} > /made\n", made=f"{name}:forced")
    await built(daemons, structs.replace(forced, compression=BuildCompression(mode=mode, force=True)))
    all_layers = manifest(registry, f"{name}:forced")["layers"]
    if mode is CompressionMode.ZSTD:
        assert all(each["mediaType"].endswith("+zstd") for each in all_layers)


async def test_steps_of_one_daemon_are_found_by_another_in_the_cache(
    buildkit: Buildkit, registry: Registry, tmp_path: Path
) -> None:
    """Builders share what steps have made by way of a repository."""
    cache = f"{registry.address}/outputs/steps"
    recipe = structs.replace(
        buildkit.recipe("RUN head -c 8 /dev/urandom > /random\n", made="outputs/cached:1"), cache_repository=cache
    )
    texts = []
    for number in range(2):
        async with buildkit.open(tmp_path / str(number)) as engine:
            texts.append(await built(engine, recipe))
    assert "CACHED" in texts[1]
    assert "127.0.0.2" not in "".join(texts)
    assert f"{registry.address}/outputs/steps:swell-linux-amd64" in texts[0]


async def test_a_trigger_of_a_base_image_reads_no_other_image_with_the_login(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry
) -> None:
    """BuildKit's login is for the whole registry, and an ONBUILD of any user's image may name any repository there."""
    secret, base = (f"{registry.address}/outputs/{name}:1" for name in ("secret", "trigger"))
    await built(daemons, buildkit.recipe("RUN echo secret > /secret\n", made="outputs/secret:1"))
    trigger = f"ONBUILD COPY --from={secret} /secret /stolen\n"
    await built(daemons, buildkit.recipe(trigger, made="outputs/trigger:1"))
    recipe = buildkit.recipe("", made="outputs/stolen:1")
    failure = await failure_of(daemons, structs.replace(recipe, containerfile=f"FROM {base}\n"))
    assert "denied by policy" in str(failure)
    named = f"FROM {secret} AS named\nFROM {base}\n"
    await built(daemons, structs.replace(recipe, containerfile=named))


async def test_a_container_file_does_not_read_the_cache(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry
) -> None:
    """What the push gateway reads with the operator's credentials is for BuildKit's own cache, not for ADD."""
    cache = f"{registry.address}/outputs/readable"
    await built(daemons, structs.replace(buildkit.recipe("RUN echo cached > /cached\n"), cache_repository=cache))
    url = "http://127.0.0.2:5000/v2/cache/outputs/readable/manifests/swell-linux-amd64"
    recipe = structs.replace(buildkit.recipe(f"ADD {url} /stolen\n"), cache_repository=cache)
    failure = await failure_of(daemons, recipe)
    assert failure.reason is Reason.RECIPE
    assert "403" in str(failure)


@pytest.mark.parametrize("cache", ["127.0.0.1:1/nothing", "{registry}/UPPER", "{registry}/outputs/damaged"])
async def test_a_cache_that_cannot_be_used_fails_no_build(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry, cache: str
) -> None:
    """It only makes builds faster: its registry is unavailable, it has an invalid name, or it has no cache in it."""
    damaged = f"{registry.address}/outputs/damaged:swell-linux-amd64"
    await built(daemons, structs.replace(buildkit.recipe("RUN true\n"), target_image=damaged))
    recipe = buildkit.recipe("RUN echo uncached\n")
    text = await built(daemons, structs.replace(recipe, cache_repository=cache.format(registry=registry.address)))
    assert "uncached" in text


async def test_a_cache_that_the_registry_refuses_fails_no_build(
    buildkit: Buildkit, registry: Registry, tmp_path: Path
) -> None:
    """The builder has no credentials for it: neither the import nor the export works."""
    auth = {"auth": registry.authorization.removeprefix("Basic ")}
    (tmp_path / "push.json").write_text(json.dumps({"auths": {f"{registry.address}/made": auth}}))
    cache = f"{registry.address}/outputs/refused"
    async with buildkit.open(tmp_path / "workspace", push_auth_file=tmp_path / "push.json") as engine:
        await built(engine, structs.replace(buildkit.recipe("RUN echo uncached\n"), cache_repository=cache))


async def test_steps_run_by_emulation(
    daemons: BuildkitEngine, registry: Registry, buildkit: Buildkit, tmp_path: Path
) -> None:
    """The sandbox registers the emulator for itself."""
    context = gzipped_tar(tmp_path / "context.tar.gz", {"program": arm64_program()})
    body = 'FROM scratch\nCOPY --chmod=755 program /program\nRUN ["/program"]\n'
    recipe = structs.replace(
        buildkit.recipe("", made="outputs/arm64:1"), containerfile=body, platform="linux/arm64", context=context
    )
    text = await built(daemons, recipe)
    assert registry.config("outputs/arm64", "1")["architecture"] == "arm64"
    assert "exec format error" not in text


async def test_a_sif_file_is_made_of_the_image(daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry) -> None:
    """Not the image, but the SIF file is pushed."""
    recipe = structs.replace(buildkit.recipe("RUN echo hello > /hello\n", made="outputs/sif:1"), sif=Definition())
    text = await built(daemons, recipe)
    layers = manifest(registry, "outputs/sif:1")["layers"]
    assert [each["mediaType"] for each in layers] == ["application/vnd.sylabs.sif.layer.v1.sif"]
    assert "Making a SIF file" in text


async def test_dockerignore_keeps_what_the_server_adds(
    daemons: BuildkitEngine, buildkit: Buildkit, tmp_path: Path
) -> None:
    """Layers and conda.yml are named by lines that the server has written."""
    context = gzipped_tar(tmp_path / "context.tar.gz", {".dockerignore": b"*\n", "left-out": b"x"})
    recipe = structs.replace(
        buildkit.recipe("COPY . /all\nRUN ls /all; cat /all/conda.yml\n"), context=context, environment="name: here"
    )
    text = await built(daemons, recipe)
    assert "name: here" in text
    assert "left-out" not in text


async def test_a_context_holds_nothing_of_another_build(
    daemons: BuildkitEngine, buildkit: Buildkit, tmp_path: Path
) -> None:
    """Not even where a file has the same name, size and time; clients that pack reproducibly have one time for all."""
    texts = []
    for content in (b"first", b"other"):
        context = gzipped_tar(tmp_path / f"{content.decode()}.tar.gz", {"file": content})
        recipe = buildkit.recipe("COPY file /file\nRUN sed s/^/content:/ /file\n", made=f"outputs/{content.decode()}:1")
        texts.append(await built(daemons, structs.replace(recipe, context=context)))
    assert ["content:first" in texts[0], "content:other" in texts[1]] == [True, True]


async def test_a_context_with_a_way_out_is_refused(daemons: BuildkitEngine, buildkit: Buildkit, tmp_path: Path) -> None:
    """It is unpacked on the machine itself."""
    context = gzipped_tar(tmp_path / "context.tar.gz", {"../outside": b"x"})
    with pytest.raises(BuildFailure) as caught:
        await built(daemons, structs.replace(buildkit.recipe("RUN true\n"), context=context))
    assert caught.value.reason is Reason.CONTEXT


async def test_a_push_to_a_private_address_is_refused(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """A repository of the client's own is an address of the client's choice."""
    recipe = structs.replace(buildkit.recipe("RUN true\n"), target_image="10.1.2.3:5000/x:1")
    failure = await failure_of(daemons, recipe)
    assert failure.reason is Reason.PUSH


async def test_options_reach_the_container_file(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry
) -> None:
    """Values for ARG, one of several stages, labels beside those of the file."""
    body = f"FROM {buildkit.base} AS one\nARG V=1\nLABEL own=1\nRUN test $V = 2\nFROM {buildkit.base}\nRUN false\n"
    options = BuildOptions(build_args={"V": "2"}, target="one", labels={"given": "a b,c=d"})
    recipe = structs.replace(buildkit.recipe("", made="outputs/options:1"), containerfile=body, options=options)
    await built(daemons, recipe)
    labels = registry.config("outputs/options", "1")["config"]["Labels"]
    assert (labels["own"], labels["given"]) == ("1", "a b,c=d")


async def test_options_of_buildkit_itself_are_refused(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """Another build's cache mounts are a build argument away."""
    options = BuildOptions(build_args={"BUILDKIT_CACHE_MOUNT_NS": "x"})
    failure = await failure_of(daemons, structs.replace(buildkit.recipe("RUN true\n"), options=options))
    assert failure.reason is Reason.RECIPE


async def test_with_a_fixed_epoch_the_same_recipe_makes_the_same_image(
    buildkit: Buildkit, registry: Registry, tmp_path: Path
) -> None:
    """In two daemons that share nothing; files have no other time."""
    options = BuildOptions(build_args={"SOURCE_DATE_EPOCH": "1700000000"})
    digests = []
    for number in range(2):
        async with buildkit.open(tmp_path / str(number)) as engine:
            build_id = f"bd-0123456789abcdef_{number + 1}"
            recipe = buildkit.recipe("RUN echo same > /same\n", made=f"outputs/epoch:{number}", build_id=build_id)
            digests.append(await engine.build(structs.replace(recipe, options=options), Output()))
    assert digests[0] == digests[1]
    with registry.last_layer("outputs/epoch", digests[0]) as layer:
        assert max(member.mtime for member in layer) <= 1700000000


@pytest.mark.parametrize("target", ["", "two", "TWO"])
async def test_an_image_says_what_it_was_made_from(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry, target: str
) -> None:
    """The request, and the base of the stage that is built, by name and digest, as the registry had it."""
    last = "" if not target else "FROM scratch\nCOPY --from=two /from /from\n"
    body = f"FROM {buildkit.base} AS one\nRUN true\nFROM one AS two\nRUN echo from > /from\n{last}"
    recipe = structs.replace(buildkit.recipe("", made="outputs/from:1"), containerfile=body)
    options = BuildOptions(target=target)
    await built(daemons, structs.replace(recipe, build_id="bd-0123456789abcdef_7", options=options))
    assert manifest(registry, "outputs/from:1")["annotations"] == {
        "org.opencontainers.image.base.name": buildkit.base,
        "org.opencontainers.image.base.digest": registry.fetch("base/manifests/1")[1],
        "swell.container-id": "0123456789abcdef",
    }


async def test_a_target_that_begins_from_scratch_names_no_base(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry
) -> None:
    """Although the last stage has one."""
    body = f"FROM scratch AS empty\nCOPY --from={buildkit.base} /bin /bin\nFROM {buildkit.base}\nRUN false\n"
    recipe = structs.replace(buildkit.recipe("", made="outputs/empty:1"), containerfile=body)
    await built(daemons, structs.replace(recipe, options=BuildOptions(target="empty")))
    assert set(manifest(registry, "outputs/empty:1")["annotations"]) == {"swell.container-id"}
