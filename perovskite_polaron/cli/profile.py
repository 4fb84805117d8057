"""Options from a file: a beamline's profile in TOML, or how a treated spectrum was read.

A profile has the names of the options, ``energy-unit = "keV"``, with values as on the command line;
true for an option without value, a list where several may follow. What stands on the command line
counts instead of what the profile says.
"""

import argparse
import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import read_text, read_toml
from perovskite_polaron.measured.treated import OPTIONS
from perovskite_polaron.measured.xdi import parse_xdi

#: What belongs to one call, not to a beamline.
_ONE_CALL = ("--help", "--profile", "--replay", "--out", "--figure", "--json", "--steps")
#: What says how raw files are read, and so is kept in what is made of them.
READ_BY = ("edge", "signal", "energy", "energy-unit", "decimal-comma", "group", "name-pattern",
           "on", "off", "align-by", "counts", "dead-time", "count-time", "d-spacing",
           "average-doubles", "at", "map", "delay", "delay-unit")


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Declare --profile and --replay; their options keep what was written for the record."""
    add = parser.add_argument
    add("--profile", action=_Profile, metavar="FILE.toml", help="take options from a file that a"
        " group writes once: energy-unit = \"keV\" and so on, by the names of the options")
    add("--replay", action=_Replay, metavar="FILE.xdi", help="read and treat as was done for this"
        " treated spectrum")
    parser.set_defaults(read_by=lambda args: _read_by(parser, args))


class _Profile(argparse.Action):
    """Set the options that a TOML file gives, unless they were given already."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Any, _option: str | None = None) -> None:
        set_options(parser, namespace, read_toml(values, "profile (TOML)"), values)
        setattr(namespace, self.dest, values)


class _Replay(argparse.Action):
    """Set the options that a treated XDI file keeps, and its steps."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Any, _option: str | None = None) -> None:
        text = read_text(values, "treated spectrum (XDI)")
        kept = parse_xdi(text, values).get(OPTIONS) if text.startswith("# XDI/") else ""
        require(kept, f"{values} does not say how it was made: its header has no field {OPTIONS}; "
                "give a file of polaron treat")
        try:
            options = json.loads(kept)
        except (ValueError, RecursionError):
            options = None
        if not isinstance(options, dict):
            raise InputError(f"{values}: {OPTIONS} is no JSON object; it was changed by hand")
        set_options(parser, namespace, {**options, "steps": values}, values, allowed=("--steps",))
        setattr(namespace, self.dest, values)


def set_options(parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                given: Mapping[str, Any], source: str, allowed: tuple[str, ...] = ()) -> None:
    """Set options by their names, unless they were given already.

    Raises
    ------
    InputError
        With all that is wrong with them.
    """
    known = {name[2:]: action for action in parser._actions for name in action.option_strings
             if name.startswith("--") and (name in allowed or name not in _ONE_CALL)}
    problems = []
    for key, value in given.items():
        action = known.get(key)
        if action is None:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it knows {', '.join(known)}"
            problems.append(f"unknown key {key!r}; {hint}")
            continue
        try:
            converted = _converted(parser, action, value)
        except (InputError, ValueError, argparse.ArgumentError) as error:
            problems.append(f"{key} = {value!r}: {error}")
            continue
        if getattr(namespace, action.dest, None) == action.default:
            setattr(namespace, action.dest, converted)
    require(not problems, f"{source}: " + " | ".join(problems))


def _converted(parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> Any:
    """Return a value of a profile as the option would give it."""
    if action.nargs == 0:
        require(isinstance(value, bool), "write true or false")
        return value
    repeated = isinstance(action, argparse._AppendAction)
    many = action.nargs == "+" or repeated
    words = value if many and isinstance(value, list) else [value]
    require(all(isinstance(word, str | int | float) and not isinstance(word, bool)
                for word in words), "write a text or a number" + ", or a list of them" * many)
    found = []
    for word in map(str, words):
        kind: Callable[[str], Any] = action.type if callable(action.type) else str
        found.append(kind(word))
        require(action.choices is None or found[-1] in action.choices,
                f"it must be one of {', '.join(map(str, action.choices or ()))}")
    return found if many else found[0]


def _read_by(parser: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """Return the options by which files were read, as one line of JSON that --replay takes."""
    return json.dumps(dict(_given(parser, args)), ensure_ascii=False)


def _given(parser: argparse.ArgumentParser,
           args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    units = {"dead-time": "ps", "d-spacing": "A"}
    for action in parser._actions:
        name = next((o[2:] for o in action.option_strings if o[2:] in READ_BY), None)
        value = getattr(args, action.dest, None)
        if name is not None and value != action.default:
            yield name, f"{value!r}{units[name]}" if name in units else value
