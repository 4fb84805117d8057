"""What a transient can be compared with: difference spectra, as numbers without their origin."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise, product
from typing import Any, Literal

import numpy as np

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import read_text
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra
from perovskite_polaron.units import ZERO_C_K

RIGID_SHIFT = "rigid edge shift"
SHIFT_STEP_EV = 0.01
#: Of a mixture's text, more plus signs than these are none between names.
MOST_SIGNS = 10
#: The kinds that come last in a mixture, in this order.
_LATE = {"carriers": 1, "screening": 2, "shift": 3}
#: What of a scenario's errors is no setting: what thermal motion makes of a difference at rest,
#: what another engine says of it, and (with a number) what the mean over snapshots leaves open.
THERMAL, ENGINE, SNAPSHOTS = "thermal average", "engine", "snapshots"

Kind = Literal["structure", "carriers", "screening", "shift", "measured", "heat"]


def error_name(row: str) -> str:
    """Return what a row of a scenario's errors is called: all rows of snapshots by one name."""
    return SNAPSHOTS if row.startswith(SNAPSHOTS) else row


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


@dataclass(frozen=True, eq=False)
class Scenario:
    """One explanation.

    Attributes
    ----------
    name : str
    energy_eV, difference : ndarray, shape (n,)
        Changed minus unchanged spectrum of a fully excited sample, so that its strength in a fit is
        the excited fraction; float64, read-only.
    sweep : AmplitudeSpectra or None
        The differences along a mode at its computed amplitudes, when it is one; difference is then
        that of the largest.
    kind : str
        ``structure`` (computed; strength positive), ``heat`` (the same of a heated lattice, whose
        sweep is over its temperature), ``carriers`` (states that they block and open,
        for 1e19 pairs per cm³; strength positive), ``screening`` (by them, per eV that it moves the
        edge up; strength positive), ``shift`` (of the edge, per eV; either sign) or
        ``measured`` (on the experiment's own energies, so that no calculated axis is placed or
        broadened).
    per_width : ndarray or None
        (amplitudes or 1, n): what the differences change per eV of width (FWHM), where a match
        knows it.
    errors : mapping of str to ndarray, shape (n,)
        What each setting of the calculation may still change of difference, 1σ with its sign over
        energy (``spectra.budget``), and what thermal motion (``THERMAL``) and another engine
        (``ENGINE``) do; empty where none was estimated.
    prior_sigma : float or None
        Of the strength, normal about zero, where something is known of it from elsewhere.
    """

    name: str
    energy_eV: Array
    difference: Array
    sweep: AmplitudeSpectra | None = None
    kind: Kind = "structure"
    per_width: Array | None = None
    errors: Mapping[str, Array] = field(default_factory=dict)
    prior_sigma: float | None = None

    def __post_init__(self) -> None:
        energy = floats(self.energy_eV, f"energy_eV of {self.name}", (None,))
        difference = floats(self.difference, f"difference of {self.name}", energy.shape)
        require(len(energy) > 1 and (np.diff(energy) > 0).all(),
                f"the energies of the scenario {self.name!r} do not increase: sort them first")
        require(difference.any(), f"the scenario {self.name!r} is zero everywhere: it explains "
                "nothing; leave it out")
        require(self.sweep is None or np.array_equal(self.sweep.differences[-1], difference),
                f"the scenario {self.name!r} must have the difference of its largest amplitude")
        rows = {name: floats(row, f"error of {self.name}", energy.shape)
                for name, row in self.errors.items()}
        freeze(self, energy_eV=energy, difference=difference)
        object.__setattr__(self, "errors", {n: row for n, row in rows.items() if row.any()})

    @property
    def amplitude_sqrt_amu_A(self) -> float | None:
        """The largest computed amplitude Q (Å·√amu) of a mode, or of a heated lattice the largest
        ΔT (K); else None.
        """
        return None if self.sweep is None else float(self.sweep.amplitudes_sqrt_amu_A[-1])

    @property
    def estimated(self) -> str:
        """What of the error of the calculation is known: ``estimated``, ``not estimated``, or where
        that of the settings is not, such as ``thermal average only``.
        """
        known = {error_name(row) for row in self.errors}
        if known - {SNAPSHOTS, THERMAL, ENGINE}:
            return "estimated"
        return f"{listed(sorted(known))} only" if known else "not estimated"

    @property
    def power(self) -> int:
        """The power of Q that the strength of a mode grows with: 2, or 1 where ±Q differ."""
        return 2 if self.sweep is None else self.sweep.power

    @property
    def is_swept(self) -> bool:
        """Whether several amplitudes were computed, so that Q can be searched for."""
        return self.sweep is not None and len(self.sweep.amplitudes_sqrt_amu_A) > 1


