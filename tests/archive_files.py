"""Files of an article's archive as the beamline and the article's authors document their layout.

The real archive cannot be fetched by a test. These files have the columns that its beamline writes
(``mda2ascii`` with laser-on and laser-off columns side by side), and those that authors put beside
figures; the curves are the bundled calculation and the published lifetimes, with noise.
"""

import numpy as np

from perovskite_polaron.analysis.steady_curve import SteadyCurve
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.published_cspbbr3 import PUMP_PROBE
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import load_results
from perovskite_polaron.workflow.steady_state import reference_curve

ZERO_EV = 13465.6
#: Of the transient at 100 ps: what part of the crystal moved, how far.
FRACTION, AMPLITUDE_SQRT_AMU_A = 0.12, 2.18
LIFETIMES_PS = np.array([t for t, _ in PUMP_PROBE.lifetimes_ps])
DELAYS = {"100ps": 1.0, "10.1ns": 0.43}
MDA = """## mda2ascii 1.2.2 generated output


# MDA File Version = 1.3
# Scan number = {run}

# 1-D Scan
# Points completed = {n} of {n}
# Scanner = 7idb:scan1
# Scan time = JUN 20, 2017 10:11:12.345

#  Column Descriptions:
#    1  [     Index      ]
#    2  [1-D Positioner 1]  7idb:E:EnergyC2.VAL, , TABLE, keV, 7idb:E:EnergyRBV, , keV
#    3  [1-D Detector   1]  7idb:userCalc12.VAL, BoxcarON (3s),
#    4  [1-D Detector   2]  7idb:userCalc13.VAL, BoxcarOFF (3s),

# 1-D Scan Values
"""


def steady_state(energy_eV):
    """Return the calculated steady state, its last fifth at 1."""
    results, settings, _ = load_results(BUILT_IN)
    truth = {"e0_eV": ZERO_EV, "stretch": 0.0, "resolution_fwhm_eV": settings.resolution_fwhm_eV,
             "core_hole_hwhm_eV": settings.core_hole_hwhm_eV}
    y = SteadyCurve.of(reference_curve(results, settings), "constant", truth).at(energy_eV)
    return y / y[-len(y) // 5:].mean()


def transient(energy_eV):
    """Return the change of a crystal that moved along the built-in mode, on the same scale."""
    results, settings, _ = load_results(BUILT_IN)
    theory = study_scenarios(results, settings)
    x = theory.energy_eV + ZERO_EV
    steady = np.interp(energy_eV, x, theory.steady_state)
    change = np.interp(energy_eV, x, theory.scenarios[0].sweep.at(AMPLITUDE_SQRT_AMU_A))
    return change / steady[-len(energy_eV) // 5:].mean()


def write_archive(folder, seed=1):
    """Write the archive into a folder that is there; return the folder."""
    rng = np.random.default_rng(seed)
    for name in ("Fig2/raw", "Fig3", "Fig4"):
        (folder / name).mkdir(parents=True)
    (folder / "README.txt").write_text("Raw data to reproduce the results and the figures.\n")
    (folder / "Fig2" / "plot.py").write_text("print()\n")
    (folder / "Fig2" / "figure.png").write_bytes(b"\x89PNG\r\n")
    (folder / "Fig4" / "origin.opj").write_bytes(b"CPYA 4.2673\n")
    energy = np.arange(13456.0, 13524.1, 0.5)
    off, change = steady_state(energy), transient(energy)
    np.savetxt(folder / "Fig2" / "Br_K_steady_state.txt", np.column_stack(
        [energy / 1e3, off + 0.003 * rng.normal(size=len(energy)), np.full(len(energy), 0.003)]),
        "%.7g", header="energy (keV)\tmu\tmu_error")
    for delay, share in DELAYS.items():
        for run in range(1, 7):
            on = off + share * FRACTION * change
            rows = [y * (1 + 5e-5 * rng.normal(size=len(y))) for y in (on, off)]
            body = "\n".join(f"{i} {e / 1e3:.6f} {a:.8g} {b:.8g}" for i, (e, a, b) in enumerate(
                zip(energy, *rows, strict=True), start=1))
            path = folder / "Fig2" / "raw" / f"BrK_laser_{delay}_{run:04d}.asc"
            path.write_text(MDA.format(run=run, n=len(energy)) + body + "\n")
    # The heated sample: another shape, so another C.
    for hot in (25, 35, 60, 90, 140):
        y = off + 1e-4 * (hot - 25) * np.gradient(off, energy) * 3
        np.savetxt(folder / "Fig3" / f"BrK_temperature_{hot}C.dat", np.column_stack(
            [energy, y + 2e-5 * rng.normal(size=len(y)), np.full(len(y), 2e-5)]), "%.9g",
            header="energy mu mu_error")
    delay = np.r_[-300:600:20.0, np.geomspace(600, 20000, 30)]
    basis = exponential_gaussian(delay, [*LIFETIMES_PS, np.inf], PUMP_PROBE.irf_sigma_ps)
    clean = basis @ [*PUMP_PROBE.fractions, PUMP_PROBE.offset]
    columns = [delay]
    for size in (-1.0, -0.6):
        columns += [size * clean + 0.01 * rng.normal(size=len(delay)), np.full(len(delay), 0.01)]
    np.savetxt(folder / "Fig2" / "kinetics.csv", np.column_stack(columns), "%.6g", ",",
               header="delay_ps,Br_13.472keV,Br_13.472keV_error,Pb_13.043keV,Pb_13.043keV_error",
               comments="")
    np.savetxt(folder / "Fig4" / "xspectra_polaron.dat", np.column_stack([energy, off]), "%.8g")
    return folder
