"""Which columns of a table are spectra: one that nothing else can be, or those the user names.

Columns are not repeats. Counters, times, and what Athena writes beside a spectrum are known by
their names and are no signals; of what remains nothing is guessed. The user chooses by name or
number, by a wildcard (repeats, because the user says so), by a pattern of names that hold delay or
temperature, or by a formula of two columns: ``ln(A/B)``, ``A/B``, ``A-B``, where each may be the
sum of several detectors, ``sum(det*)``.
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.text import Table
from perovskite_polaron.units import UNITS, parse_temperature_celsius

NUMBER = r"(-?\d+(?:\.\d+)?)"
# No temperature: the number before the name of an edge or line, as in "rep 7 K-edge".
_NO_EDGE = r"(?![A-Za-z]|[\s_-]*(?i:edge|alpha|beta|xa|exafs))"
_WRITTEN = {"delay": re.compile(rf"(?<![A-Za-z0-9.]){NUMBER}\s?(fs|ps|ns|us|µs)(?![A-Za-z])"),
            "temperature": re.compile(rf"(?<![A-Za-z0-9.]){NUMBER}\s?(C|degC|°C|K){_NO_EDGE}")}
_ERRORS = "errors?|errs?|sigma|std|stddev|stdev|stderr|sem|uncertainty"
_IS_ERROR = re.compile(rf"(?:^|[_\s])(?:(?i:{_ERRORS})(?:[_\s]|\d*$)|SE(?:[_\s]|$)|(?<=[_\s])se$)")
_SCATTER = re.compile(r"(\A|[_\s])(std|stddev|stdev|sigma)\Z")
# Counters and settings, by the names of the XDI dictionary, Athena, NeXus and beamlines.
_ROLES = re.compile(
    r"(i[0-3tfro]|itrans|ifluor|iref(er)?|(mu|norm)_?ref(er)?|numerator|monitor|incoming_beam|"
    r"angle|theta|.*timer?|dwell|seconds|epoch|timestamp|pixel|"
    r"index|point|(ring_|m)current|scatter|.*energy.*)\Z")
# What energies are called.
_ENERGY = re.compile(r"e|ee|k?ev|(photon|mono)? ?energy(\b.*|_\w*)?|.*energy", re.IGNORECASE)
# The largest and smallest integers of 32 bits, in any decimal unit: what no measurement gives.
_PLACEHOLDERS = [round(whole * 10.0**-power, 9) for whole in (2**31 - 1, 2**31)
                 for power in range(10)]
_PLACES = ("delay_fs", "delay_ps", "delay_ns", "delay_us", "temperature_C", "temperature_K")
_MOTOR = re.compile(r"(.*(delay|stage|motor|position).*|n|shots?|scans?|number)\Z")
_COUNTERS = re.compile(r"(i[0-3tfro]|itrans|ifluor|iref(er)?|monitor|incoming_beam)\Z")
# Beside counters, what has no such name is taken for a counter, too.
_SPECTRUM = re.compile(r"(x?mu|mutrans|mufluor|intensity|norm.*|.*(signal|absor|xanes).*)\Z")
# What is made from a spectrum, where that stands beside it.
_MADE = re.compile(r"[nf]?(norm|flat|der|sec|bkg|pre|post|chie)(_?line|_?edge|trans|fluor)?\Z")


class Signal(NamedTuple):
    """One spectrum of a table.

    Attributes
    ----------
    name : str
        Of its column, or the formula.
    values, error : ndarray
        In the order of the table's rows; the error is None where unknown.
    columns : tuple of int
        Where it is from.
    """

    name: str
    values: Array
    error: Array | None
    columns: tuple[int, ...]


def written(text: str, quantity: str) -> float | None:
    """Return the first delay (ps) or temperature (°C) with its unit in a text, if any."""
    match = _WRITTEN[quantity].search(text)
    return None if match is None else converted(match[1], match[2])


def whole_name(table: Table, i: int) -> str:
    """Return a column's name with its unit, as the file has them but for the mark between."""
    return f"{table.names[i]} {table.units[i]}".strip()


