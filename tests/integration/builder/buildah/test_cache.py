"""Layer caches: results of steps are stored in a registry and shared by all builds that name the repository."""

import json
from pathlib import Path

import pytest

from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from swell.registry.credentials.principal import OPERATOR
from swell.store.records import Reason
from tests.integration.builder.buildah.test_engine import recipe
from tests.integration.builder.harness import OpenEngine, Output, Registry

SLOW = "RUN date > /slow && echo ran $((6 * 7))"  # what it says is worked out: only a step that runs can say it


def cached(base: str, body: str, cache: str, made: str = "made:1") -> Recipe:
    plain = recipe(base, body, made=made)
    return Recipe(
        principal=OPERATOR,
        push_principal=OPERATOR,
        build_id=plain.build_id,
        target_image=plain.target_image,
        containerfile=body,
        cache_repository=cache,
    )


@pytest.fixture
def cache(registry: Registry, request: pytest.FixtureRequest) -> str:
    """A repository of this test alone."""
    return f"{registry.address}/caches/{request.function.__name__.replace('_', '-')}"


async def test_a_shared_prefix_runs_once(
    open_engine: OpenEngine, base: str, cache: str, registry: Registry, tmp_path: Path
) -> None:
    """Recipes that differ in their ends share what is before them, also with builders that have never met."""
    first, second, other = Output(), Output(), Output()
    prefix = f"FROM {base}\n{SLOW}\n"
    async with open_engine(tmp_path / "one") as engine:
        await engine.build(cached(base, f"{prefix}RUN echo first > /end\n", cache, "first:1"), first)
    async with open_engine(tmp_path / "two") as engine:
        digest = await engine.build(cached(base, f"{prefix}RUN echo second > /end\n", cache, "second:1"), second)
        await engine.build(cached(base, f"{prefix}RUN true\n", f"{cache}-of-another", "other:1"), other)

    assert "ran 42" in first.text and "Using cache" not in first.text
    assert "ran 42" not in second.text and "Using cache" in second.text
    assert "ran 42" in other.text and "Using cache" not in other.text
    layers = [registry.manifest(name, "1")["layers"] for name in ("first", "second")]
    assert layers[0][-2] == layers[1][-2], "the slow step's layer is the same, to the byte"
    assert registry.last_layer("second", digest).extractfile("end").read() == b"second\n"  # type: ignore[union-attr]


async def test_a_step_with_a_mount_is_not_shared(
    open_engine: OpenEngine, base: str, cache: str, tmp_path: Path
) -> None:
    """buildah's key of a step does not have what an earlier step, of another stage, has put into the mount."""
    step = "RUN --mount=type=cache,id=x,target=/c cat /c/f > /out 2>/dev/null || echo none > /out\n"
    fill = f"FROM {base} AS a\nRUN --mount=type=cache,id=x,target=/c echo evil > /c/f\n"
    output = Output()
    async with open_engine(tmp_path) as engine:
        await engine.build(cached(base, f"{fill}FROM {base}\n{step}COPY --from=a /etc /etc\n", cache), Output())
        await engine.build(cached(base, f"FROM {base}\n{step}RUN cat /out\n", cache), output)
    assert "none" in output.text and "evil" not in output.text
    assert "results of steps with mounts are not shared" in output.text


async def test_a_cache_is_for_who_names_it(open_engine: OpenEngine, base: str, cache: str, tmp_path: Path) -> None:
    """A build that names none is made anew: it is not made of what others may have put there."""
    body = f"FROM {base}\nRUN echo said $((40 + 2))\n"
    async with open_engine(tmp_path / "one") as engine:
        await engine.build(cached(base, body, cache), Output())
        output = Output()
        await engine.build(recipe(base, body), output)
    assert "said 42" in output.text
    assert "Using cache" not in output.text


@pytest.mark.parametrize("trouble", ["it does not answer", "it refuses"])
async def test_a_cache_that_cannot_be_used_is_done_without(
    open_engine: OpenEngine, base: str, cache: str, registry: Registry, tmp_path: Path, trouble: str
) -> None:
    """A cache is there to save time; it is no reason to fail. The step that has run is not run again."""
    output = Output()
    auth = tmp_path / "auth.json"
    auth.write_text(json.dumps({"auths": {f"{registry.address}/made": _login(registry)}}))
    named = "127.0.0.1:1/cache" if trouble == "it does not answer" else cache
    async with open_engine(
        tmp_path / "workspace", push_auth_file=auth, pull_auth_file=_pulls(base, registry, auth)
    ) as engine:
        await engine.build(cached(base, f"FROM {base}\nRUN echo said $((40 + 2)) > /said\n", named), output)
    assert f"(the cache {named} cannot be used: the registry refuses it; going on without it)" in output.text
    assert "Using cache" in output.text


async def test_a_failing_step_fails_with_a_cache_too(
    open_engine: OpenEngine, base: str, cache: str, tmp_path: Path
) -> None:
    """It is the user's failure, and it is reported once."""
    output = Output()
    async with open_engine(tmp_path) as engine:
        with pytest.raises(BuildFailure) as caught:
            await engine.build(cached(base, f"FROM {base}\nRUN true\nRUN exit 7\n", cache), output)
    assert (caught.value.reason, caught.value.exit_status) == (Reason.RECIPE, 7)
    assert "cannot be used" not in output.text


async def test_base_images_are_asked_for_with_a_cache_too(
    open_engine: OpenEngine, base: str, cache: str, registry: Registry, tmp_path: Path
) -> None:
    """Who may not pull the base image is not given what others have made of it; the cache's credentials open it not."""
    auth = tmp_path / "auth.json"
    auth.write_text(registry.auth_file.read_text())
    body = f"FROM {base}\nRUN echo secret > /secret\n"
    async with open_engine(tmp_path / "workspace", pull_auth_file=auth) as engine:
        await engine.build(cached(base, body, cache), Output())
        auth.write_text("{}")
        with pytest.raises(BuildFailure) as caught:
            await engine.build(cached(base, body, cache), Output())
    assert caught.value.reason is Reason.BASE_IMAGE


def _login(registry: Registry) -> dict[str, str]:
    return {"auth": registry.authorization.removeprefix("Basic ")}


def _pulls(base: str, registry: Registry, beside: Path) -> Path:
    """An auth file that opens the base image and nothing else."""
    path = beside.with_name("pulls.json")
    path.write_text(json.dumps({"auths": {base.rpartition(":")[0]: _login(registry)}}))
    return path
