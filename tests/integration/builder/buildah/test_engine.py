"""The buildah engine builds, pushes and says why not, with the real tools and a real registry."""

from pathlib import Path

import pytest

from builder.buildah.engine import BuildahEngine
from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from swell.errors import Unavailable
from swell.registry.credentials.principal import OPERATOR
from swell.store.records import Reason
from tests.integration.builder.contract import until
from tests.integration.builder.harness import OpenEngine, Output, Registry, gzipped_tar


def recipe(base: str, body: str, context: Path | None = None, made: str = "made:1", build_id: str = "bd-1_1") -> Recipe:
    """Build *body* into the registry of *base*."""
    target = base.replace("base:1", made)
    return Recipe(
        principal=OPERATOR,
        push_principal=OPERATOR,
        build_id=build_id,
        target_image=target,
        containerfile=body,
        context=context,
    )


async def failure_of(engine: BuildahEngine, wanted: Recipe) -> BuildFailure:
    with pytest.raises(BuildFailure) as caught:
        await engine.build(wanted, Output())
    return caught.value


async def test_the_digest_names_what_the_registry_has(engine: BuildahEngine, base: str, registry: Registry) -> None:
    """The returned digest can be pulled."""
    digest = await engine.build(recipe(base, f"FROM {base}\nRUN echo hello > /hello\n"), Output())

    assert registry.fetch("made/manifests/1")[1] == digest
    hello = registry.last_layer("made", digest).extractfile("hello")
    assert hello is not None
    assert hello.read() == b"hello\n"


async def test_owners_in_the_image_are_the_steps(engine: BuildahEngine, base: str, registry: Registry) -> None:
    """Steps have other user ids on the machine; the image does not show them."""
    made = f"FROM {base}\nRUN touch /roots && touch /users && chown 1000:1001 /users\n"
    digest = await engine.build(recipe(base, made), Output())

    layer = registry.last_layer("made", digest)
    assert [(layer.getmember(name).uid, layer.getmember(name).gid) for name in ("roots", "users")] == [
        (0, 0),
        (1000, 1001),
    ]


async def test_a_step_finds_the_context(engine: BuildahEngine, base: str, tmp_path: Path) -> None:
    """The context is for COPY and for mounts."""
    context = gzipped_tar(tmp_path / "context.tar.gz", {"data/greeting": b"good morning\n"})
    step = "RUN --mount=type=bind,target=/c cmp /data/greeting /c/data/greeting && cat /c/data/*"
    body = f"FROM {base}\nCOPY data /data\n{step}\n"
    output = Output()

    await engine.build(recipe(base, body, context), output)

    assert b"good morning" in output


async def test_a_cache_mount_can_be_written(engine: BuildahEngine, base: str) -> None:
    """Container files written for BuildKit have them; no build sees another's."""
    as_root = "RUN --mount=type=cache,target=/c test ! -e /c/root && touch /c/root && stat -c %u /c\n"
    as_user = "RUN --mount=type=cache,target=/d,uid=1000 stat -c %u /d\n"
    await engine.build(recipe(base, f"FROM {base}\n{as_root}"), Output())
    output = Output()

    await engine.build(recipe(base, f"FROM {base}\n{as_root}{as_user}"), output)

    assert [line for line in output if line.isdigit()] == [b"0", b"1000"]


async def test_shell_instructions_count(engine: BuildahEngine, base: str) -> None:
    """The OCI format would drop SHELL, and run the step with another shell than its author meant."""
    output = Output()
    await engine.build(recipe(base, f'FROM {base}\nSHELL ["/bin/ash", "-c"]\nRUN echo "shell is $0"\n'), output)
    assert b"shell is /bin/ash" in output


async def test_output_is_written_as_bytes_without_colours(engine: BuildahEngine, base: str) -> None:
    """Programs write what they like; a log keeps it, but for colours."""
    output = Output()
    await engine.build(recipe(base, f"FROM {base}\nRUN printf '\\033[1;31mred\\033[0m \\000\\377 end\\n'\n"), output)
    assert b"red \x00\xff end" in output


