"""A calculated steady state fitted to a measured one: zero, scale of energies, widths, background.

μ(E) = scale · T((E − E0)/(1 + stretch)) + Σ_k c_k P_k(x). T is the calculation with Lorentzian
widths by a law of ``spectra.broadening`` and the Gaussian resolution; P_k are Legendre polynomials
over the window. Scale and c are linear and solved for at each step (variable projection; Golub and
Pereyra, Inverse Problems 19, R1 (2003); the Jacobian is that of Kaufman, BIT 15, 49 (1975)).

The zero is first looked for wherever the calculation can lie, by how much of the measured variation
it explains with the widths of the start; the best places are then fitted with the law held, and the
best of these with everything free. So a start may be far off.

Errors are those of least squares. Where the misfit exceeds what the errors of the points allow
(p < 0.001), or these are not known, they are multiplied by sqrt(χ²_red · τ), with τ = 1 + 2 Σ ρ_k
over the first positive autocorrelations of the residuals: a misfit of the calculation goes on over
neighbouring points, which are then not independent. They know nothing of a calculation whose shape
is wrong in a way that a parameter can hide. Resolution and a constant Lorentzian width are told
apart only by the tails of sharp features: look at their correlation, and hold what is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import chi2 as chi2_law

from perovskite_polaron.analysis.matched import Axis, Matched, MatchFit, Width
from perovskite_polaron.analysis.steady_curve import (
    AXIS, HOLE, LAWS, Curve, SteadyCurve, parameters)
from perovskite_polaron.analysis.weights import whitening
from perovskite_polaron.arrays import Array, Interval
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.measured.treatment import crop

#: Steps of the first search (eV), how many places of it are followed, and how far apart they are.
STEP_EV, PLACES, APART_EV = 0.5, 3, 2.0
#: The window that is chosen ends so far inside of what the calculation reaches there.
MARGIN_EV = 2.0
#: Below this probability of a χ² as large, the misfit is more than noise.
MISFIT_P = 1e-3


@dataclass(frozen=True, eq=False)
class Match:
    """A match with what it was made from.

    Attributes
    ----------
    found
        Axis, widths and errors.
    measured
        The part that was fitted.
    model, background
        (m,) at its energies; the background is part of the model.
    words
        Sentences: what was fitted, and what to distrust.
    """

    found: Matched
    measured: Scan
    model: Array
    background: Array
    words: tuple[str, ...]


def match(measured: Scan, curve: Curve, calculated: tuple[str, str], *, law: str = "constant",
          core_hole_hwhm_eV: float, resolution_fwhm_eV: float = 0.7, edge_eV: float | None = None,
          reach_eV: float = 15.0, order: int = 1, window: Interval | None = None,
          hold: Mapping[str, float] | None = None,
          free: Mapping[str, float | None] | None = None) -> Match:
    """Fit a calculated steady state to a measured one.

    Parameters
    ----------
    measured
        The spectrum, with or without errors.
    curve, calculated
        The calculation; what it is called, and what tells it from others.
    law
        Of ``steady_curve.LAWS``, for the width of the final states.
    core_hole_hwhm_eV, resolution_fwhm_eV
        Where the widths start, or are held.
    edge_eV, reach_eV
        Photon energy of the calculated zero, roughly, and how far it may be off (default: it is
        looked for in the whole spectrum).
    order
        Of the polynomial under the spectrum; −1 for none.
    window
        Energies to fit (default: those that the calculation reaches, less a margin).
    hold, free
        As ``steady_curve.parameters``.

    Raises
    ------
    InputError
        For a law or parameter that is unknown, too few points, or a calculation that does not reach
        the window.
    ComputationError
        When it does not converge, or fits only upside down.
    """
    names, values, bounds = parameters(law, core_hole_hwhm_eV, resolution_fwhm_eV, hold or {},
                                       free or {})
    require(-1 <= order <= 6, f"the order of the background is {order}: give -1 (none) to 6")
    start = SteadyCurve.of(curve, law, values)
    whole = measured if window is None else crop(measured, from_eV=window[0], to_eV=window[1])
    places = [values["e0_eV"]]
    if "e0_eV" in names:
        places, bounds["e0_eV"] = _places(start, whole, order, edge_eV, reach_eV)
    axis = [name for name in names if name in AXIS]
    for _ in range(4):
        part = whole if window is not None else _reached(whole, start.moved({"e0_eV": places[0]}))
        problem = _Problem(part, order)
        require(len(part.energy_eV) > len(names) + order + 3, f"{measured.name}:"
                f" {len(part.energy_eV)} points lie where the calculation reaches: too few for"
                f" {len(names)} parameters and the background")
        tries = [problem.fit(start.moved({"e0_eV": place}), axis, bounds) for place in places]
        best = problem.fit(min(tries, key=problem.chi2), names, bounds)
        (low, high), e = best.span_eV, part.energy_eV
        if low <= e[0] and e[-1] <= high:
            return _match(problem, best, names, bounds, part, calculated)
        require(window is None, f"{measured.name}: the calculation reaches {low:.1f} to {high:.1f}"
                f" eV and not all of {e[0]:.1f} to {e[-1]:.1f} eV: narrow --window")
        start, places = best, [best.values["e0_eV"]]
    raise ComputationError(f"{measured.name}: the zero moves out of each window that is tried; give"
                           " one with --window")


def _places(start: SteadyCurve, measured: Scan, order: int, edge_eV: float | None,
            reach_eV: float) -> tuple[list[float], Interval]:
    """Return the likeliest places of the zero, best first, and the bounds of its search."""
    e, (first, last) = measured.energy_eV, start.spline().x[[0, -1]]
    if edge_eV is None:
        bounds = float(e[0] - last), float(e[-1] - first)
    else:
        bounds = edge_eV - reach_eV, edge_eV + reach_eV
    tried = np.arange(bounds[0], bounds[1] + STEP_EV / 2, STEP_EV)
    # So much of the shorter one must meet the other: a piece of a spectrum fits anywhere.
    needed = 0.6 * min(last - first, e[-1] - e[0])
    explained = np.full(len(tried), -np.inf)
    for k, zero in enumerate(tried):
        inside = (e >= zero + first) & (e <= zero + last)
        if inside.sum() > order + 8 and np.ptp(e[inside]) >= needed:
            low, high = e[inside][[0, -1]]
            problem = _Problem(crop(measured, from_eV=low, to_eV=high), order)
            smooth = np.linalg.lstsq(problem.flat, problem.data)[0]
            flat = problem.data - problem.flat @ smooth
            # Not as a share: where little varies anything explains most of it.
            explained[k] = flat @ flat - problem.chi2(start.moved({"e0_eV": float(zero)}))
    require(np.isfinite(explained).any(), f"{measured.name}: from {bounds[0]:.0f} to"
            f" {bounds[1]:.0f} eV the calculation's zero has no place where the two overlap and"
            " rise together; give another --edge, or a --window")
    found: list[float] = []
    for k in np.argsort(-explained):
        if np.isfinite(explained[k]) and all(abs(tried[k] - zero) >= APART_EV for zero in found):
            found.append(float(tried[k]))
    return found[:PLACES], bounds


def _reached(measured: Scan, model: SteadyCurve) -> Scan:
    """Return the part of a spectrum that the calculation reaches, less a margin."""
    low, high = model.span_eV
    return crop(measured, from_eV=low + MARGIN_EV, to_eV=high - MARGIN_EV - 0.02 * (high - low))


class _Problem:
    """Least squares of one window: its weights, and the elimination of what is linear."""

    def __init__(self, measured: Scan, order: int) -> None:
        self.energy_eV = measured.energy_eV
        # Without errors all points count alike, and χ² sets their size.
        self.whiten = (np.ones(len(self.energy_eV)) if measured.variance is None
                       else whitening(measured.variance, measured.name))
        self.known = measured.variance is not None
        e = self.energy_eV
        x = 2 * (e - e[0]) / (e[-1] - e[0]) - 1
        self.polynomials = np.polynomial.legendre.legvander(x, max(order, 0))[:, : order + 1]
        self.data, self.flat = self.white(measured.intensity), self.white(self.polynomials)

    def white(self, columns: Array) -> Array:
        """Return columns (m, …) in units of independent errors."""
        if self.whiten.ndim == 2:
            return np.asarray(self.whiten @ columns)
        return (columns.T * self.whiten).T

    def project(self, curve: Array) -> tuple[Array, Array, Array]:
        """Return scale and background (k + 1,), the residuals (m,), and the white columns."""
        columns = np.column_stack([self.white(curve), self.flat])
        linear = np.asarray(np.linalg.lstsq(columns, self.data)[0], dtype=np.float64)
        return linear, columns @ linear - self.data, columns

    def chi2(self, model: SteadyCurve) -> float:
        """Return χ², infinite for a scale that is not positive."""
        linear, residuals, _ = self.project(model.at(self.energy_eV))
        return float(residuals @ residuals) if linear[0] > 0 else np.inf

    def slopes(self, model: SteadyCurve, names: list[str]) -> Array:
        """Return the white derivatives (m, p) of T by forward differences."""
        steps, base = AXIS | HOLE | LAWS[model.law], model.at(self.energy_eV)
        rows = [(model.moved({name: model.values[name] + steps[name][3]}).at(self.energy_eV) - base)
                / steps[name][3] for name in names]
        return self.white(np.array(rows).reshape(len(names), -1).T)

    def fit(self, model: SteadyCurve, names: list[str],
            bounds: Mapping[str, Interval]) -> SteadyCurve:
        """Return the model with the named parameters at their least squares."""
        if not names:
            return model
        low, high = np.transpose([bounds[name] for name in names])

        def here(theta: Array) -> SteadyCurve:
            return model.moved(dict(zip(names, theta.tolist(), strict=True)))

        def residuals(theta: Array) -> Array:
            return self.project(here(theta).at(self.energy_eV))[1]

        def jacobian(theta: Array) -> Array:
            linear, _, columns = self.project(here(theta).at(self.energy_eV))
            rows = linear[0] * self.slopes(here(theta), names)
            q = np.linalg.qr(columns)[0]
            return np.asarray(rows - q @ (q.T @ rows))

        steps = AXIS | HOLE | LAWS[model.law]
        found = least_squares(
            residuals, np.clip([model.values[name] for name in names], low, high), jacobian,
            bounds=(low, high), x_scale=[100 * steps[name][3] for name in names], xtol=1e-9,
            ftol=1e-10, gtol=1e-12, max_nfev=300)
        if not found.success:
            raise ComputationError("the match did not converge: hold a parameter (--hold), or start"
                                   " nearer (--edge)")
        return here(found.x)


def _match(problem: _Problem, best: SteadyCurve, names: list[str], bounds: Mapping[str, Interval],
           part: Scan, calculated: tuple[str, str]) -> Match:
    """Return the match at the minimum: errors, correlation, and what to say of it."""
    curve = best.at(part.energy_eV)
    linear, residuals, columns = problem.project(curve)
    if linear[0] <= 0:
        raise ComputationError(f"{part.name}: the calculation fits only upside down; say with"
                               " --edge where its zero is, and look at both files")
    # A parameter on its bound is known to be there, as far as these errors go.
    stuck = tuple(n for n in names if min(abs(best.values[n] - end) for end in bounds[n]) < 1e-6)
    moving = [n for n in names if n not in stuck]
    jacobian = np.column_stack([linear[0] * problem.slopes(best, moving), columns])
    size = np.linalg.norm(jacobian, axis=0)
    covariance = np.linalg.pinv((jacobian / size).T @ (jacobian / size)) / np.outer(size, size)
    chi2, freedom = float(residuals @ residuals), len(residuals) - jacobian.shape[1]
    widened = 1.0
    if not problem.known or chi2_law.sf(chi2, freedom) < MISFIT_P:
        widened = float(np.sqrt(chi2 / freedom * _correlated_over(residuals)))
    kept = len(moving) + 1
    covariance = covariance[:kept, :kept] * widened**2
    errors = np.sqrt(np.diag(covariance))
    v = best.values
    fit = MatchFit(
        part.name, *calculated, (float(part.energy_eV[0]), float(part.energy_eV[-1])),
        len(residuals), chi2, widened, problem.known, float(linear[0]),
        tuple(linear[1:].tolist()), (*moving, "scale"), tuple(errors.tolist()),
        tuple(map(tuple, (covariance / np.outer(errors, errors)).tolist())), stuck)
    found = Matched(
        Axis(v["e0_eV"], v["stretch"]),
        Width(best.law, v["core_hole_hwhm_eV"], v["resolution_fwhm_eV"],
              {name: v[name] for name in LAWS[best.law]}), fit, covariance)
    background = problem.polynomials @ linear[1:]
    return Match(found, part, linear[0] * curve + background, background, _words(found))


def _correlated_over(residuals: Array) -> float:
    """Return τ: over how many points the residuals are alike (see the module)."""
    centred = residuals - residuals.mean()
    rho = np.correlate(centred, centred, "full")[len(centred) - 1:] / (centred @ centred)
    last = int(np.argmax(rho <= 0)) or len(rho)
    return float(1 + 2 * rho[1:last].sum())


def _words(found: Matched) -> tuple[str, ...]:
    """Return sentences on a match."""
    fit = found.fit
    words = [f"Fitted from {fit.window_eV[0]:.2f} to {fit.window_eV[1]:.2f} eV, {fit.points}"
             f" points: chi2_red {found.chi2_red:.3g}."]
    if not fit.known_errors:
        words.append("The errors of the points are unknown: those of the parameters come from the"
                     " misfit.")
    elif fit.widened > 1:
        words.append("The misfit is more than the errors of the points: those of the parameters are"
                     f" {fit.widened:.3g} times as large as the noise alone would make them.")
    words += [f"{name} sits on its bound: hold it at a value that is known (--hold {name}=VALUE),"
              " or choose another law." for name in fit.on_bound]
    names = fit.parameters
    words += [f"{a} and {b} can hardly be told apart (correlation {fit.correlation[i][j]:+.3f})."
              for i, a in enumerate(names) for j, b in enumerate(names[:i])
              if abs(fit.correlation[i][j]) > 0.98]
    return tuple(words)
