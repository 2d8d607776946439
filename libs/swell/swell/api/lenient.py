"""Reading JSON as Wave's server does, which its clients count on: a bare value where a list is expected, a list of one
where a value is, numbers for texts and texts for numbers. What cannot be understood even so is an error with its place.
"""

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from swell.errors import BadRequest

T = TypeVar("T")
Coerce = Callable[[Any], Any]


def decode(body: bytes, kind: type[T]) -> T:
    """Read *body* as *kind*, a Struct; unknown members are ignored, null means absent.

    Raises:
        BadRequest: it is no JSON, or a member cannot be read; the message names the place.
    """
    try:
        plain = _coercion(kind)(msgspec.json.decode(body or b"null"))  # type: ignore[arg-type]  # types can be hashed
        return msgspec.convert(plain, kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the request body cannot be read: {error}") from error


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
        case inspect.StrType() | inspect.EnumType():
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
    def items(value: Any) -> Any:
        listed = value if isinstance(value, list) else [value]
        return [coerce(item) for item in listed]

    return items


def _as_it_is(value: Any) -> Any:
    return value


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _text(value: Any) -> Any:
    value = _single(value)
    return msgspec.json.encode(value).decode() if isinstance(value, int | float) else value


def _integer(value: Any) -> Any:
    value = _single(value)
    if value == "":
        return None
    return int(value) if isinstance(value, float) and abs(value) < 2**63 else value
