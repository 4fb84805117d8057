"""What a transient can be compared with: difference spectra of explanations, as numbers without their origin."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import floats
from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra

Array = NDArray[np.float64]
RIGID_SHIFT = "rigid edge shift"
Kind = Literal["structure", "shift", "measured"]


@dataclass(frozen=True, eq=False)
class Scenario:
    """One explanation. energy_eV (n,) and difference (n,), float64, read-only: changed minus unchanged spectrum.

    difference is that of a fully excited sample, so that its strength in a fit is the excited fraction.
    sweep: the differences of an odd mode at its computed amplitudes, when it is one; difference is then that of the
    largest. kind: ``structure`` (computed; strength positive), ``shift`` (of the edge, per eV; either sign) or
    ``measured`` (on the experiment's own energies, so that no calculated axis is placed or broadened).
    """

    name: str
    energy_eV: Array
    difference: Array
    sweep: AmplitudeSpectra | None = None
    kind: Kind = "structure"

    def __post_init__(self) -> None:
        energy = floats(self.energy_eV, f"energy_eV of {self.name}", (None,)).copy()
        difference = floats(self.difference, f"difference of {self.name}", energy.shape).copy()
        if len(energy) < 2 or (np.diff(energy) <= 0).any():
            raise InputError(f"the energies of the scenario {self.name!r} do not increase: sort them first")
        if not difference.any():
            raise InputError(f"the scenario {self.name!r} is zero everywhere: it explains nothing; leave it out")
        if self.sweep is not None and not np.array_equal(self.sweep.differences[-1], difference):
            raise InputError(f"the scenario {self.name!r} must have the difference of its largest amplitude")
        for name, array in (("energy_eV", energy), ("difference", difference)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def amplitude_sqrt_amu_A(self) -> float | None:
        """The largest computed amplitude Q (Å·√amu) of the odd mode, which ``difference`` belongs to; else None."""
        return None if self.sweep is None else float(self.sweep.amplitudes_sqrt_amu_A[-1])


@dataclass(frozen=True, eq=False)
class ScenarioSet:
    """Scenarios with the steady-state spectrum (energy_eV and intensity of shape (n,)) that they change."""

    energy_eV: Array
    steady_state: Array
    scenarios: tuple[Scenario, ...]

    @property
    def first_maximum_eV(self) -> float:
        """Energy of the first maximum of the steady state that reaches half of its largest value (for Br K the 1s-4p peak)."""
        y = self.steady_state
        peak = (y[1:-1] >= y[:-2]) & (y[1:-1] > y[2:]) & (y[1:-1] >= y.max() / 2)
        if not peak.any():
            raise InputError("the steady state has no maximum: its edge cannot be placed; say where its zero is")
        return float(self.energy_eV[1 + int(np.argmax(peak))])


def polaron(name: str, sweep: AmplitudeSpectra) -> Scenario:
    """Return the scenario of a displacement along an odd mode, of any amplitude up to the largest computed."""
    return Scenario(name, sweep.energy_eV, sweep.differences[-1], sweep)


def rigid_shift(found: ScenarioSet, step_eV: float = 0.01) -> Scenario:
    """The steady state moved up by a small step minus itself, per eV: its strength is excited fraction × shift (eV).

    A negative strength is a shift to lower energies. For shifts small against the width of the edge the data fix only
    that product.
    """
    e, y = found.energy_eV, found.steady_state
    return Scenario(RIGID_SHIFT, e, (np.interp(e - step_eV, e, y) - y) / step_eV, kind="shift")


def heated_lattice(scans: Sequence[Scan]) -> tuple[Scenario, ...]:
    """Return each spectrum of a temperature series minus the coldest, as scenarios; strength 1 is that heating.

    Their own noise is not part of the fit: average the series well. Raises InputError when a temperature is missing or
    occurs twice, or the coldest does not span the others.
    """
    if len(scans) < 2 or any(s.temperature_C is None for s in scans):
        raise InputError("a heated lattice needs two or more spectra that each say their temperature, as in br_60C.csv")
    if len({s.temperature_C for s in scans}) < len(scans):
        raise InputError("two spectra of the temperature series have one temperature: combine them first")
    rows = sorted((float(s.temperature_C), s) for s in scans if s.temperature_C is not None)
    coldest_C, coldest = rows[0]
    found = []
    for temperature_C, scan in rows[1:]:
        e, c = scan.energy_eV, coldest.energy_eV
        if e[0] < c[0] - 1e-6 or e[-1] > c[-1] + 1e-6:
            raise InputError(f"{scan.name}: the coldest spectrum, {coldest.name}, spans {c[0]:g} to {c[-1]:g} eV only")
        change = scan.intensity - np.interp(e, c, coldest.intensity)
        found.append(Scenario(f"heated lattice ({temperature_C:g} minus {coldest_C:g} °C)", e, change, kind="measured"))
    return tuple(found)


def mixtures(
    scenarios: Sequence[Scenario], asked: Sequence[str] = (), shifted: bool = True
) -> tuple[tuple[Scenario, ...], ...]:
    """Return the hypotheses: every scenario alone; if ``shifted``, with each the rigid shift, if there is one; the pairs asked for.

    asked: pairs of names as ``lo+cubic``; a name is a scenario's own, that without ``polaron``, or a part of it, and one that
    fits several gives a pair with each. InputError for a name that fits none, or a scenario with itself.
    """
    shifts = [s for s in scenarios if s.kind == "shift"] if shifted else []
    pairs = [(s, shift) for s in scenarios if s.kind != "shift" for shift in shifts]
    for text in asked:
        pairs += [pair for pair in _pairs(text, scenarios) if pair not in pairs]
    return (*((s,) for s in scenarios), *pairs)


def _pairs(text: str, scenarios: Sequence[Scenario]) -> list[tuple[Scenario, Scenario]]:
    """The pairs that a text such as ``lo+cubic`` means."""
    # A plus sign may also stand in a name.
    halves = [(text[:i], text[i + 1 :]) for i, letter in enumerate(text) if letter == "+"]
    found = [
        (one, other)
        for left, right in halves
        for one in _called(left, scenarios)
        for other in _called(right, scenarios)
        if one is not other
    ]
    if not found:
        raise InputError(
            f"the mixture {text!r} does not name two different scenarios: write it as A+B, from "
            + ", ".join(repr(s.name) for s in scenarios)
        )
    # A swept mode leads, for the first part is the one whose amplitude is searched for; an edge shift comes last.
    return [tuple(sorted(pair, key=lambda s: (s.kind == "shift", s.sweep is None))) for pair in found]  # type: ignore[misc]


def _called(text: str, scenarios: Sequence[Scenario]) -> list[Scenario]:
    wanted = text.strip().casefold()
    names = [s.name.casefold() for s in scenarios]
    exact = [s for s, name in zip(scenarios, names, strict=True) if wanted in (name, name.removeprefix("polaron "))]
    return exact or [s for s, name in zip(scenarios, names, strict=True) if wanted and wanted in name]


def read_scenarios(path: str | os.PathLike[str]) -> ScenarioSet:
    """Read a scenario file: JSON with ``energy_eV``, ``steady_state`` and ``scenarios``.

    Each scenario has ``name`` and ``difference``, or for an odd mode ``amplitudes_sqrt_amu_A`` and ``differences``, one
    for each amplitude. Raises InputError, naming the file, for anything missing or of the wrong kind.
    """
    try:
        content = json.loads(read_text(path, "scenario file (JSON)"))
        energy = floats(content["energy_eV"], "energy_eV", (None,))
        return ScenarioSet(
            energy,
            floats(content["steady_state"], "steady_state", energy.shape),
            tuple(_scenario(row, energy) for row in content["scenarios"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} is no scenario file ({type(error).__name__}: {error}): it needs energy_eV, steady_state, scenarios"
        ) from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _scenario(row: dict[str, Any], energy: Array) -> Scenario:
    if "amplitudes_sqrt_amu_A" in row:
        return polaron(str(row["name"]), AmplitudeSpectra(energy, row["amplitudes_sqrt_amu_A"], row["differences"]))
    return Scenario(str(row["name"]), energy, row["difference"])


def write_scenarios(path: str | os.PathLike[str], found: ScenarioSet) -> Path:
    """Write a scenario file; all scenarios must share the energies of the steady state."""
    rows: list[dict[str, object]] = [
        {"name": s.name, "difference": s.difference.tolist()}
        if s.sweep is None
        else {
            "name": s.name,
            "amplitudes_sqrt_amu_A": s.sweep.amplitudes_sqrt_amu_A.tolist(),
            "differences": s.sweep.differences.tolist(),
        }
        for s in found.scenarios
    ]
    content = {"energy_eV": found.energy_eV.tolist(), "steady_state": found.steady_state.tolist(), "scenarios": rows}
    return write_atomically(path, json.dumps(content))
