"""Settings: the environment is read once into a frozen Struct; an invalid value stops the service with a message."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from swell.errors import SwellError

MAX_FILE = 64 << 10  # bytes

T = TypeVar("T", bound=msgspec.Struct)


class SettingsInvalid(SwellError):
    """A setting is missing or invalid."""


def read(kind: type[T], environment: Mapping[str, str] = os.environ) -> T:
    """Read the fields of *kind* from *environment*, each from SWELL_<FIELD>; an empty value counts as missing.

    SWELL_<FIELD>_FILE names a file that contains the value, of at most 64 KiB; blanks around the value are ignored.
    Secrets then stay out of the environment. Lists are separated by commas, durations are ISO 8601 (PT36H), booleans
    are true or false.

    Raises:
        SettingsInvalid: the message names every missing or invalid variable.
    """
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in msgspec.structs.fields(kind):
        variable, text = f"SWELL_{field.name.upper()}", ""
        try:
            if text := _text(environment, variable):
                values[field.name] = _convert(text, hints[field.name])
            elif field.required:
                problems.append(f"{variable} must be set")
        except SettingsInvalid as error:
            problems.append(str(error))
        except msgspec.ValidationError as error:
            is_secret = bool(environment.get(f"{variable}_FILE"))
            value = f"what {variable}_FILE contains" if is_secret else repr(text)
            problems.append(f"{variable} cannot be {value}: {error}")
    if problems:
        raise SettingsInvalid("; ".join(problems))
    return kind(**values)


def _text(environment: Mapping[str, str], variable: str) -> str:
    """The value of *variable*, or the content of the file that <variable>_FILE names; empty if neither is set.

    Raises:
        SettingsInvalid: both are set, or the file cannot be read.
    """
    text, path = environment.get(variable, ""), environment.get(f"{variable}_FILE")
    if not path:
        return text
    if text:
        raise SettingsInvalid(f"{variable} and {variable}_FILE are both set: remove one of them")
    try:
        with Path(path).open(encoding="utf-8") as file:
            content = file.read(MAX_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{variable}_FILE cannot be read: {error}") from error
    if len(content) > MAX_FILE:
        raise SettingsInvalid(f"{variable}_FILE names a file of more than {MAX_FILE >> 10} KiB")
    if not (stripped := content.strip()):
        raise SettingsInvalid(f"{variable}_FILE names an empty file")
    return stripped


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
