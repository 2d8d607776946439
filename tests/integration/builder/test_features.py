"""Every feature of container files works with BuildKit; buildah's failures are known by name."""

import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from msgspec import structs

from builder.build import Recipe
from builder.buildkit.engine import BuildkitEngine
from builder.buildkit.programs import Programs
from swell.api.containers import BuildOptions
from swell.registry.principal import OPERATOR

from .conftest import Output, Registry
from .features import FEATURES, Feature
from .test_buildkit import Buildkit, programs

__all__ = ["programs"]

SAMPLE = 7
"""Every seventh feature is built in `make test`, all of them in `make test-full`."""


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
    config = registry.config(f"features/{number}", "1")["config"]
    for name, value in feature.config.items():
        found = config[name]
        assert value in found if name == "Env" else found == (found | value if name == "Labels" else value)


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
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        member = tarfile.TarInfo("t")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"T\n"))
    return content.getvalue()
