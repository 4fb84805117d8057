"""What ``polaron compare`` prints of several delays: amplitudes and time laws of the parts."""

from collections.abc import Iterator
from typing import Any

from perovskite_polaron.analysis.map_fit import Followed, MapFit
from perovskite_polaron.analysis.map_verdict import statements
from perovskite_polaron.cli.options import pick
from perovskite_polaron.cli.tables import Said, Table


def map_lines(found: Followed) -> Iterator[Said]:
    """Return the lines for people."""
    best, data = found.best, found.data
    parts, kinetics = best.model.shapes.parts, best.model.kinetics
    wide = max(10, *(len(part.name) + 2 for part in parts))
    yield (f"{len(data.delay_ps)} delays × {len(data.energy_eV)} energies, chi2 {best.chi2:.1f} for"
           f" {best.points} points and {best.parameters} parameters")
    names = [*(f"decay {n + 1}" for n in range(kinetics.components)), *["offset"] * kinetics.offset]
    columns = {"part": f"{wide}s", **{f"lifetime {n + 1} (ps)": ">22s"
                                      for n in range(kinetics.components)},
               **dict.fromkeys(names, ">24s")}
    rows = []
    for i, part in enumerate(parts):
        lifetimes = _with_errors(*best.lifetimes_ps(i))
        values, by = best.decays(i)
        rows.append((part.name, *lifetimes, *_with_errors(values, best.errors(by))))
    yield Table(columns, rows)
    shared = [" = ".join(parts[i].name for i in group) for group in best.model.groups
              if len(group) > 1]
    if shared:
        yield f"one time law: {'; '.join(shared)}"
    if kinetics.sigma_free or kinetics.t0_free:
        yield "response and time zero: " + ", ".join(
            f"{name} {text}" for name, text in zip(
                ("sigma", "t0"), _with_errors(*best.response_ps()), strict=True)) + " ps"
    yield ""
    yield Table({"delay (ps)": "10.5g"} | {part.name: f">{max(22, len(part.name) + 2)}s"
                                           for part in parts},
                [(t, *_with_errors(found.strengths[:, n], found.errors[:, n]))
                 for n, t in enumerate(data.delay_ps)])
    yield ""
    yield from statements(found)


def _with_errors(values: Any, errors: Any) -> list[str]:
    return [f"{value:.4g} ± {error:.2g}" for value, error in zip(values, errors, strict=True)]


def map_record(found: Followed) -> dict[str, Any]:
    """Return the same as one object for JSON."""
    data, parts = found.data, found.best.model.shapes.parts
    return {
        "delay_ps": data.delay_ps, "points": found.best.points,
        "error_from_scatter": data.scatter,
        "strengths": [{"name": part.name, "value": value, "err": error} for part, value, error in
                      zip(parts, found.strengths, found.errors, strict=True)],
        "best": _fit(found.best), "own_laws": None if found.own is None else _fit(found.own),
        "one_law": _fit(found.together),
        "same_time_law": [
            {"parts": [parts[i].name for i in answer.parts],
             **pick(answer, "likelihood_ratio", "p", "delta_bic", degrees_of_freedom="freedom",
                    mean_lifetime_difference_ps="difference_ps",
                    mean_lifetime_difference_err_ps="difference_err_ps")}
            for answer in found.answers],
        "statements": [*statements(found)]}


def _fit(fit: MapFit) -> dict[str, Any]:
    model = fit.model
    law, errors = fit.strengths(model.delay_ps)
    sigma_t0, sigma_t0_err = fit.response_ps()
    rows = []
    for i, part in enumerate(model.shapes.parts):
        (lifetimes, lifetimes_err), (values, by) = fit.lifetimes_ps(i), fit.decays(i)
        mean, by_mean = fit.mean_lifetime_ps(i)
        rows.append({"name": part.name, "group": fit.group(i), "lifetimes_ps": lifetimes,
                     "lifetimes_err_ps": lifetimes_err, "mean_lifetime_ps": mean,
                     "mean_lifetime_err_ps": fit.errors(by_mean), "amplitudes": values,
                     "amplitudes_err": fit.errors(by), "law": law[i], "law_err": errors[i]})
    shift, stretch, _ = fit.point
    return {**pick(fit, "chi2", "parameters", "bic"), "parts": rows,
            "irf_sigma_ps": sigma_t0[0], "irf_sigma_err_ps": sigma_t0_err[0],
            "t0_ps": sigma_t0[1], "t0_err_ps": sigma_t0_err[1],
            "shift_at_middle_eV": shift, "stretch": stretch,
            "width_fwhm_eV": model.shapes.width_fwhm_eV(fit.point),
            "correlation": {"names": fit.names, "matrix": fit.correlation}}
