"""What the user says of raw columns: what is counted, what belongs together, how an axis is meant.
"""

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.columns import Signal, choose, written
from perovskite_polaron.measured.text import Table
from perovskite_polaron.units import UNITS, parse_quantity

#: What begins a pattern of scans, by their labels, where a column could stand as well.
SCANS = "scans:"
#: A counter that is dead for more than this part of the time follows neither law of dead time.
MOST_DEAD = 0.5


@dataclass(frozen=True)
class Raw:
    """Options of reading that only raw data need; the defaults change nothing.

    Attributes
    ----------
    on, off : str or None
        The signal with laser and without: a column or formula as for the signal, or ``scans:`` with
        a wildcard for the labels of whole scans. The scan is their difference.
    align_by : str or None
        The reference by which drifts are found, said in the same way; by default that is off.
    counts : str or None
        Wildcard of the columns that are counts, which have Poisson errors.
    dead_time_ps : float or None
        Of the detectors that counts names; count_time is then a quantity such as ``1s``, or
        ``COLUMN:s``, the column that holds it and its unit.
    d_spacing_A : float or None
        Of the monochromator, where the energies are given as Bragg angles.
    average_doubles : bool
        Whether rows of one energy are averaged; otherwise they are refused.
    at : str or None
        Delay or temperature of the scans, as ``100ps`` or ``60C``, whatever their files say.
    delay_unit, delay : str or None
        Unit of the delays of a map, and where an HDF5 file keeps them.
    map : str or None
        ``down`` where the energies of a delay × energy map run down the first column, ``across``
        where they are the first row.
    """

    on: str | None = None
    off: str | None = None
    align_by: str | None = None
    counts: str | None = None
    dead_time_ps: float | None = None
    count_time: str | None = None
    d_spacing_A: float | None = None
    average_doubles: bool = False
    at: str | None = None
    map: str | None = None
    delay: str | None = None
    delay_unit: str | None = None

    def __post_init__(self) -> None:
        require((self.on is None) == (self.off is None), "--on and --off belong together: give "
                "both, or the difference with --signal")
        require(self.on is None or self.of_scans(self.on) == self.of_scans(self.off), "--on and "
                f"--off must both be columns, or both begin with {SCANS}")
        require(self.dead_time_ps is None or (self.counts and self.count_time), "--dead-time needs "
                "--counts, which says what columns it is for, and --count-time")
        require(self.dead_time_ps is None or self.dead_time_ps > 0,
                "--dead-time must be positive")
        require(self.d_spacing_A is None or self.d_spacing_A > 0, "--d-spacing must be positive")

        require(self.at is None or self.condition, f"--at {self.at}: write a delay or a"
                " temperature with its unit, as 100ps or 60C")

    @property
    def condition(self) -> dict[str, float]:
        """What ``at`` says, as delay_ps or temperature_C."""
        said = {key: written(self.at or "", quantity) for key, quantity in
                (("delay_ps", "delay"), ("temperature_C", "temperature"))}
        return {key: value for key, value in said.items() if value is not None}

    @staticmethod
    def of_scans(said: str | None) -> bool:
        """Whether it names whole scans."""
        return said is not None and said.startswith(SCANS)


def counted(table: Table, x: int, raw: Raw) -> tuple[Table, str]:
    """Return a table with errors of counting, and the counts that a detector was too slow to see.

    The column x, of the energies, is none of counts.

    An error is the square root of a count n, and 1 for none. The dead time τ is that of a detector
    which it does not extend [G. F. Knoll, Radiation Detection and Measurement, chapter 4: the
    non-paralysable model]: n / (1 − n τ/T) in the time T, with the error √n / (1 − n τ/T)². It
    holds for a source that does not pulse; at a synchrotron, where pulses come slower than the
    detector recovers, counts saturate otherwise. Also returns what was done, in words.

    Raises
    ------
    InputError
        When no column is named, a count is negative, or a detector is dead half of the time.
    """
    if raw.counts is None:
        return table, ""
    wanted = raw.counts.lower()
    at = [i for i, name in enumerate(table.names)
          if i != x and fnmatchcase(name.lower(), wanted)]
    require(at, f"{table.source}: no column fits --counts {raw.counts!r}: it has "
            f"{', '.join(table.names)}")
    columns, errors, largest = table.columns.copy(), list[Array](), 0.0
    dead = _dead_share(table, raw)
    for i in at:
        n = table.columns[i]
        require(not (n < 0).any(), f"{table.source}: {table.names[i]} is negative in places, so it "
                "is no count: leave it out of --counts")
        live = 1 - n * dead
        lost = float(np.nanmax(1 - live, initial=0.0))
        largest = max(largest, lost)
        require(lost < MOST_DEAD, f"{table.source}: with this --dead-time {table.names[i]} is dead "
                f"for {100 * lost:.0f} % of the time, where no correction holds: check the dead "
                "time and the unit of --count-time")
        columns[i] = n / live
        errors.append(np.sqrt(np.maximum(n, 1)) / live**2)
    names = tuple(f"{table.names[i]}_error" for i in at)
    said = f"; counts with errors of counting: {', '.join(table.names[i] for i in at)}"
    if raw.dead_time_ps is not None:
        said += f"; dead time corrected: up to {100 * largest:.2g} % of the time"
    return replace(table, names=table.names + names, units=table.units + ("",) * len(at),
                   columns=np.vstack([columns, *errors])), said


