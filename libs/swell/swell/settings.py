"""Settings: the environment, read once into a frozen Struct; a wrong value stops the service with a sentence."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from swell.errors import SwellError

T = TypeVar("T", bound=msgspec.Struct)


class SettingsInvalid(SwellError):
    """The environment tells this service something that it cannot use."""


def read(kind: type[T], environment: Mapping[str, str] = os.environ) -> T:
    """Read *kind*'s fields from *environment*, each as SWELL_<FIELD>; an empty value counts as absent.

    Lists are comma separated, durations ISO 8601 (PT36H), booleans true or false.

    Raises:
        SettingsInvalid: names every variable that is missing or wrong, and says why.
    """
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    complaints: list[str] = []
    for field in msgspec.structs.fields(kind):
        variable = f"SWELL_{field.name.upper()}"
        if text := environment.get(variable):
            try:
                values[field.name] = _convert(text, hints[field.name])
            except msgspec.ValidationError as error:
                complaints.append(f"{variable} cannot be {text!r}: {error}")
        elif field.required:
            complaints.append(f"{variable} must be set")
    if complaints:
        raise SettingsInvalid("; ".join(complaints))
    return kind(**values)


def _convert(text: str, kind: Any) -> Any:
    split = msgspec.inspect.type_info(kind)
    value = [part.strip() for part in text.split(",")] if _is_list(split) else text
    return msgspec.convert(value, kind, strict=False, dec_hook=_path)


def _path(kind: type, value: object) -> Path:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(f"settings hold no {kind.__name__}")


def _is_list(info: msgspec.inspect.Type) -> bool:
    return isinstance(info, msgspec.inspect.ListType | msgspec.inspect.VarTupleType | msgspec.inspect.FrozenSetType)