@dataclass(frozen=True, eq=False)
class ScenarioSet:
    """Scenarios with the spectrum that they change.

    Attributes
    ----------
    energy_eV, steady_state : ndarray, shape (n,)
    scenarios : tuple of Scenario
    normalisation : str
        What all of them were divided by, of the steady state; "" where it is not said.
    norm : float or None
        That number, in the unit of the calculation; None where it is not known.
    wider : tuple or None
        The same set with wider final states, and by how much (eV, FWHM): one standard error of the
        match that its widths are from.
    """

    energy_eV: Array
    steady_state: Array
    scenarios: tuple[Scenario, ...]
    normalisation: str = ""
    norm: float | None = None
    wider: "tuple[ScenarioSet, float] | None" = None

    @property
    def first_maximum_eV(self) -> float:
        """Energy of the first maximum of the steady state (for Br K the 1s-4p peak).

        It reaches at least half of the largest value.
        """
        y = self.steady_state
        peak = (y[1:-1] >= y[:-2]) & (y[1:-1] > y[2:]) & (y[1:-1] >= y.max() / 2)
        require(peak.any(), "the steady state has no maximum: its edge cannot be placed; say where "
                "its zero is")
        return float(self.energy_eV[1 + int(np.argmax(peak))])


def polaron(name: str, sweep: AmplitudeSpectra,
            errors: Mapping[str, Array] | None = None) -> Scenario:
    """Return the scenario of a displacement along a mode, up to its largest amplitude.

    errors: of the difference of that amplitude, as ``Scenario`` has them.
    """
    return Scenario(name, sweep.energy_eV, sweep.differences[-1], sweep, errors=errors or {})


def calculated_heat(sweep: AmplitudeSpectra, cold_K: float,
                    errors: Mapping[str, Array] | None = None) -> Scenario:
    """Return the scenario of a lattice heated from a temperature (K), up to the largest ΔT.

    With one temperature above it the strength alone is fitted: nothing says how the difference
    grows in between. errors: of the largest ΔT, as ``Scenario`` has them.
    """
    cold, hot = (t - ZERO_C_K for t in (cold_K, cold_K + sweep.amplitudes_sqrt_amu_A[-1]))
    name = f"calculated heated lattice (up to {hot:g} °C, from {cold:g} °C)"
    several = len(sweep.amplitudes_sqrt_amu_A) > 1
    return Scenario(name, sweep.energy_eV, sweep.differences[-1], sweep if several else None,
                    "heat", errors=errors or {})


def computed(found: ScenarioSet,
             also: Sequence[Callable[[ScenarioSet], Scenario]] = ()) -> tuple[Scenario, ...]:
    """Return the scenarios of a set, what is also made of it, and the rigid shift, with what a
    match says of their widths.
    """
    def every(of: ScenarioSet) -> tuple[Scenario, ...]:
        return *of.scenarios, *(make(of) for make in also), rigid_shift(of)

    own = every(found)
    if found.wider is None:
        return own
    wider, step_eV = found.wider
    return tuple(replace(s, per_width=(_curves(w) - _curves(s)) / step_eV)
                 for s, w in zip(own, every(wider), strict=True))


def _curves(scenario: Scenario) -> Array:
    """Return the differences (amplitudes or 1, n) of a scenario."""
    if scenario.sweep is None or not scenario.is_swept:
        return scenario.difference[None]
    return scenario.sweep.differences


def rigid_shift(found: ScenarioSet) -> Scenario:
    """Return the steady state moved up by a small step minus itself, per eV.

    Its strength is excited fraction × shift (eV); a negative one is a shift to lower energies. For
    shifts small against the width of the edge the data fix only that product.
    """
    e, y = found.energy_eV, found.steady_state
    change = (np.interp(e - SHIFT_STEP_EV, e, y) - y) / SHIFT_STEP_EV
    return Scenario(RIGID_SHIFT, e, change, kind="shift")


def heated_lattice(scans: Sequence[Scan]) -> tuple[Scenario, ...]:
    """Return each spectrum of a temperature series minus the coldest; strength 1 is that heating.

    Their own noise is not part of the fit: average the series well. Raises InputError when a
    temperature is missing or occurs twice, or the coldest does not span the others.
    """
    rows = {s.temperature_C: s for s in scans if s.temperature_C is not None}
    require(len(scans) > 1 and all(s.temperature_C is not None for s in scans), "a heated lattice "
            "needs two or more spectra that each say their temperature, as in br_60C.csv")
    require(len(rows) == len(scans), "two spectra of the temperature series have one temperature: "
            "combine them first")
    (cold_C, cold), *hotter = sorted(rows.items(), key=lambda row: row[0])
    found = []
    for hot_C, hot in hotter:
        e, c = hot.energy_eV, cold.energy_eV
        require(c[0] - 1e-6 <= e[0] and e[-1] <= c[-1] + 1e-6, f"{hot.name}: the coldest spectrum, "
                f"{cold.name}, spans {c[0]:g} to {c[-1]:g} eV only")
        found.append(Scenario(f"heated lattice ({hot_C:g} minus {cold_C:g} °C)", e,
                              hot.intensity - np.interp(e, c, cold.intensity), kind="measured"))
    return tuple(found)