def written_of(table: Table, columns: Sequence[int], quantity: str,
               asked: str | None = None) -> float | None:
    """Return what the name of a column says of delay (ps) or temperature (°C), by the pattern asked
    for or with its unit; None for several columns.
    """
    name = whole_name(table, columns[0])[:200]
    if len(columns) > 1:
        return None
    if asked is not None and "{" in asked and (said := fields_of(name, asked)):
        return said.get("delay_ps" if quantity == "delay" else "temperature_C")
    return written(name, quantity)


def converted(number: str, unit: str) -> float:
    """Return a delay in ps or a temperature in °C, whichever its unit says.

    InputError below absolute zero, above 3000 °C and beyond a second, where a sample or a laser
    pulse is not: the unit is wrong.
    """
    factor = UNITS["time"].get(unit)
    require(len(number) < 100, f"{number[:40]}...: the number is too long; correct it")
    value = parse_temperature_celsius(number + unit) if factor is None else float(number) * factor
    require(abs(value) <= (3000 if factor is None else UNITS["time"]["s"]), f"{number} {unit} is no"
            " temperature of a sample, or delay of a pulse: above 3000 C or 1 s; correct the unit")
    return value


def fields_of(name: str, pattern: str) -> dict[str, float] | None:
    """Return delay_ps and temperature_C as a pattern finds them in a name; None if it does not fit.

    InputError when the pattern has places that are not known, or none.
    """
    fields: dict[str, str] = {}
    expression = ""
    for part in re.split(r"(\{[^{}]*\}|\*)", pattern):
        if part == "*":
            expression += ".*?"
        elif part.startswith("{"):
            quantity, _, unit = part[1:-1].partition("_")
            require(part[1:-1] in _PLACES and quantity not in fields,
                    f"the name pattern {pattern!r} has the place {part}: it knows, "
                    f"once each, {', '.join(f'{{{place}}}' for place in _PLACES)}")
            fields[quantity] = unit
            expression += NUMBER
        else:
            expression += re.escape(part)
    require(fields, f"the name pattern {pattern!r} has no place for a number: it knows "
            f"{', '.join(f'{{{place}}}' for place in _PLACES)}")
    match = re.fullmatch(expression, name)
    return match and {"delay_ps" if quantity == "delay" else "temperature_C": converted(value, unit)
                      for (quantity, unit), value
                      in zip(fields.items(), match.groups(), strict=True)}


def energy_column(table: Table, asked: str | None = None) -> int:
    """Return the column of the energies: what is asked for, or what its name or unit says.

    Without any names it is the first one. InputError when none or several can be.
    """
    if asked is not None:
        found = table.find(asked)
        require(found is not None, f"{table.source} has no column {asked!r} for --energy: it has "
                f"{', '.join(table.names)}")
        return found or 0
    said = table.find(table.get("axes")) if table.get("axes") else None
    if said is not None:
        return said
    lower = [name.lower() for name in table.names]
    exact = [i for i, name in enumerate(lower) if name == "energy"]
    possible = exact or [i for i, name in enumerate(lower) if _ENERGY.fullmatch(name)
                         or table.units[i].lower() in ("ev", "kev")]
    if possible[:1] == [0] or len(possible) == 1:
        return possible[0]
    is_angle = table.is_xdi and lower[0] == "angle"
    if is_angle or (not possible and re.fullmatch("column ?1", lower[0])):
        return 0
    why = f"several columns can be the energy ({', '.join(table.names[i] for i in possible)})"
    raise InputError(f"{table.source}: {why if possible else 'no column is an energy by its name'} "
                     f"of {', '.join(table.names[:40])}; choose with --energy NAME or its number")


