"""The run-time fields of an image's config: read and override them.

Source: OCI image-spec, "OCI Image Configuration",
https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md#properties; `WAVE_ENTRY_CHAIN` is Wave's.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct

from swell.api.containers import ContainerConfig
from swell.oci.document import Document

ENTRY_CHAIN = "WAVE_ENTRY_CHAIN"

Entrypoint = Sequence[str] | str | None


class ChainStyle(Enum):
    """How the variable `WAVE_ENTRY_CHAIN` spells an entrypoint of several words, and where it stands.

    Wave has both forms: an image that is changed at the pull has JSON, a frozen image has words.
    """

    JSON = "json"
    """A JSON array, behind the variables of the request: `["/bin/tini","--"]`."""
    WORDS = "words"
    """Words separated by blanks, before the variables of the request: `/bin/tini --`."""


class RunFields(Struct, rename="pascal"):
    """The run-time fields that a change depends on; very old images have a string in place of a list."""

    env: list[str] | None = None
    entrypoint: list[str] | str | None = None


class _Config(Struct):
    config: RunFields | None = None


def override_run_fields(fields: Mapping[str, Any], added: ContainerConfig, style: ChainStyle) -> dict[str, Any]:
    """Return the run-time *fields* of a config with those that *added* sets.

    `Cmd` stays when only `Entrypoint` is replaced, unlike in a Dockerfile. An entrypoint in *fields* is also stored in
    `WAVE_ENTRY_CHAIN`, in the form of *style*, so that an entrypoint that replaces it can call it.
    """
    before = msgspec.convert(fields, RunFields)
    chain, env = entry_chain(before.entrypoint, style), added.env or ()
    new = [*env, *chain] if style is ChainStyle.JSON else [*chain, *env]
    overridden = {
        "Env": new and merge_environment([*(before.env or ()), *new]),
        "Entrypoint": added.entrypoint,
        "Cmd": added.cmd,
        "WorkingDir": added.working_dir,
    }
    return {**fields, **{name: value for name, value in overridden.items() if value}}


def run_fields(config: Document) -> dict[str, Any]:
    """Return the run-time fields of *config*, its member `config`.

    Raises:
        ManifestInvalid: the config is malformed.
    """
    config.read_as(_Config)
    return dict(config.fields.get("config") or {})


def entry_chain(entrypoint: Entrypoint, style: ChainStyle) -> tuple[str, ...]:
    """Return the variable `WAVE_ENTRY_CHAIN=<entrypoint>`, or nothing for an empty *entrypoint*.

    A string, and a list of one word, is written as it is in both styles.
    """
    if not entrypoint:
        return ()
    if isinstance(entrypoint, str):
        return (f"{ENTRY_CHAIN}={entrypoint}",)
    if len(entrypoint) > 1 and style is ChainStyle.JSON:
        return (f"{ENTRY_CHAIN}={msgspec.json.encode(entrypoint).decode()}",)
    return (f"{ENTRY_CHAIN}={' '.join(entrypoint)}",)


def merge_environment(entries: Iterable[str]) -> list[str]:
    """Return `NAME=value` *entries* with each name once: at its first position, with its last value."""
    return list({entry.partition("=")[0]: entry for entry in entries}.values())