def mixtures(scenarios: Sequence[Scenario], asked: Sequence[str] = (),
             shifted: bool = True) -> tuple[tuple[Scenario, ...], ...]:
    """Return the hypotheses: every scenario alone, and what acts together.

    A change of structure does not come without carriers, so where what they fill is among the
    scenarios each other one is also joined with it, and with it and screening.

    Parameters
    ----------
    scenarios : sequence of Scenario
    asked : sequence of str
        Two names or more as ``lo+cubic``; a name is a scenario's own, that without ``polaron``, or
        a part of it, and one that fits several gives a mixture with each. Where carriers are among
        the scenarios, a mixture without them is also joined with them.
    shifted : bool
        Whether each is also paired with the rigid shift, if there is one.

    Raises
    ------
    InputError
        For a name that fits none, or a scenario with itself.
    """
    shifts = [s for s in scenarios if s.kind == "shift"] if shifted else []
    carriers: list[tuple[Scenario, ...]] = [(s,) for s in scenarios if s.kind == "carriers"]
    carriers += [(*c, s) for c in carriers for s in scenarios if s.kind == "screening"]
    changes = [s for s in scenarios if s.kind not in _LATE]
    found = [*((s,) for s in scenarios), *carriers, *((s, *c) for s in changes for c in carriers)]
    together = [parts for text in asked for parts in named(text, scenarios)]
    structural = [parts for parts in together if parts[-1] in changes]
    found += together
    found += [(*parts, shift) for parts in (*((s,) for s in changes), *carriers)
              for shift in shifts]
    found += [(*parts, *c) for parts in structural for c in carriers]
    found += [(*parts, *c, shift) for parts in (*((s,) for s in changes), *structural)
              for c in carriers for shift in shifts]
    return tuple(dict.fromkeys(found))


def named(text: str, scenarios: Sequence[Scenario]) -> list[tuple[Scenario, ...]]:
    """Return the mixtures that a text such as ``lo+cubic`` or ``lo+heated+filling`` means.

    A swept mode leads, for the first part is the one whose amplitude is searched for; carriers,
    screening and an edge shift come last. Raises InputError as ``mixtures``.
    """
    # A plus sign may also stand in a name: as few as possible stand between names.
    signs = [i for i, letter in enumerate(text) if letter == "+"][:MOST_SIGNS]
    found: list[tuple[Scenario, ...]] = []
    for count in range(1, len(signs) + 1):
        for chosen in combinations(signs, count):
            ends = [-1, *chosen, len(text)]
            pieces = [_called(text[a + 1 : b], scenarios) for a, b in pairwise(ends)]
            found += [tuple(sorted(one, key=_late)) for one in product(*pieces)
                      if len({*map(id, one)}) == len(one)]
        if found:
            break
    require(found, f"the mixture {text!r} does not name two different scenarios: write it as"
            f" A+B, from {', '.join(repr(s.name) for s in scenarios)}")
    return list(dict.fromkeys(found))


def matching(text: str, scenarios: Sequence[Scenario]) -> list[tuple[Scenario, ...]]:
    """Return the scenarios, each alone, or the mixtures that a text means as ``named`` says."""
    alone: list[tuple[Scenario, ...]] = [(one,) for one in _called(text, scenarios)]
    return alone or named(text, scenarios)


def _late(scenario: Scenario) -> tuple[int, bool]:
    return _LATE.get(scenario.kind, 0), scenario.sweep is None


def _called(text: str, scenarios: Sequence[Scenario]) -> list[Scenario]:
    wanted = text.strip().casefold()
    names = {s.name.casefold(): s for s in scenarios}
    exact = [s for name, s in names.items() if wanted in (name, name.removeprefix("polaron "))]
    return exact or [s for name, s in names.items() if wanted and wanted in name]


def read_scenarios(path: str | os.PathLike[str]) -> ScenarioSet:
    """Read a scenario file: JSON with ``energy_eV``, ``steady_state`` and ``scenarios``.

    Each scenario has ``name`` and ``difference``, or for an odd mode ``amplitudes_sqrt_amu_A`` and
    ``differences``, one for each amplitude. Raises InputError, naming the file, for anything
    missing or of the wrong kind.
    """
    try:
        content = json.loads(read_text(path, "scenario file (JSON)"))
        energy = floats(content["energy_eV"], "energy_eV", (None,))
        steady_state = floats(content["steady_state"], "steady_state", energy.shape)
        scenarios = tuple(_scenario(row, energy) for row in content["scenarios"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is no scenario file ({type(error).__name__}: {error}): it needs "
                         "energy_eV, steady_state, scenarios") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return ScenarioSet(energy, steady_state, scenarios, str(content.get("normalisation", "")))


def _scenario(row: dict[str, Any], energy: Array) -> Scenario:
    amplitudes = row.get("amplitudes_sqrt_amu_A")
    if amplitudes is None:
        return Scenario(str(row["name"]), energy, row["difference"])
    return polaron(str(row["name"]), AmplitudeSpectra(energy, amplitudes, row["differences"]))
