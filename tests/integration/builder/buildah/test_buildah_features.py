"""The features of container files that buildah lacks are known by name; all others work with it too."""

from pathlib import Path

import pytest

from builder.buildah.engine import BuildahEngine
from builder.buildah.mounts import Version
from builder.choose_engine import buildah_version
from builder.domain.failure import BuildFailure
from tests.integration.builder.buildkit.features import BUILDAH_LACKS, FEATURES, Feature
from tests.integration.builder.buildkit.test_features import has_config, recipe_of
from tests.integration.builder.harness import Output, Registry

LACKING = {name for names in BUILDAH_LACKS.values() for name in names}
SAMPLE = {"heredoc RUN", "${X#prefix}", "EXPOSE a range", "COPY --from a stage"}
"""The features that are built in `make test`; all are in `make test-full`."""


def parameters() -> list[object]:
    return [
        pytest.param(feature, id=feature.name, marks=() if feature.name in SAMPLE else (pytest.mark.full,))
        for feature in FEATURES
    ]


@pytest.mark.parametrize("feature", parameters())
async def test_buildah_lacks_what_is_listed_and_nothing_else(
    engine: BuildahEngine, registry: Registry, base: str, feature: Feature, tmp_path: Path
) -> None:
    """Operators and clients read the list in `docs/using.md`. A newer release lacks less."""
    number = FEATURES.index(feature)
    works = True
    try:
        await engine.build(recipe_of(feature, registry, base, tmp_path, made=f"buildah/{number}:1"), Output())
        works = has_config(registry.config(f"buildah/{number}", "1")["config"], feature)
    except BuildFailure as failure:
        works = False
        assert failure.reason.is_users, failure
    if buildah_version() <= Version(1, 28, 2) or feature.name not in LACKING:
        assert works is (feature.name not in LACKING)


def test_the_list_names_features_and_is_documented() -> None:
    """Each group of the list is a row of the page for clients."""
    assert {feature.name for feature in FEATURES} >= LACKING
    page = Path("docs/using.md").read_text()
    assert all(f"| {group} |" in page for group in BUILDAH_LACKS)