def signal_columns(table: Table, x: int) -> dict[int, int | None]:
    """Return signal column -> its error column or None; the error is named like it, or follows."""
    lower = [name.lower() for name in table.names]
    owners = {}
    for i, name in enumerate(lower):
        if i != x and _IS_ERROR.search(table.names[i]):
            named = {re.sub(rf"[_ ]({_ERRORS}|se)\Z", "", name),
                     re.sub(rf"\A({_ERRORS}|se)[_ ]", "", name)} - {name}
            owners[i] = next((j for j, n in enumerate(lower) if j != x and n in named), None)
    found: dict[int, int | None] = {}
    for i in (i for i in range(len(lower)) if i != x and i not in owners):
        following = takewhile(lambda j: owners.get(j, x) is None, range(i + 1, len(lower)))
        mine = [j for j, owner in owners.items() if owner == i] or list(following)
        # The scatter of single values is no error of their mean.
        found[i] = min(mine, key=lambda j: bool(_SCATTER.search(lower[j])), default=None)
    return found


def candidates(table: Table, x: int) -> list[int]:
    """Return the columns whose names do not say that they are something else than a signal."""
    lower = [name.lower() for name in table.names]
    known = {"mu", "xmu", "mutrans", "mufluor"}.intersection(lower)
    # What has no name among those that have one is an index.
    unnamed = {i for i, name in enumerate(lower) if re.fullmatch(r"column ?\d+", name)}
    unnamed = set() if len(unnamed) == len(lower) else unnamed
    among_counters = any(map(_COUNTERS.match, lower))
    return [i for i in signal_columns(table, x) if np.isfinite(table.columns[i]).any()
            and i not in unnamed and not _ROLES.match(lower[i])
            and not (known and _MADE.match(lower[i]))
            and (not among_counters or _SPECTRUM.match(lower[i]))]


def is_setting(name: str) -> bool:
    """Tell whether a column is a counter, a time, a motor or a number of shots by its name."""
    return bool(_ROLES.match(name.lower()) or _MOTOR.match(name.lower()))


def choose(table: Table, x: int, asked: str | None, counted: bool = False) -> list[Signal]:
    """Return the spectra of a table: what is asked for, or the only one there can be.

    Parameters
    ----------
    table, x
        The table, and its column of energies or delays.
    asked
        As the module says.
    counted
        Whether the errors are those of counting: what is not counted then adds none in a formula.

    Raises
    ------
    InputError
        When nothing is asked and the table does not say by itself which column is the signal, or
        when what is asked for is not there.
    """
    errors, possible = signal_columns(table, x), candidates(table, x)
    asked = asked or next((name for name in table.names if name == table.get("signal")), None)
    if asked is None:
        chosen = _unasked(table, possible)
    elif (found := table.find(asked)) is not None:
        chosen = [found]
    elif "sum(" in asked.lower():
        return [_formula(table, asked, errors, counted)]
    elif "{" in asked:
        chosen = [i for i in range(len(table.names))
                  if i != x and fields_of(whole_name(table, i), asked)]
    elif set("*?") & set(asked):
        chosen = [i for i in errors if i in possible or not _ROLES.match(table.names[i].lower())]
        chosen = [i for i in chosen if fnmatchcase(table.names[i].lower(), asked.lower())]
    else:
        return [_formula(table, asked, errors, counted)]
    require(chosen, f"{table.source}: no signal column fits {asked!r}: it has "
            f"{', '.join(table.names)}")
    return [signal_at(table, i, errors.get(i)) for i in chosen]


def signal_at(table: Table, i: int, error: int | None) -> Signal:
    """Return a column as it stands, with its error column, if any, which must be positive.

    InputError where it holds what an instrument writes for no value, or for one beyond its range.
    """
    found = table.columns[i]
    bad = found[np.isin(np.round(np.abs(found), 9), _PLACEHOLDERS) | (found == -9999)
                | (np.abs(found) > 9e36)]
    require(not len(bad), f"{table.source}: {table.names[i]} holds {bad[:1].sum():.10g}, what an"
            " instrument writes for no value: remove those rows, or choose other columns with"
            " --signal")
    errors = None if error is None else table.columns[error]
    require(errors is None or not (errors <= 0).any(), f"{table.source}: the error column "
            f"{table.names[error or 0]!r} has values that are not positive; correct them")
    return Signal(table.names[i], table.columns[i], errors, (i,))


