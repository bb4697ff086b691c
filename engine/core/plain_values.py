"""Dataclasses as the values of strict JSON, and back."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite, nan
from typing import Any, get_args, get_origin, get_type_hints


def plain_values(value: Any) -> Any:
    """A value as strict JSON holds it: dataclasses as objects, None where there is no number, keys as texts."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: plain_values(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else f"{key:g}": plain_values(inner) for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain_values(inner) for inner in value]
    return value


def from_plain(kind: Any, value: Any) -> Any:  # noqa: PLR0911 - a line for each kind of type
    """What `plain_values` was given, by its type; NaN where there was no number. Members that it has not are left out.

    Args:
        kind: a dataclass, a tuple or a mapping of them, or what JSON holds.
        value: as JSON was read.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is float:
        return nan if value is None else float(value)
    if isinstance(kind, type) and is_dataclass(kind):
        types = get_type_hints(kind)
        return kind(**{name: from_plain(types[name], value[name]) for name in types if name in value})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if origin is tuple:
        kinds = inner[:1] * len(value) if inner[-1] is ... else inner
        return tuple(from_plain(each, one) for each, one in zip(kinds, value, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {from_plain(inner[0], key): from_plain(inner[1], one) for key, one in value.items()}
    if type(None) in inner:
        return None if value is None else from_plain(inner[0], value)
    return value