@pytest.mark.parametrize(
    ("body", "reason", "status", "words"),
    [
        ("FROM {base}\nRUN exit 7\n", Reason.RECIPE, 7, "'RUN exit 7' ended with exit status 7"),
        ("FROM {base}\nRUN no-such-program\n", Reason.RECIPE, 127, "exit status 127"),
        ("FROM {base}\nRUM true\n", Reason.RECIPE, 125, "RUM"),
        ("FROM {base}\nCOPY nothing /\n", Reason.RECIPE, 125, "nothing"),
        ("", Reason.RECIPE, 125, "no contents"),
        ("RUN true\n", Reason.RECIPE, 125, "container file"),
        ("FROM {registry}/missing:1\nRUN true\n", Reason.BASE_IMAGE, 125, "manifest unknown"),
        ("FROM UPPER/case\nRUN true\n", Reason.BASE_IMAGE, 125, "UPPER/case"),
        ("FROM {base}\nCOPY --from={registry}/missing:1 / /\n", Reason.BASE_IMAGE, 125, "no stage or image"),
    ],
)
async def test_a_failure_says_why_and_whose_turn_it_is(
    engine: BuildahEngine, base: str, registry: Registry, body: str, reason: Reason, status: int, words: str
) -> None:
    """The user reads one sentence; the service reads a reason and a status."""
    failure = await failure_of(engine, recipe(base, body.format(base=base, registry=registry.address)))

    assert (failure.reason, failure.exit_status) == (reason, status), str(failure)
    assert words in str(failure)


async def test_a_cached_base_image_is_asked_for_again(
    open_engine: OpenEngine, base: str, registry: Registry, tmp_path: Path
) -> None:
    """Layers are kept for all builds; who may not pull the image may not have them from us either."""
    auth = tmp_path / "auth.json"
    auth.write_text(registry.auth_file.read_text())
    async with open_engine(tmp_path / "workspace", pull_auth_file=auth) as engine:
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())
        auth.write_text("{}")
        failure = await failure_of(engine, recipe(base, f"FROM {base}\nRUN true\n"))
        copied = await failure_of(engine, recipe(base, f"FROM scratch\nCOPY --from={base} /bin /bin\n"))

    assert (failure.reason, copied.reason) == (Reason.BASE_IMAGE, Reason.BASE_IMAGE)


async def test_a_base_image_is_fetched_once(open_engine: OpenEngine, base: str, tmp_path: Path) -> None:
    """Builds of the same principal share the layers of base images: the second build finds them stored."""

    def layers() -> list[Path]:
        return sorted(path for path in (tmp_path / "bases/0").glob("*/overlay/*") if len(path.name) == 64)

    async with open_engine(tmp_path) as engine:
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())
        stored = layers()
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())
        assert layers() == stored
    assert stored


async def test_a_full_disk_begins_another_cache(open_engine: OpenEngine, base: str, tmp_path: Path) -> None:
    """Base images must not fill the disk; with none kept, builds still work."""
    async with open_engine(tmp_path, base_cache_free=1 << 60) as engine:
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())
        await until(lambda: len(list((tmp_path / "bases").iterdir())) == 1, "no unused store")


async def test_a_workspace_has_one_builder(open_engine: OpenEngine, tmp_path: Path) -> None:
    """The second would take the first one's builds for leftovers."""
    async with open_engine(tmp_path):
        with pytest.raises(Unavailable, match="another process"):
            async with open_engine(tmp_path):
                pytest.fail("two builders in one workspace")


async def test_a_hostile_context_is_refused(engine: BuildahEngine, base: str, tmp_path: Path) -> None:
    """Nothing is written outside of the build's directory."""
    context = gzipped_tar(tmp_path / "context.tar.gz", {"../../escaped": b""})
    failure = await failure_of(engine, recipe(base, f"FROM {base}\nRUN true\n", context))
    assert failure.reason is Reason.CONTEXT
