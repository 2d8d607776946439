"""Settings: the environment is read once into a frozen Struct; an invalid value stops the service with a message."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

import msgspec

from swell.errors import SwellError

MAX_FILE = 64 << 10  # bytes

T = TypeVar("T", bound=msgspec.Struct)


class SettingsInvalid(SwellError):
    """A setting is missing or invalid."""


class Setting(NamedTuple):
    """A variable and the field that it sets; *path* has the names of its group, if it has one, and of the field."""

    variable: str
    path: tuple[str, ...]
    type: Any
    is_required: bool


def settings_of(kind: type[msgspec.Struct], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield the settings of *kind*. A field that is a Struct is a group: `redis: RedisSettings` has SWELL_REDIS_URL."""
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        names, hint = (*path, field.name), hints[field.name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield from settings_of(hint, names)
        else:
            yield Setting(f"SWELL_{'_'.join(names).upper()}", names, hint, field.required)


def read(kind: type[T], environment: Mapping[str, str] = os.environ) -> T:
    """Read the settings of *kind* from *environment*; an empty value counts as missing. See `settings_of`.

    SWELL_<FIELD>_FILE names a file that contains the value, of at most 64 KiB; blanks around the value are ignored.
    Secrets then stay out of the environment. Lists are separated by commas, durations are ISO 8601 (PT36H), booleans
    are true or false.

    Raises:
        SettingsInvalid: the message names every missing or invalid variable.
    """
    values: dict[tuple[str, ...], Any] = {}
    problems: list[str] = []
    for variable, path, hint, is_required in settings_of(kind):
        text = ""
        try:
            if text := _text(environment, variable):
                values[path] = _convert(text, hint)
            elif is_required:
                problems.append(f"{variable} must be set")
        except SettingsInvalid as error:
            problems.append(str(error))
        except msgspec.ValidationError as error:
            is_secret = bool(environment.get(f"{variable}_FILE"))
            value = f"what {variable}_FILE contains" if is_secret else repr(text)
            problems.append(f"{variable} cannot be {value}: {error}")
    if problems:
        raise SettingsInvalid("; ".join(problems))
    return _made(kind, values)


def _made(kind: type[T], values: Mapping[tuple[str, ...], Any], path: tuple[str, ...] = ()) -> T:
    """Return a *kind* with the *values* of the fields below *path*."""
    chosen: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        names = (*path, name)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            chosen[name] = _made(hint, values, names)
        elif names in values:
            chosen[name] = values[names]
    return kind(**chosen)


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
