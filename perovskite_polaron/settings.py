"""Settings as frozen dataclasses, filled from a TOML table with every problem reported at once.

pydantic checks the types: with it this module has half the code of checks of its own, and it says
of every value what is wrong. It is imported only when a file is read, so a settings class costs
nothing and one made in Python is a plain dataclass (msgspec stops at the first problem, attrs would
leave the checks of nested types to us).
"""

import dataclasses
import difflib
import functools
import json
import math
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_toml

T = TypeVar("T")
# First word of pydantic's type of error -> what the value should have been.
_TYPES = {
    "float": "a number", "finite": "a finite number", "int": "a whole number", "string": "a text",
    "bool": "true or false", "tuple": "a list", "dict": "a table"}


def option(default: Any, *, low: float = -math.inf, high: float = math.inf,
           choices: tuple[str, ...] = ()) -> Any:
    """Return a dataclass field with a value in [low, high] or of the choices, when in a file."""
    limits = {"low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=limits)


def read_tables(path: str | Path,
                classes: Mapping[str, type]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tables of a TOML file as settings and as they stand; absent ones have defaults.

    Parameters
    ----------
    path
        The file.
    classes
        For each table that the file may hold its settings dataclass, or dict where any key will do.

    Raises
    ------
    InputError
        With every problem at once.
    """
    given = read_toml(path, "settings file (TOML)")
    problems = [f"{name!r} is not one of the tables {', '.join(classes)}" for name in given
                if name not in classes or not isinstance(given[name], dict)]
    tables = {name: given.get(name, {}) for name in classes}
    filled = {name: table if classes[name] is dict
              else fill(classes[name], table, f"[{name}]", problems)
              for name, table in tables.items()}
    refuse(path, problems)
    return filled, tables


def refuse(path: str | Path, problems: list[str]) -> None:
    """Raise InputError with all the problems of a settings file, if there are any."""
    if problems:
        raise InputError(f"{path}: " + " | ".join(problems))


def fill(cls: type[T], table: object, where: str, problems: list[str]) -> T | None:
    """Return an instance of a settings dataclass from a TOML table.

    Parameters
    ----------
    cls
        The dataclass; limits and choices are those of its ``option`` fields.
    table
        What the file says.
    where
        Name of the table in messages, such as ``[pw]``.
    problems
        What is wrong is appended to it.

    Returns
    -------
    T or None
        None if any key was unusable.
    """
    from pydantic import ValidationError

    if not isinstance(table, Mapping):
        problems.append(f"{where}: is not a table")
        return None
    model = _model(cls)
    try:
        # Strict JSON takes a list for a tuple and no "35" for a number, which is what TOML means.
        found = model.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        said = (f"{where}: {_problem(e, table, model.model_fields)}" for e in error.errors())
        problems += dict.fromkeys(said)
        return None
    try:
        return cls(**{name: getattr(found, name) for name in found.model_fields_set})
    except InputError as error:
        problems.append(f"{where}: {error}")
        return None


def _model(cls: type) -> Any:
    """Return the pydantic model with the fields of a dataclass, their limits and choices."""
    from pydantic import AfterValidator, ConfigDict, create_model

    hints = typing.get_type_hints(cls)
    fields: dict[str, Any] = {}
    for f in dataclasses.fields(cls):
        needed = f.default is f.default_factory is dataclasses.MISSING
        within = AfterValidator(functools.partial(_within, f.metadata))
        fields[f.name] = (Annotated[hints[f.name], within], ... if needed else None)
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return create_model(cls.__name__, __config__=config, **fields)


def _within(limits: Mapping[str, Any], value: Any) -> Any:
    """Return the value; ValueError when it, or one of a list, is outside its field's limits."""
    if limits.get("choices") and value not in limits["choices"]:
        raise ValueError(f"is not one of {', '.join(limits['choices'])}")
    numbers = value if isinstance(value, tuple) else (value,)
    low, high = limits.get("low", -math.inf), limits.get("high", math.inf)
    if any(isinstance(v, int | float) and not low <= v <= high for v in numbers):
        raise ValueError(f"is outside {low:g} to {high:g}")
    return value


def _problem(error: Mapping[str, Any], table: Mapping[str, Any], names: Mapping[str, Any]) -> str:
    """Return one of pydantic's errors in the words of this package."""
    (key, *inner), kind = error["loc"], error["type"]
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(key, names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"it knows {', '.join(names)}"
        return f"unknown key {key!r}; {hint}"
    if kind == "missing" and not inner:
        return f"{key} is missing"
    if kind == "value_error":
        return f"{key} = {table[key]!r:.80} {error['ctx']['error']}"
    what = _TYPES.get(kind.split("_")[0])
    why = f"is not {what}" if what else f"is wrong: {error['msg']}"
    if inner and what:
        why = f"holds {error['input']!r:.80}, which is not {what}"
    return f"{key} = {table[key]!r:.80} {why}"