def _dead_share(table: Table, raw: Raw) -> Array | float:
    """Return the dead time over the counting time, for each row, or 0 for none."""
    if raw.dead_time_ps is None or raw.count_time is None:
        return 0.0
    name, colon, unit = raw.count_time.rpartition(":")
    column = table.find(name) if colon else None
    if column is None:
        try:
            time = parse_quantity(raw.count_time, "time")
        except InputError:
            raise InputError(f"{table.source}: --count-time {raw.count_time!r} is neither a time, "
                             "as 1s, nor a column with its unit, as Seconds:s") from None
        return raw.dead_time_ps / time if time > 0 else np.inf
    require(unit in UNITS["time"], f"--count-time {raw.count_time!r}: {unit!r} is no unit of time, "
            f"which are {', '.join(UNITS['time'])}")
    times = table.columns[column] * UNITS["time"][unit]
    require((times > 0).all(), f"{table.source}: the counting times in {name} are not all positive")
    return np.asarray(raw.dead_time_ps / times)


@dataclass(frozen=True)
class Chosen:
    """A spectrum of a table, with the columns whose name says its delay, and its companion."""

    signal: Signal
    named: tuple[int, ...]
    companion: Signal | None = None


def chosen(table: Table, x: int, signal: str | None, raw: Raw) -> list[Chosen]:
    """Return the spectra of a table, or their differences, with their companions.

    Raises
    ------
    InputError
        When on and off are not as many columns, or are the same.
    """
    is_counted = raw.counts is not None
    if raw.on is None or raw.of_scans(raw.on):
        found = [Chosen(one, one.columns) for one in choose(table, x, signal, is_counted)]
    else:
        require(signal is None, "--signal and --on are both given: the signal is on minus off")
        pumped, unpumped = (choose(table, x, said, is_counted) for said in (raw.on, raw.off))
        require(len(pumped) == len(unpumped), f"{table.source}: --on names {len(pumped)} columns, "
                f"--off {len(unpumped)}: they are paired in order, so give as many")
        found = [Chosen(_minus(table, a, b), a.columns, b)
                 for a, b in zip(pumped, unpumped, strict=True)]
    if raw.align_by is not None and not raw.of_scans(raw.align_by):
        references = choose(table, x, raw.align_by, is_counted)
        require(len(references) in (1, len(found)), f"{table.source}: --align-by names "
                f"{len(references)} columns for {len(found)} spectra: give one, or as many")
        references *= len(found) // len(references)
        found = [replace(one, companion=r) for one, r in zip(found, references, strict=True)]
    return found


def _minus(table: Table, on: Signal, off: Signal) -> Signal:
    require(on.columns != off.columns, f"{table.source}: --on and --off are the same column")
    error = None if on.error is None or off.error is None else np.hypot(on.error, off.error)
    return Signal(f"{on.name} minus {off.name}", on.values - off.values, error,
                  on.columns + off.columns)


def labelled(label: str, pattern: str) -> tuple[str, ...] | None:
    """Return what the wildcards of a pattern stand for in a label; None where it does not fit."""
    parts = re.split(r"([*?])", pattern.removeprefix(SCANS))
    expression = "".join({"*": "(.*)", "?": "(.)"}.get(part, re.escape(part)) for part in parts)
    match = re.fullmatch(expression, label.strip(), re.IGNORECASE)
    return match and match.groups()
