"""A container file without the triggers of its base image has the files and the config of that image."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from builder.domain.failure import BuildFailure
from builder.domain.triggers import base_of, run_fields_of, without_triggers
from builder.engine import Note, Recipe, WriteLine, WriteStep, ignore, ignore_step
from builder.ignore_triggers import IgnoresTriggers
from swell.containerfile import parse
from swell.errors import BadRequest, ManifestInvalid
from swell.oci.digest import Digest, digest_of
from swell.oci.reference import Reference
from swell.store.records import Reason

IMAGE = "quay.io/acme/base:1"
FROZEN = f'# the lines below were added by freeze\nFROM {IMAGE}\nENV A="1"\n'
CONFIG: dict[str, Any] = {
    "Env": ["PATH=/bin", 'WORDS=two "$words"', "EMPTY="],
    "Labels": {"org.example": "a b"},
    "User": "1000:1000",
    "WorkingDir": "/my work",
    "ExposedPorts": {"80/tcp": {}},
    "Volumes": {"/data": {}},
    "StopSignal": "SIGINT",
    "Shell": ["/bin/bash", "-c"],
    "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 30_000_000_000, "Retries": 3},
    "Entrypoint": ["/tini", "--"],
    "Cmd": ["sh"],
    "OnBuild": ["RUN false"],
}


def test_the_base_image_becomes_files_and_instructions() -> None:
    """The lines around FROM stay, so that what freeze adds comes last."""
    assert without_triggers(FROZEN, run_fields_of({"config": CONFIG})).splitlines() == [
        "# the lines below were added by freeze",
        "FROM scratch",
        f"COPY --from={IMAGE} / /",
        r'ENV PATH="/bin" WORDS="two \"\$words\"" EMPTY=""',
        'LABEL "org.example"="a b"',
        'USER "1000:1000"',
        'WORKDIR "/my work"',
        "EXPOSE 80/tcp",
        'VOLUME ["/data"]',
        "STOPSIGNAL SIGINT",
        'SHELL ["/bin/bash", "-c"]',
        'HEALTHCHECK --interval=30000000000ns --retries=3 CMD ["/bin/sh", "-c", "true"]',
        'ENTRYPOINT ["/tini", "--"]',
        'CMD ["sh"]',
        'ENV A="1"',
    ]


def test_a_config_without_values_adds_no_instructions() -> None:
    """Go writes empty lists as null."""
    fields = run_fields_of({"config": {"Env": None, "Cmd": None, "OnBuild": ["RUN false"], "Healthcheck": {}}})
    assert parse(without_triggers(FROZEN, fields)).images() == (IMAGE,)
    assert "ENTRYPOINT" not in without_triggers(FROZEN, fields)


@pytest.mark.parametrize("entry", ["A=b\nc", "A B=c", "=x"])
def test_a_variable_that_is_no_instruction_is_refused(entry: str) -> None:
    """An instruction has one line; a hostile value must not become another instruction."""
    with pytest.raises(BadRequest):
        without_triggers(FROZEN, run_fields_of({"config": {"Env": [entry]}}))


def test_only_a_file_of_one_stage_has_a_base() -> None:
    """Freeze and definition files give no others."""
    assert base_of(FROZEN) == IMAGE
    assert base_of("FROM scratch\n") is None
    assert base_of("FROM a AS b\nFROM b\n") is None


class Configs:
    def __init__(self, config: Mapping[str, object] | None) -> None:
        self.asked: list[str] = []
        self._config = config

    async def config(self, image: Reference, recipe: Recipe) -> Mapping[str, object] | None:
        self.asked.append(str(image))
        return self._config


class Recording:
    """An engine that records the container files."""

    def __init__(self) -> None:
        self.built: list[str] = []

    async def build(
        self, recipe: Recipe, write_line: WriteLine, write_step: WriteStep = ignore_step, note: Note = ignore, /
    ) -> Digest:
        self.built.append(recipe.containerfile)
        return digest_of(b"image")

    async def find(self, recipe: Recipe) -> None:
        return None


async def built(config: Mapping[str, object] | None, *, ignores_triggers: bool = True) -> tuple[list[str], list[str]]:
    engine, configs, log = Recording(), Configs(config), list[bytes]()

    async def write_line(line: bytes) -> None:
        log.append(line)

    recipe = Recipe(
        build_id="bd-1_1", target_image="quay.io/acme/made:1", containerfile=FROZEN, ignores_triggers=ignores_triggers
    )
    await IgnoresTriggers(engine, configs).build(recipe, write_line)
    return engine.built, configs.asked


@pytest.mark.parametrize("config", [None, {}, {"config": None}, {"config": {"OnBuild": None, "Env": ["A=b\nc"]}}])
async def test_a_base_without_triggers_is_built_on(config: Mapping[str, object] | None) -> None:
    """So is one that cannot be read: the engine reports it."""
    assert await built(config) == ([FROZEN], [IMAGE])


async def test_triggers_are_left_out_only_where_the_recipe_says_so() -> None:
    """A Dockerfile that begins from the image runs them; its base is not even read."""
    (containerfile,), _ = await built({"config": {"OnBuild": ["RUN false"]}})
    assert containerfile.splitlines()[1:3] == ["FROM scratch", f"COPY --from={IMAGE} / /"]
    assert await built({"config": {"OnBuild": ["RUN false"]}}, ignores_triggers=False) == ([FROZEN], [])


@pytest.mark.parametrize("config", [{"OnBuild": ["x"], "Env": ["A=b\nc"]}, {"Env": "A=b"}])
async def test_a_config_that_cannot_be_written_fails_the_build(config: Mapping[str, object]) -> None:
    """The reason is the base image."""
    with pytest.raises(BuildFailure) as failure:
        await built({"config": config})
    assert failure.value.reason is Reason.BASE_IMAGE


@pytest.mark.parametrize(
    "config",
    ['{"config": [1]}', '{"config": {"Onbuild": ["RUN x"]}}', '{"config": {}, "Config": {"OnBuild": ["RUN x"]}}'],
)
def test_a_malformed_config_is_an_error(config: str) -> None:
    """It comes from a foreign registry. Engines read a trigger in any case."""
    with pytest.raises(ManifestInvalid):
        run_fields_of(json.loads(config))
