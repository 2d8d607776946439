"""A build specification travels unchanged from the request to the engine."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from builder.domain.remote_build import RemoteBuildSpec
from builder.engine import Recipe
from swell.api.containers import BuildCompression, BuildOptions, CompressionMode
from swell.api.package_layers import PackageLayers
from swell.base_rules import BaseRules
from swell.build_spec import BuildSpec, carry
from swell.jobs.messages import BuildJob
from swell.registry.credentials.principal import OPERATOR
from swell.store.records import Submission

SPEC = BuildSpec(
    target_image="registry.example/app:1",
    containerfile="FROM busybox\n",
    platform="linux/arm64",
    environment="dependencies: []\n",
    packages=PackageLayers(base_image="busybox", lock="@EXPLICIT\n"),
    cache_repository="registry.example/cache",
    compression=BuildCompression(mode=CompressionMode.ZSTD),
    options=BuildOptions(target="final"),
    ignores_triggers=True,
    principal=OPERATOR,
    is_rebuild=True,
    is_repeated=True,
    push_principal=OPERATOR,
    tenant="acme",
    base_rules=BaseRules(allowed=("quay.io/acme",), digest_only=True),
)
CARRIERS: list[tuple[type[BuildSpec], dict[str, Any]]] = [
    (Submission, {"container_id": "1c2f7b6a88b36727", "created": datetime(2026, 11, 29, tzinfo=UTC)}),
    (BuildJob, {"id": "bd-1c2f7b6a88b36727_1"}),
    (Recipe, {"build_id": "bd-1c2f7b6a88b36727_1"}),
    (RemoteBuildSpec, {"build_id": "bd-1c2f7b6a88b36727_1"}),
]


@pytest.mark.parametrize(("carrier", "own"), CARRIERS, ids=[carrier.__name__ for carrier, _ in CARRIERS])
def test_every_carrier_has_every_field_of_the_specification(carrier: type[BuildSpec], own: dict[str, Any]) -> None:
    """An option that is added to the specification reaches the engine without another copy."""
    carried = carry(SPEC, carrier, **own)

    assert carry(carried, BuildSpec) == SPEC


def test_every_field_of_the_example_differs_from_its_default() -> None:
    """A field that `carry` forgets would fail the test above."""
    unset = BuildSpec(target_image="", containerfile="", platform="")

    assert all(getattr(SPEC, name) != getattr(unset, name) for name in BuildSpec.__struct_fields__)


def test_fields_given_by_the_caller_replace_those_of_the_specification() -> None:
    """A remote build uses the auth files of its pod, not the principal of the request."""
    job = carry(SPEC, BuildJob, id="bd-1_1", containerfile="FROM alpine\n")

    assert (job.containerfile, job.platform) == ("FROM alpine\n", "linux/arm64")


def test_the_json_of_a_carrier_is_flat() -> None:
    """Builders of the previous version read `target_image` and the other fields at the top level of a job."""
    fields = msgspec.to_builtins(carry(SPEC, BuildJob, id="bd-1_1"))

    assert fields["id"] == "bd-1_1" and "spec" not in fields
    assert fields["target_image"] == "registry.example/app:1"
