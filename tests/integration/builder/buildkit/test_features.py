"""Every feature of container files works with BuildKit; buildah's failures are known by name."""

import gzip
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from builder.buildkit.daemons.programs import Programs
from builder.buildkit.engine import BuildkitEngine
from builder.engine import Recipe
from swell.api.containers import BuildOptions
from swell.registry.credentials.principal import OPERATOR
from swell.store.records import CONTAINER_ID
from tests.bench.builds.bare_buildkit import Buildctl, open_buildctl
from tests.integration.builder.buildkit.features import FEATURES, Feature
from tests.integration.builder.buildkit.real import REAL
from tests.integration.builder.buildkit.test_buildkit import Buildkit, programs
from tests.integration.builder.harness import Output, Registry

__all__ = ["programs"]

SAMPLE = 7
"""Every seventh feature is built in `make test`, all of them in `make test-full`."""

SAMPLE_OF_REAL = frozenset({"uv-in-two-stages", "airflow-scripts", "jupyter-base-notebook"})


@pytest.fixture(scope="module")
async def daemons(
    registry: Registry, programs: Programs, base: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BuildkitEngine]:
    async with Buildkit(registry, programs, base).open(tmp_path_factory.mktemp("features")) as engine:
        yield engine


def parameters() -> list[object]:
    return [
        pytest.param(feature, id=feature.name, marks=() if number % SAMPLE == 0 else (pytest.mark.full,))
        for number, feature in enumerate(FEATURES)
    ]


@pytest.mark.parametrize("feature", parameters())
async def test_a_feature_works(
    daemons: BuildkitEngine, registry: Registry, base: str, feature: Feature, tmp_path: Path
) -> None:
    """The steps check themselves; what is to be run later stands in the configuration."""
    number = FEATURES.index(feature)
    recipe = recipe_of(feature, registry, base, tmp_path, made=f"features/{number}:1")
    output = Output()
    await daemons.build(recipe, output)
    assert has_config(registry.config(f"features/{number}", "1")["config"], feature)


EPOCH = "1700000000"


@pytest.fixture(scope="module")
async def bare(
    registry: Registry, programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Buildctl]:
    home = tmp_path_factory.mktemp("bare")
    async with open_buildctl(home, registry.address, str(registry.auth_file)) as bare:
        yield bare


def real_parameters() -> list[object]:
    return [
        pytest.param(feature, id=feature.name, marks=() if feature.name in SAMPLE_OF_REAL else (pytest.mark.full,))
        for feature in (*REAL, *FEATURES)
    ]


@pytest.mark.parametrize("feature", real_parameters())
async def test_an_image_is_that_of_bare_buildctl(
    daemons: BuildkitEngine, bare: Buildctl, registry: Registry, base: str, feature: Feature, tmp_path: Path
) -> None:
    """To the byte, with a fixed epoch: the same digest, so the same layers and the same configuration."""
    number = [*REAL, *FEATURES].index(feature)
    recipe = recipe_of(feature, registry, base, tmp_path, made=f"real/{number}:ours")
    options = structs.replace(recipe.options, build_args=recipe.options.build_args | {"SOURCE_DATE_EPOCH": EPOCH})
    ours = await daemons.build(structs.replace(recipe, options=options), Output())
    chosen = {f"build-arg:{name}": value for name, value in options.build_args.items()}
    chosen |= {f"label:{name}": value for name, value in options.labels.items()}
    chosen |= {"target": options.target} if options.target else {}
    annotations = registry.manifest(f"real/{number}", "ours").get("annotations", {})
    assert set(annotations) <= {f"org.opencontainers.image.base.{name}" for name in ("name", "digest")} | {CONTAINER_ID}
    # The syntax line would be followed to a registry that is not there.
    files = {name: _archive() if data == b"@archive" else data for name, data in feature.context.items()}
    await bare.build_and_push(
        f"{registry.address}/real/{number}:bare",
        recipe.containerfile,
        files,
        {"cmdline": "built-in", **chosen},
        annotations,
    )
    theirs = registry.fetch(f"real/{number}/manifests/bare")[1]
    assert registry.config(f"real/{number}", "ours") == registry.config(f"real/{number}", "bare")
    assert ours == theirs


def has_config(config: dict[str, Any], feature: Feature) -> bool:
    """Return whether *config* has the fields that *feature* makes."""

    def has(name: str, value: Any) -> bool:
        found = config.get(name) or {}
        return bool(value in found if name == "Env" else found == (found | value if name == "Labels" else value))

    return all(has(name, value) for name, value in feature.config.items())


def recipe_of(feature: Feature, registry: Registry, base: str, folder: Path, made: str) -> Recipe:
    def filled(text: str) -> str:
        return text.replace("{base}", base).replace("{registry}", registry.address)

    options = BuildOptions(**feature.options)
    options = structs.replace(options, build_args={name: filled(text) for name, text in options.build_args.items()})
    return Recipe(
        build_id="bd-feature_1",
        target_image=f"{registry.address}/{made}",
        containerfile=filled(feature.containerfile),
        context=archive(folder / "context.tar.gz", feature.context) if feature.context else None,
        options=options,
        principal=OPERATOR,
        push_principal=OPERATOR,
    )


def archive(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            data = _archive() if content == b"@archive" else content
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    return path


def _archive() -> bytes:
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        member = tarfile.TarInfo("t")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"T\n"))
    return content.getvalue()
