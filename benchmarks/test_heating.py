"""The draws of one `polaron heat`, and of fifty, against plain NumPy."""

import numpy as np
import pytest
from reference import heating as plain

from perovskite_polaron.kernels import heating

UNCERTAIN = {"fluence_mJ_cm2": (8.8, 1.0), "absorption_per_cm": (40.0, 10.0),
             "thickness_A": (2e6, 4e5), "concentration_mg_mL": (5.8, 0.3), "size_A": (100.0, 20.0)}
TABLE = heating.tabulated(np.linspace(200, 600, 60), 115 + 9 * np.sin(np.linspace(0, 4, 60)),
                          [(323.15, 332.15, 300.0), (381.15, 390.15, 200.0)])
MASS, VOLUME = 579.82, 793.13 / 4


@pytest.mark.parametrize("side", ["polaron", "polaron, two threads", "plain NumPy"])
@pytest.mark.parametrize("count", [20_000, 1_000_000])
def test_monte_carlo(benchmark, monkeypatch, side, count):
    benchmark.group = f"heating Monte Carlo, {count:,} draws".replace(",", " ")
    benchmark.extra_info["side"] = side
    draws = heating.draw(UNCERTAIN, count, seed=1)
    inputs = [draws[name] * (1e-8 if name == "thickness_A" else 1.0) for name in UNCERTAIN]

    def kernel():
        return heating.heat(**draws, molar_mass_g_mol=MASS, formula_volume_A3=VOLUME,
                            photon_energy_eV=3.49, heat_fraction=1.0, start_K=298.15, table=TABLE)

    def numpy():
        return plain.heat(*inputs, MASS * heating.EV_PER_J_MOL, 1.0, 1 / (VOLUME * 3.49),
                          TABLE.knots, 298.15, TABLE.enthalpy_eV(298.15))

    if side == "plain NumPy":
        benchmark.extra_info["required"] = 8
        benchmark.pedantic(numpy, rounds=15)
        return
    monkeypatch.setenv("POLARON_THREADS", "2" if "two" in side else "1")
    rise, _ = benchmark.pedantic(kernel, rounds=150, warmup_rounds=1)
    benchmark.extra_info["deviation"] = float(np.abs(rise / numpy()[0] - 1).max())
