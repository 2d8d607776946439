"""Reading JSON as Wave's server does, which its clients count on: a bare value where a list is expected, a list of one
where a value is, numbers for texts and texts for numbers. What cannot be understood even so is an error with its place.
"""

import re
from collections.abc import Callable, Hashable
from enum import Enum
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from swell.errors import BadRequest
from swell.json_size import has_more_values

T = TypeVar("T")
Coerce = Callable[[Any], Any]

MAX_VALUES = 100_000
"""Of a body; large bodies have large texts, not many of them."""


def decode(body: bytes, kind: type[T]) -> T:
    """Read *body* as *kind*, a Struct; unknown members are ignored, null means absent.

    Raises:
        BadRequest: it is no JSON, has more than 100,000 values, or a member cannot be read; the message names the
            place.
    """
    if has_more_values(body, MAX_VALUES):
        raise BadRequest(f"the request body has more than {MAX_VALUES} values")
    try:
        plain = _coercion(kind)(msgspec.json.decode(body or b"null"))  # type: ignore[arg-type]  # types can be hashed
        return msgspec.convert(plain, kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the request body cannot be read: {_description(error, kind)}") from error


def _description(error: Exception, kind: type) -> str:
    """What is wrong: of a long value only the beginning, and, where there is a choice, what can be chosen."""
    text = re.sub(r"(['\"])(.{80}).*\1", r"\1\2…\1", str(error), flags=re.DOTALL)
    place = re.fullmatch(r"Invalid enum value .* - at `\$((?:\.\w+|\[\d+\])+)`", text, re.DOTALL)
    return f"{text}; choose one of {', '.join(_choices(kind, place[1]))}" if place else text


def _choices(kind: type, place: str) -> list[str]:
    """The values that can stand at *place*, such as `.packages.type`, in a *kind*."""
    info = inspect.type_info(kind)
    for name in re.findall(r"\w+", place):
        info = _bare(info)
        match info:
            case inspect.StructType(fields=fields):
                info = next(field.type for field in fields if field.encode_name == name)
            case inspect.VarTupleType(item_type=item):
                info = item
    info = _bare(info)
    return [str(each.value) for each in info.cls] if isinstance(info, inspect.EnumType) else []


def _bare(info: inspect.Type) -> inspect.Type:
    """*info* without the null that may stand in its place."""
    if not isinstance(info, inspect.UnionType):
        return info
    return next(each for each in info.types if not isinstance(each, inspect.NoneType))


@cache
def _coercion(kind: Hashable) -> Coerce:
    """How a decoded value becomes one that msgspec converts to *kind*."""
    return _for(inspect.type_info(kind))


def _for(info: inspect.Type) -> Coerce:
    match info:
        case inspect.UnionType(types=types):
            known = [each for each in types if not isinstance(each, inspect.NoneType)]
            return _for(known[0]) if len(known) == 1 else _as_it_is
        case inspect.StructType(fields=fields):
            return _members({field.encode_name: _or_null(field, _for(field.type)) for field in fields})
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return _items(_for(item))
        case inspect.EnumType(cls=choices):
            return _choice(choices)
        case inspect.StrType():
            return _text
        case inspect.IntType():
            return _integer
        case inspect.BoolType() | inspect.FloatType():
            return _single
    return _as_it_is


def _members(coercions: dict[str, Coerce]) -> Coerce:
    def members(value: Any) -> Any:
        value = _single(value)
        if not isinstance(value, dict):
            return value
        found = {name: coercions[name](member) for name, member in value.items() if name in coercions}
        return {name: member for name, member in found.items() if member is not msgspec.UNSET}

    return members


def _or_null(field: inspect.Field, coerce: Coerce) -> Coerce:
    """Null counts as absent, unless it switches off a default that is not null."""
    nullable = isinstance(field.type, inspect.UnionType) and field.default not in {None, msgspec.NODEFAULT}
    absent = None if nullable else msgspec.UNSET

    def or_null(value: Any) -> Any:
        return absent if value is None else coerce(value)

    return or_null


def _items(coerce: Coerce) -> Coerce:
    """A list, or one item of it; null among the items counts as absent."""

    def items(value: Any) -> Any:
        listed = value if isinstance(value, list) else [value]
        return [coerce(item) for item in listed if item is not None]

    return items


def _as_it_is(value: Any) -> Any:
    return value


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _text(value: Any) -> Any:
    value = _single(value)
    return msgspec.json.encode(value).decode() if isinstance(value, int | float) else value


def _choice(choices: type[Enum]) -> Coerce:
    """A choice by its name, or by its place among all, counted from 0."""
    names = [each.value for each in choices]

    def choice(value: Any) -> Any:
        value = _single(value)
        return names[value] if type(value) is int and 0 <= value < len(names) else _text(value)

    return choice


def _integer(value: Any) -> Any:
    value = _single(value)
    if value == "":
        return None
    return int(value) if isinstance(value, float) and abs(value) < 2**63 else value
