"""Settings: the environment is read once into a frozen Struct; an invalid value stops the service with a message."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from swell.errors import SwellError

T = TypeVar("T", bound=msgspec.Struct)


class SettingsInvalid(SwellError):
    """A setting is missing or invalid."""


def read(kind: type[T], environment: Mapping[str, str] = os.environ) -> T:
    """Read the fields of *kind* from *environment*, each from SWELL_<FIELD>; an empty value counts as missing.

    Lists are separated by commas, durations are ISO 8601 (PT36H), booleans are true or false.

    Raises:
        SettingsInvalid: the message names every missing or invalid variable.
    """
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in msgspec.structs.fields(kind):
        variable = f"SWELL_{field.name.upper()}"
        if text := environment.get(variable):
            try:
                values[field.name] = _convert(text, hints[field.name])
            except msgspec.ValidationError as error:
                problems.append(f"{variable} cannot be {text!r}: {error}")
        elif field.required:
            problems.append(f"{variable} must be set")
    if problems:
        raise SettingsInvalid("; ".join(problems))
    return kind(**values)


def _convert(text: str, kind: Any) -> Any:
    split = msgspec.inspect.type_info(kind)
    value = [part.strip() for part in text.split(",")] if _is_list(split) else text
    return msgspec.convert(value, kind, strict=False, dec_hook=_path)


def _path(kind: type, value: object) -> Path:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(f"settings cannot be of type {kind.__name__}")


def _is_list(info: msgspec.inspect.Type) -> bool:
    return isinstance(info, msgspec.inspect.ListType | msgspec.inspect.VarTupleType | msgspec.inspect.FrozenSetType)
