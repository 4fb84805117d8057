"""Fit a synthetic delay × energy map with another program, and keep map and result as JSON.

``python tests/reference_map.py`` in an environment with lmfit (the package is not needed) writes
``tests/data/map-lmfit.json``, which ``test_map_fit.py`` holds the fit of maps against. Two shapes
that are Gaussians over energy, moved together, each with its own decay through a Gaussian response,
and an offset; also both with one time law. lmfit has every amplitude for a parameter, the closed
forms, numerical derivatives, and the prior of the shift as one more residual.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

OUT = Path(__file__).parent / "data" / "map-lmfit.json"
SHAPES = ((-3.0, 1.5), (1.0, 4.0))  # centre and sigma of the two, eV
SIGMA_PS, SHIFT_SIGMA_EV, ERROR = 40.0, 0.1, 0.02
ENERGY = np.arange(-10.0, 12.0, 0.5)
DELAY = np.r_[np.arange(-150.0, 300.0, 30.0), np.geomspace(330.0, 8e3, 12)]
TRUTH = {"tau0": 400.0, "tau1": 650.0, "shift": 0.07, "a0": 1.0, "c0": 0.1, "a1": 0.4, "c1": -0.1}


def model(p, one_law):
    from scipy.special import erf, erfc

    t, s = DELAY, SIGMA_PS
    rows = []
    for i, (centre, width) in enumerate(SHAPES):
        tau = p["tau0"] if one_law else p[f"tau{i}"]
        decay = np.exp(s**2 / 2 / tau**2 - t / tau) * erfc((s / tau - t / s) / np.sqrt(2)) / 2
        share = p["c0"] / p["a0"] * p["a1"] if one_law and i else p[f"c{i}"]
        law = p[f"a{i}"] * decay + share * (1 + erf(t / s / np.sqrt(2))) / 2
        shape = np.exp(-((ENERGY - centre - p["shift"]) ** 2) / 2 / width**2)
        rows.append(np.outer(law, shape))
    return sum(rows)


def fit(signal, one_law):
    import lmfit

    parameters = lmfit.Parameters()
    for name, value in TRUTH.items():
        if not (one_law and name in ("tau1", "c1")):
            parameters.add(name, value * 1.1)

    def residual(p):
        values = p.valuesdict()
        return np.r_[((model(values, one_law) - signal) / ERROR).ravel(),
                     values["shift"] / SHIFT_SIGMA_EV]

    found = lmfit.minimize(residual, parameters, method="leastsq", xtol=1e-12, ftol=1e-12,
                           scale_covar=False, max_nfev=100_000)
    names = list(found.var_names)
    return {"chi2": float(found.chisqr), "values": {n: found.params[n].value for n in names},
            "errors": {n: found.params[n].stderr for n in names}, "names": names,
            "covariance": found.covar.tolist()}


if __name__ == "__main__":
    rng = np.random.default_rng(5)
    signal = model(TRUTH, False) + ERROR * rng.normal(size=(len(DELAY), len(ENERGY)))
    signal = signal.round(5)
    record = {"version": version("lmfit"), "energy_eV": ENERGY.tolist(),
              "delay_ps": DELAY.tolist(), "signal": signal.tolist(),
              "own": fit(signal, False), "one": fit(signal, True)}
    OUT.write_text(json.dumps(record) + "\n")
    print({k: v for k, v in record["own"].items() if k != "covariance"}, record["one"]["chi2"])
