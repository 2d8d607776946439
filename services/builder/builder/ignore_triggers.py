"""Build without the triggers (ONBUILD) of the base image: frozen images and definition files do not run them."""

from collections.abc import Mapping
from typing import Protocol

from msgspec.structs import replace

from builder.domain.failure import BuildFailure
from builder.domain.triggers import base_of, run_fields_of, without_triggers
from builder.engine import Engine, ExistingBuild, Note, Recipe, WriteLine, WriteStep, ignore, ignore_step
from swell.errors import BadRequest, ManifestInvalid
from swell.oci.digest import Digest
from swell.oci.reference import Reference, parse_reference
from swell.store.records import Reason


class Configs(Protocol):
    async def config(self, image: Reference, recipe: Recipe) -> Mapping[str, object] | None:
        """Return the config of *image* as the build of *recipe* may read it; None if it cannot be read."""


class IgnoresTriggers:
    """An engine that removes triggers from recipes with `ignores_triggers` before *engine* builds them."""

    def __init__(self, engine: Engine, configs: Configs) -> None:
        self._engine = engine
        self._configs = configs

    async def build(
        self, recipe: Recipe, write_line: WriteLine, write_step: WriteStep = ignore_step, note: Note = ignore, /
    ) -> Digest:
        """See `Engine.build`."""
        if recipe.ignores_triggers:
            recipe = await self._without_triggers(recipe, write_line)
        return await self._engine.build(recipe, write_line, write_step, note)

    async def find(self, recipe: Recipe) -> ExistingBuild | None:
        return await self._engine.find(recipe)

    async def _without_triggers(self, recipe: Recipe, write_line: WriteLine) -> Recipe:
        """Return *recipe*, changed if its base image has triggers; the engine reports an image that cannot be read."""
        try:
            base = base_of(recipe.containerfile)
            config = await self._configs.config(parse_reference(base), recipe) if base else None
            fields = run_fields_of(config or {})
            if not fields.triggers:
                return recipe
            containerfile = without_triggers(recipe.containerfile, fields)
        except (BadRequest, ManifestInvalid) as error:
            message = f"The triggers (ONBUILD) of the base image cannot be left out: {error}."
            raise BuildFailure(Reason.BASE_IMAGE, message) from error
        count = len(fields.triggers)
        await write_line(f"({count} ONBUILD triggers of {base} are not run; its files become one layer)".encode())
        return replace(recipe, containerfile=containerfile)
