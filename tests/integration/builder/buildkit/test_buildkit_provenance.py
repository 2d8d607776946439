"""What a build was made from, as the BuildKit engine reports it, and what its push leaves in the registry."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from builder.buildkit.daemons.programs import Programs
from builder.buildkit.engine import BuildkitEngine
from builder.engine import ignore_step
from swell.api.containers import BuildOptions
from swell.provenance import Evidence, Material
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.harness import Output, Registry

__all__ = ["buildkit", "programs"]


@pytest.fixture(scope="module")
async def daemons(
    registry: Registry, programs: Programs, base: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BuildkitEngine]:
    settings: dict[str, Any] = {"proxy_for_steps": True, "http_proxy": "http://ada:pr0xy-password@127.0.0.1:9"}
    settings |= {"no_proxy": (registry.address,)}
    workspace = tmp_path_factory.mktemp("provenance")
    async with Buildkit(registry, programs, base).open(workspace, **settings) as engine:
        yield engine


async def test_the_evidence_has_the_base_images_the_options_and_the_steps(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry
) -> None:
    """In the form of SLSA, with digests that BuildKit has verified; without what the builder adds for itself."""
    body = f"FROM {buildkit.base} AS one\nFROM scratch\nARG V\nCOPY --from=one /bin /bin\nRUN echo $V > /v\n"
    recipe = structs.replace(buildkit.recipe("", made="provenance/a:1"), containerfile=body)
    recipe = structs.replace(recipe, options=BuildOptions(build_args={"V": "some-value"}))
    noted = list[Evidence]()

    digest = await daemons.build(recipe, Output(), ignore_step, noted.append)

    (evidence,) = noted
    base = registry.fetch("base/manifests/1")[1]
    assert evidence.materials == (Material(buildkit.base, base),)
    assert evidence.definition
    text = json.dumps(evidence.definition)
    assert "echo $V > /v" in text and '"build-arg:V": "some-value"' in text
    for left_out in ("pr0xy", "_proxy", "CACHE_MOUNT_NS", "sessionid", "sysUsage"):
        assert left_out not in text
    assert evidence.definition["buildDefinition"]["resolvedDependencies"]
    assert registry.fetch("provenance/a/manifests/1")[1] == digest


async def test_the_registry_has_an_image_and_nothing_else(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry
) -> None:
    """The tag is not an index, and no provenance is left in the repository: neither blobs nor begun uploads."""
    await daemons.build(buildkit.recipe("RUN echo alone > /alone\n", made="provenance/b:1"), Output())

    manifest = registry.manifest("provenance/b", "1")
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    folder = registry.auth_file.parent / "data/docker/registry/v2/repositories/provenance/b"
    blobs = {path.name for path in (folder / "_layers/sha256").iterdir()}
    named = {manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
    assert blobs == {digest.removeprefix("sha256:") for digest in named}
    assert not any(path.stat().st_size for path in (folder / "_uploads").rglob("data"))
    assert len(list((folder / "_manifests/revisions/sha256").iterdir())) == 1


async def test_the_same_build_again_has_the_same_image_and_evidence(
    daemons: BuildkitEngine, buildkit: Buildkit
) -> None:
    """Its steps and layers are known to the daemon, and the registry has the blobs."""
    recipe, noted = buildkit.recipe("RUN echo again > /again\n", made="provenance/c:1"), list[Evidence]()
    digests = [await daemons.build(recipe, Output(), ignore_step, noted.append) for _ in range(2)]
    assert digests[0] == digests[1]
    assert noted[0].materials == noted[1].materials != ()
