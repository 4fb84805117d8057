"""Fit a measured optical trace with two other programs, and keep what they find as JSON.

``python tests/reference_kinetics.py`` in an environment with lmfit and pyglotaran (the package is
not needed) writes ``tests/data/measured/hippius-kinetics.json``, which ``test_kinetics.py`` holds
``polaron kinetics`` against. Both fit two decays with shared lifetimes, convolved with a Gaussian
whose width and centre are free, and a constant, to all three traces, with equal weights: lmfit the
closed form with every amplitude a parameter, pyglotaran its own model with its own elimination of
the amplitudes.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "data" / "measured"
START = {"tau1": 2.0, "tau2": 30.0, "sigma": 0.058, "t0": 1.2}
MODEL = """
default_megacomplex: decay
dataset:
  traces:
    megacomplex: [decays, constant]
    initial_concentration: alike
    irf: response
initial_concentration:
  alike:
    compartments: [one, two]
    parameters: [one.1, one.1]
megacomplex:
  decays:
    k_matrix: [rates]
  constant:
    type: baseline
    dimension: time
k_matrix:
  rates:
    matrix:
      (one, one): rates.1
      (two, two): rates.2
irf:
  response:
    type: gaussian
    center: irf.center
    width: irf.width
"""
PARAMETERS = """
one:
  - ["1", 1, {{vary: false}}]
rates:
  - ["1", {rate1}]
  - ["2", {rate2}]
irf:
  - ["center", {t0}]
  - ["width", {sigma}]
"""


def data():
    """Return delays (ps) and the three traces, (n,) and (n, 3)."""
    table = np.loadtxt(FOLDER / "hippius_2007_579nm.csv", delimiter=",", skiprows=1)
    return table[:, 0], table[:, 1:]


def with_lmfit():
    """Return lifetimes, width, centre and the residual sum of squares."""
    import lmfit
    from scipy.special import erfc

    delay, traces = data()
    parameters = lmfit.Parameters()
    for name, value in START.items():
        parameters.add(name, value, min=1e-3)
    for k in range(traces.shape[1]):
        for name, value in (("a", -0.005), ("b", -0.01), ("c", 0.0)):
            parameters.add(f"{name}{k}", value)

    def residual(p):
        t, s = delay - p["t0"].value, p["sigma"].value
        # A Gaussian times an exponential, integrated: written here, not taken from anywhere.
        decays = [np.exp(s**2 / 2 / tau**2 - t / tau) * erfc((s / tau - t / s) / np.sqrt(2)) / 2
                  for tau in (p["tau1"].value, p["tau2"].value)]
        return np.concatenate([
            p[f"a{k}"].value * decays[0] + p[f"b{k}"].value * decays[1] + p[f"c{k}"].value - y
            for k, y in enumerate(traces.T)])

    found = lmfit.minimize(residual, parameters, method="leastsq", xtol=1e-13, ftol=1e-13,
                           max_nfev=100_000)
    p, errors = found.params, {name: found.params[name].stderr for name in START}
    return {"lifetimes_ps": [p["tau1"].value, p["tau2"].value],
            "lifetimes_err_ps": [errors["tau1"], errors["tau2"]], "sigma_ps": p["sigma"].value,
            "t0_ps": p["t0"].value,
            "fractions": [p[f"a{k}"].value / (p[f"a{k}"].value + p[f"b{k}"].value)
                          for k in range(traces.shape[1])],
            "residual_sum": float(np.sum(residual(p) ** 2)), "version": version("lmfit")}


def with_pyglotaran():
    """Return the same of pyglotaran."""
    import xarray as xr
    from glotaran.io import load_model, load_parameters
    from glotaran.optimization.optimize import optimize
    from glotaran.project import Scheme

    delay, traces = data()
    start = {"rate1": 1 / START["tau1"], "rate2": 1 / START["tau2"], **START}
    measured = xr.DataArray(traces, coords=[("time", delay), ("spectral", [578.0, 579.4, 580.8])])
    scheme = Scheme(load_model(MODEL, format_name="yml_str"),
                    load_parameters(PARAMETERS.format(**start), format_name="yml_str"),
                    {"traces": measured.to_dataset(name="data")}, ftol=1e-14, gtol=1e-14,
                    xtol=1e-14, maximum_number_function_evaluations=200)
    result = optimize(scheme, verbose=False)
    rates = [result.optimized_parameters.get(f"rates.{i}") for i in (1, 2)]
    errors = [rate.standard_error / rate.value**2 for rate in rates]
    amplitudes = result.data["traces"].clp.sel(clp_label=["one", "two"]).values
    return {"lifetimes_ps": [1 / rate.value for rate in rates], "lifetimes_err_ps": errors,
            "sigma_ps": result.optimized_parameters.get("irf.width").value,
            "t0_ps": result.optimized_parameters.get("irf.center").value,
            "fractions": list(amplitudes[:, 0] / amplitudes.sum(axis=1)),
            "residual_sum": float((result.data["traces"].residual.values**2).sum()),
            "version": version("pyglotaran")}


if __name__ == "__main__":
    record = {"lmfit": with_lmfit(), "pyglotaran": with_pyglotaran()}
    text = json.dumps(record, indent=1, default=float) + "\n"
    (FOLDER / "hippius-kinetics.json").write_text(text)
    print(text)
