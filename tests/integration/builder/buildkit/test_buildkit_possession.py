"""What a build pushes it must have: a base image whose registry names a layer of another user gives no access to it."""

import json
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from builder.adapters.inputs.auth_files import AuthFiles
from builder.settings import EngineSettings
from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_CONFIG, OCI_MANIFEST
from swell.oci.reference import parse_reference
from swell.registry.credentials.principal import OPERATOR, PUBLIC, Principal, limited_to
from swell.store.records import Reason
from swell.testing.http_registry import HttpRegistry, http_registry
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.contract import failure_of
from tests.integration.builder.harness import Output, Registry, gzipped_tar

__all__ = ["buildkit", "programs"]


def put_image_of(hostile: HttpRegistry, layer: dict[str, Any]) -> str:
    """Let the registry *hostile* name the *layer* of another image, whose bytes it does not have; return the image."""
    run_fields = {"os": "linux", "architecture": "amd64", "config": {}}
    config = json.dumps(run_fields | {"rootfs": {"type": "layers", "diff_ids": [digest_of(b"x")]}}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [layer],
    }
    image = hostile.image("evil:1")
    hostile.put(image, Document(OCI_MANIFEST, json.dumps(manifest).encode()), config)
    return str(image)


async def test_a_layer_that_the_base_registry_lacks_is_not_taken_from_the_target(
    buildkit: Buildkit, registry: Registry, tmp_path: Path
) -> None:
    """A stranger who knows digest and size of a private layer would otherwise get it as part of an own image."""

    async with (
        http_registry() as hostile,
        buildkit.open(tmp_path, allowed_hosts=frozenset({registry.address, hostile.authority})) as engine,
    ):
        await engine.build(buildkit.recipe("RUN echo private > /private\n", made="shared:victim"), Output())
        image = put_image_of(hostile, registry.manifest("shared", "victim")["layers"][-1])
        recipe = buildkit.recipe("LABEL a=b\n", base=image, made="shared:attack")
        failure = await failure_of(engine, recipe)
    assert failure.reason is Reason.PUSH
    assert hostile.requests["GET blobs"] > 1
    with pytest.raises(urllib.error.HTTPError, match="404"):
        registry.manifest("shared", "attack")


@pytest.mark.parametrize("steps", ["LABEL a=b\n", "COPY --from=0 / /copy/\n"])
async def test_a_layer_is_not_taken_from_a_build_of_another_client(
    buildkit: Buildkit, registry: Registry, tmp_path: Path, steps: str
) -> None:
    """Both read public images only, so their credentials are equal; the files of their contexts are their own."""
    async with (
        http_registry() as hostile,
        buildkit.open(tmp_path, allowed_hosts=frozenset({registry.address, hostile.authority})) as engine,
    ):
        context = gzipped_tar(tmp_path / "context.tar.gz", {"private": b"of one client"})
        victim = buildkit.recipe("COPY private /\n", base="scratch", made="shared:context")
        await engine.build(structs.replace(victim, principal=PUBLIC, context=context, tenant="one"), Output())
        image = put_image_of(hostile, registry.manifest("shared", "context")["layers"][-1])
        recipe = buildkit.recipe(steps, base=image, made="shared:taken")
        await failure_of(engine, structs.replace(recipe, principal=PUBLIC, tenant="another"))
    with pytest.raises(urllib.error.HTTPError, match="404"):
        registry.manifest("shared", "taken")


async def test_a_layer_that_the_daemon_has_is_not_pushed_again(buildkit: Buildkit, tmp_path: Path) -> None:
    """The second image of a base costs its config only."""
    async with http_registry() as target:
        allowed = frozenset({buildkit.registry.address, target.authority})
        async with buildkit.open(tmp_path, allowed_hosts=allowed) as engine:
            pushed = list[int]()
            for label in "ab":
                recipe = buildkit.recipe(f"RUN echo made > /made\nLABEL made={label}\n")
                image = str(target.image(f"shared:{label}"))
                await engine.build(structs.replace(recipe, target_image=image), Output())
                pushed.append(sum(target.requests[f"{method} uploads"] for method in ("PUT", "PATCH")))
                target.requests.clear()
    assert pushed[0] > 1
    assert pushed[1] == 1


@pytest.mark.parametrize(
    ("image", "principal", "allowed"),
    [
        ("r.example/swell/build:1", OPERATOR, False),
        ("r.example/swell/build:1", limited_to(["r.example/swell/build"]), False),
        ("r.example/private/base:1", PUBLIC, False),
        ("r.example/private/base:1", limited_to(["r.example/private"]), True),
        ("r.example/shared/base:1", PUBLIC, True),
        ("other.example/base:1", OPERATOR, False),
    ],
)
async def test_layers_are_mounted_from_repositories_that_the_build_may_read(
    buildkit: Buildkit, tmp_path: Path, image: str, principal: Principal, allowed: bool
) -> None:
    """Not from those of this server: who may read one of their images may not read all.

    The auth file of a pod has only what its build may read, and its principal is the operator.
    """
    auth = tmp_path / "auth.json"
    auth.write_text('{"auths": {"r.example": {"auth": "dTpw"}}}')
    settings = EngineSettings(
        workspace=tmp_path,
        pull_auth_file=auth,
        build_repository="r.example/swell/build",
        shared_registries=frozenset({"r.example/shared"}),
    )
    recipe = structs.replace(buildkit.recipe(""), principal=principal)
    assert await AuthFiles(settings).may_mount(recipe, parse_reference(image)) is allowed
