"""What a transient can be compared with: difference spectra of explanations, as numbers without their origin."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.kernels._core import floats

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scenario:
    """One explanation. energy_eV (n,) and difference (n,), float64, read-only: changed minus unchanged spectrum.

    difference is that of a fully excited sample, so that its strength in a fit is the excited fraction. even_amplitude:
    the amplitude Q (Å·√amu) of the odd mode it was computed at, when there is one: the difference is then ∝ Q² for
    small Q, and the data fix f·Q² alone.
    """

    name: str
    energy_eV: Array
    difference: Array
    even_amplitude_sqrt_amu_A: float | None = None

    def __post_init__(self) -> None:
        energy = floats(self.energy_eV, f"energy_eV of {self.name}", (None,)).copy()
        difference = floats(self.difference, f"difference of {self.name}", energy.shape).copy()
        if len(energy) < 2 or (np.diff(energy) <= 0).any():
            raise InputError(f"the energies of the scenario {self.name!r} do not increase: sort them first")
        if not difference.any():
            raise InputError(f"the scenario {self.name!r} is zero everywhere: it explains nothing; leave it out")
        amplitude = self.even_amplitude_sqrt_amu_A
        if amplitude is not None and not 0 < amplitude < np.inf:
            raise InputError(f"the amplitude of the scenario {self.name!r} must be positive")
        for name, array in (("energy_eV", energy), ("difference", difference)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)


@dataclass(frozen=True, eq=False)
class ScenarioSet:
    """Scenarios with the steady-state spectrum (energy_eV and intensity of shape (n,)) that they change."""

    energy_eV: Array
    steady_state: Array
    scenarios: tuple[Scenario, ...]


def with_rigid_shift(found: ScenarioSet, shift_eV: float = 0.01) -> ScenarioSet:
    """Add the rigid edge shift: the steady-state spectrum moved up by shift_eV minus itself, per fully excited sample.

    For small shifts the data fix fraction × shift alone.
    """
    e, y = found.energy_eV, found.steady_state
    moved = Scenario("rigid edge shift", e, np.interp(e - shift_eV, e, y) - y)
    return ScenarioSet(e, y, (*found.scenarios, moved))


def read_scenarios(path: str | os.PathLike[str]) -> ScenarioSet:
    """Read a scenario file: JSON with ``energy_eV``, ``steady_state`` and ``scenarios`` (name, difference, amplitude).

    Raises InputError, naming the file, for anything missing or of the wrong kind.
    """
    try:
        content = json.loads(read_text(path, "scenario file (JSON)"))
        energy = floats(content["energy_eV"], "energy_eV", (None,))
        scenarios = tuple(
            Scenario(str(s["name"]), energy, s["difference"], s.get("even_amplitude_sqrt_amu_A"))
            for s in content["scenarios"]
        )
        return ScenarioSet(energy, floats(content["steady_state"], "steady_state", energy.shape), scenarios)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} is no scenario file ({type(error).__name__}: {error}): it needs energy_eV, steady_state, scenarios"
        ) from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def write_scenarios(path: str | os.PathLike[str], found: ScenarioSet) -> Path:
    """Write a scenario file; all scenarios must share the energies of the steady state."""
    rows: Sequence[dict[str, object]] = [
        {"name": s.name, "difference": s.difference.tolist(), "even_amplitude_sqrt_amu_A": s.even_amplitude_sqrt_amu_A}
        for s in found.scenarios
    ]
    return write_atomically(
        path,
        json.dumps(
            {"energy_eV": found.energy_eV.tolist(), "steady_state": found.steady_state.tolist(), "scenarios": rows}
        ),
    )
