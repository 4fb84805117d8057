"""Settings as frozen dataclasses, filled from a TOML table with every problem reported at once."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_toml

T = TypeVar("T")


def option(default: Any, *, low: float = -math.inf, high: float = math.inf, choices: tuple[str, ...] = ()) -> Any:
    """Return a dataclass field whose value from a file must lie in [low, high] or be one of the choices."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "choices": choices})


def read_tables(path: str | Path, classes: Mapping[str, type]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tables of a TOML file, filled and as they stand in it; a table that it lacks has every default.

    classes: for each table that the file may hold its settings dataclass, or dict where any key will do.
    Raises InputError with every problem at once.
    """
    given = read_toml(path, "settings file (TOML)")
    problems = [
        f"{name!r} is not one of the tables {', '.join(classes)}"
        for name in given
        if name not in classes or not isinstance(given[name], dict)
    ]
    tables = {name: given[name] if isinstance(given.get(name), dict) else {} for name in classes}
    filled = {
        name: table if classes[name] is dict else fill(classes[name], table, f"[{name}]", problems)
        for name, table in tables.items()
    }
    if problems:
        raise InputError(f"{path}: " + " | ".join(problems))
    return filled, tables


def fill(cls: type[T], table: Mapping[str, Any], where: str, problems: list[str]) -> T | None:
    """Return an instance of a settings dataclass from a TOML table; what is wrong is appended to problems.

    where: the table's name in messages, such as ``[pw]``. Returns None if any of its keys was unusable.
    """
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values = {}
    count = len(problems)
    for key, value in table.items():
        if key not in fields:
            close = difflib.get_close_matches(key, fields, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it knows {', '.join(fields)}"
            problems.append(f"{where}: unknown key {key!r}; {hint}")
            continue
        converted = _convert(hints[key], value)
        if converted is None:
            problems.append(f"{where}: {key} = {value!r} is not {_describe(hints[key])}")
            continue
        why = _outside(fields[key].metadata, converted)
        if why:
            problems.append(f"{where}: {key} = {value!r} {why}")
            continue
        values[key] = converted
    missing = [
        name
        for name, f in fields.items()
        if name not in table and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    problems.extend(f"{where}: {name} is missing" for name in missing)
    return cls(**values) if len(problems) == count else None


def _convert(hint: Any, value: Any) -> Any:
    """Return the value in the type of the hint, or None if it is of another type (None itself is never a TOML value)."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return next((c for a in args if a is not type(None) and (c := _convert(a, value)) is not None), None)
    if origin is tuple:
        if not isinstance(value, list):
            return None
        inner = (args[0],) * len(value) if args[-1] is Ellipsis else args
        if len(inner) != len(value):
            return None
        converted = tuple(_convert(a, v) for a, v in zip(inner, value, strict=True))
        return None if None in converted else converted
    if hint is float:
        return (
            float(value)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            else None
        )
    if hint is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if origin is not None:
        return value if isinstance(value, dict) else None
    return value if isinstance(value, hint) else None


def _outside(limits: Mapping[str, Any], value: Any) -> str:
    if limits.get("choices") and value not in limits["choices"]:
        return f"is not one of {', '.join(limits['choices'])}"
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and not limits.get("low", -math.inf) <= number <= limits.get(
            "high", math.inf
        ):
            return f"is outside {limits['low']:g} to {limits['high']:g}"
    return ""


def _describe(hint: Any) -> str:
    names = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(a) for a in args if a is not type(None))
    if origin is tuple:
        return (
            f"a list of {names[args[0]].split(' ', 1)[-1]}s"
            if args[-1] is Ellipsis
            else f"a list of {len(args)} values"
        )
    return names.get(hint, "a table")