def _formula(table: Table, asked: str, errors: Mapping[int, int | None], counted: bool) -> Signal:
    """Return ln(A/B), A/B, A-B or a sum, with the error that independent errors of A and B give."""
    logarithm = re.fullmatch(r"\s*(?i:ln)\s*\((.*)\)\s*", asked)
    text = logarithm[1] if logarithm else asked
    if not logarithm and (whole := _term(table, text, errors)):
        return whole
    for sign in re.finditer("/" if logarithm else "[-/]", text):
        one, two = (_term(table, t, errors) for t in (text[:sign.start()], text[sign.end():]))
        if one is None or two is None:
            continue
        (_, a, da, i), (_, b, db, j) = one, two
        with np.errstate(all="ignore"):
            value, by_a, by_b = ((np.log(a / b), 1 / a, 1 / b) if logarithm
                                 else (a / b, 1 / b, a / b**2) if sign[0] == "/" else (a - b, 1, 1))
        require(np.isfinite(value[np.isfinite(a + b)]).all(), f"{table.source}: {asked} is not "
                "finite where a column is zero or signs differ: remove those rows, or choose other "
                "columns")
        if counted and (da is None) != (db is None):
            da, db = (np.zeros(len(a)) if d is None else d for d in (da, db))
        error = None if da is None or db is None else np.hypot(da * by_a, db * by_b)
        return Signal(asked, value, error, i + j)
    raise InputError(f"{table.source} has no column {asked!r}: it has {', '.join(table.names)}; "
                     "give a name, a number from 1, a wildcard, ln(A/B), A/B, A-B or sum(det*)")


def _term(table: Table, text: str, errors: Mapping[int, int | None]) -> Signal | None:
    """Return a column, or the sum of those that fit a wildcard; None where there is none."""
    name = text.strip()
    if match := re.fullmatch(r"(?i:sum)\s*\((.*)\)", name):
        at = [i for i in errors if fnmatchcase(table.names[i].lower(), match[1].strip().lower())]
    else:
        found = table.find(name)
        at = [] if found is None else [found]
    if not at:
        return None
    parts = [signal_at(table, i, errors.get(i)) for i in at]
    known = [p.error for p in parts if p.error is not None]
    error = np.sqrt(np.sum(np.square(known), axis=0)) if len(known) == len(parts) else None
    return Signal(name, np.sum([p.values for p in parts], axis=0), error, tuple(at))


def _unasked(table: Table, possible: list[int]) -> list[int]:
    """Return the columns to read where the user says nothing; InputError where that is open."""
    said = [tuple(written_of(table, (i,), quantity) for quantity in _WRITTEN) for i in possible]
    if len(possible) == 1 or (len({*said}) == len(said) > 0 and (None, None) not in said):
        return possible
    names = {name.lower(): name for name in table.names}
    names.setdefault("i0", names.get("io", ""))
    ways = [f"ln({names['i0']}/{names[n]})" if n in ("itrans", "i1", "it")
            else f"{names[n]}/{names['i0']}"
            for n in ("itrans", "i1", "it", "ifluor", "if") if n in names and names["i0"]]
    why = f"none of its columns ({', '.join(table.names)}) is a spectrum by its name"
    if possible:
        open_ = [table.names[i] for i in possible]
        why = (f"{len(open_)} columns can be the signal ({', '.join(open_[:20])}): columns are no "
               "repeats unless you say so; name them by delay or temperature, as 100ps")
        ways = ["NAME", "-".join(open_) if len(open_) == 2 else "NAME*"]
        if all(re.fullmatch(NUMBER, name) for name in open_):
            ways[1:] = ["{delay_ps}", "{temperature_K}"]
    raise InputError(f"{table.source}: {why}; choose with --signal "
                     + " or --signal ".join(f'"{way}"' for way in ways or ["NAME"]))
