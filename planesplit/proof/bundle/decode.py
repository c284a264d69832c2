"""Strict decoding of plain values into dataclasses: what does not fit exactly is refused."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Misfit(ValueError):
    """A value is not of the schema; names the field, never the value."""


def decode(kind: type[T], value: Any, where: str = "") -> T:
    """Return `value` as `kind`: a dataclass of texts, numbers, flags, tuples, mappings of those.

    Args:
        where: the field, for error messages.

    Raises:
        Misfit: a field is missing, unknown, or of another type.
    """
    decoded: T = _decode(kind, value, where)
    return decoded


def _decode(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin = get_origin(kind)
    if origin is tuple and isinstance(value, list):
        return tuple(_decode(get_args(kind)[0], each, f"{where}[]") for each in value)
    if origin is Mapping and isinstance(value, dict):
        of = get_args(kind)[1]
        return {name: _decode(of, each, f"{where}.{name[:32]}") for name, each in value.items()}
    if kind is float and type(value) is int:
        return value
    if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) and type(value) is kind:
        return value
    raise Misfit(f"'{where}' is of another type than it should be")


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise Misfit(f"'{where}' is not an object")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if not value.keys() <= fields.keys():
        raise Misfit(f"'{where}' has a field that is unknown here")
    needed = {name for name, field in fields.items() if _needed(field)}
    if missing := sorted(needed - value.keys()):
        raise Misfit(f"'{where}' lacks '{missing[0]}'")
    hints = _hints(kind)
    return kind(
        **{name: _decode(hints[name], each, f"{where}.{name}") for name, each in value.items()}
    )


def _needed(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
