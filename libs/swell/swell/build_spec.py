"""The specification of a build, which travels unchanged from the request to the engine.

`BuildSpec` is the base of every Struct that carries a build: the record (`store.records.Submission`), the job
(`jobs.messages.BuildJob`), and the builder's recipe and remote build. A new build option is one field here. Carriers
are derived, so that their JSON has the fields of the specification beside their own.
"""

from typing import TypeVar

from msgspec import Struct

from swell.api.containers import BuildCompression, BuildOptions
from swell.api.package_layers import PackageLayers
from swell.base_rules import BaseRules
from swell.registry.credentials.principal import PUBLIC, Principal

Carrier = TypeVar("Carrier", bound="BuildSpec")


class BuildSpec(Struct, frozen=True, kw_only=True):
    """What to build and where to push it.

    - `containerfile` is the text of a Dockerfile. With `packages` no container runs: the packages become layers, and
      the text only documents the request.
    - `platform` is `os/architecture[/variant]`; several are separated by commas.
    - `environment` is the text of `conda.yml`, a file of the build context.
    - `cache_repository` stores and provides the results of steps.
    - `compression` is the compression of the pushed layers, `options` are the arguments, stage and labels.
    - `is_rebuild` runs every step again, without results of earlier builds.
    - `is_repeated` says that `target_image` had a build before, so that its tag does not prove a push of this one.
    - With `ignores_triggers`, the triggers (ONBUILD) of the base image are not run.
    - Only builds of one `tenant` use what a builder has stored of earlier builds; see `gateway.domain.access.identity`.
    - All images that the build reads must follow `base_rules`.
    - Base images are pulled with the credentials of `principal`; the image is pushed with those of `push_principal`.
    """

    target_image: str
    containerfile: str
    platform: str
    environment: str | None = None
    packages: PackageLayers | None = None
    cache_repository: str | None = None
    compression: BuildCompression | None = None
    options: BuildOptions = BuildOptions()
    is_rebuild: bool = False
    is_repeated: bool = False
    ignores_triggers: bool = False
    principal: Principal = PUBLIC
    push_principal: Principal = PUBLIC
    tenant: str = ""
    base_rules: BaseRules = BaseRules()


def carry(spec: BuildSpec, carrier: type[Carrier], **fields: object) -> Carrier:
    """Return a *carrier* with the specification in *spec*; *fields* are the carrier's own, or replace some of it."""
    return carrier(**{name: getattr(spec, name) for name in BuildSpec.__struct_fields__} | fields)
