"""Figure of the heating estimate: what each input's uncertainty does to the rise, and how the crystal cools."""

from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.heating import CUBIC_C, TETRAGONAL_C, Heating
from perovskite_polaron.report.sweep_figure import panels, save


def write_heating_figure(result: Heating, cooling_ps: float, path: Path) -> Path:
    """Draw a tornado chart (left) and the cooling curve with the transitions' intervals (right); .png or .svg."""
    return save(draw_heating(result, cooling_ps), path)


def draw_heating(result: Heating, cooling_ps: float, *, stacked: bool = False) -> Any:
    """Return the matplotlib figure of write_heating_figure, its panels side by side or stacked for a narrow page."""
    figure, (left, right) = panels(2, (4.2, 3.6), (4.8, 3.0), stacked)
    for i, (_, low, high) in enumerate(reversed(result.tornado)):
        left.barh(i, high - result.delta_T_K, left=result.delta_T_K, color="#D55E00", height=0.6)
        left.barh(i, low - result.delta_T_K, left=result.delta_T_K, color="#0072B2", height=0.6)
    left.plot([], [], color="#D55E00", lw=6, label="input one σ higher")
    left.plot([], [], color="#0072B2", lw=6, label="input one σ lower")
    left.set_yticks(range(len(result.tornado)), [name.replace("_", " ") for name, *_ in reversed(result.tornado)])
    left.axvline(result.delta_T_K, color="0.3", lw=0.8)
    left.set_xlabel("upper limit of the rise (K)")
    left.legend(frameon=False, fontsize=9, loc="lower right")
    time = np.linspace(0, 5 * cooling_ps, 300)
    right.plot(time, result.temperature_C(time, cooling_ps), color="0.1")
    for (low, high), name in ((TETRAGONAL_C, "to tetragonal"), (CUBIC_C, "to cubic")):
        right.axhspan(low, high, color="#56B4E9", alpha=0.35, lw=0)
        right.text(time[-1], (low + high) / 2, f"transition {name} ", ha="right", va="center", fontsize=9)
    right.set_xlim(0, time[-1])
    right.set_xlabel("time after the pulse (ps)")
    right.set_ylabel("temperature (°C)")
    return figure
