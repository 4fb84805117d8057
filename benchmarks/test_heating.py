"""A million draws of the temperature rise, against the NumPy twin."""

import numpy as np
import pytest
from twins import heating as twin

from perovskite_polaron.kernels import heating

UNCERTAIN = {"fluence_mJ_cm2": (8.8, 1.0), "absorption_per_cm": (40.0, 10.0),
             "thickness_A": (2e6, 4e5), "concentration_mg_mL": (5.8, 0.3), "size_A": (100.0, 20.0)}
TABLE = heating.tabulated(np.linspace(200, 600, 60), 115 + 9 * np.sin(np.linspace(0, 4, 60)),
                          [(323.15, 332.15, 300.0), (381.15, 390.15, 200.0)])
MASS, VOLUME = 579.82, 793.13 / 4


@pytest.mark.parametrize("side", ["polaron", "polaron, two threads", "polaron, into new memory",
                                  "polaron, concentration drawn too", "NumPy twin"])
@pytest.mark.benchmark(group="heating Monte Carlo, 1 000 000 draws of fluence, thickness,"
                       " absorption, size")
def test_monte_carlo(benchmark, side):
    draws = heating.draw(UNCERTAIN, 1_000_000, seed=1)
    if "concentration" not in side:
        draws["concentration_mg_mL"] = 5.8
    out = None if "new memory" in side else np.zeros((2, 1_000_000))
    benchmark.extra_info["side"] = side

    def kernel(threads):
        return heating.heat(**draws, molar_mass_g_mol=MASS, formula_volume_A3=VOLUME,
                            photon_energy_eV=3.49, heat_fraction=1.0, start_K=298.15, table=TABLE,
                            threads=threads, out=out)

    inputs = [draws[name] * (1e-8 if name == "thickness_A" else 1.0) for name in UNCERTAIN]

    def plain():
        return twin.heat(*inputs, MASS * heating.EV_PER_J_MOL, 1.0, 1 / (VOLUME * 3.49),
                         TABLE.knots, 298.15, TABLE.enthalpy_eV(298.15))

    if side == "NumPy twin":
        benchmark.extra_info["required"] = 20
        benchmark.pedantic(plain, rounds=15)
        return
    rise, _ = benchmark.pedantic(kernel, (2 if "two" in side else 1,), rounds=150, warmup_rounds=1)
    benchmark.extra_info["deviation"] = float(np.abs(rise / plain()[0] - 1).max())
