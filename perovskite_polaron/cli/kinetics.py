"""``polaron kinetics``: global fit of pump-probe traces with shared lifetimes."""

import argparse
import json
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from perovskite_polaron.analysis.kinetic_intervals import LEVELS, Interval, Intervals, profile_intervals
from perovskite_polaron.analysis.kinetics import FTest, KineticFit, KineticModel, f_test, fit_kinetics
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.measured.readers import read_traces
from perovskite_polaron.units import parse_quantity

EXAMPLE = "  polaron kinetics br.csv pb.csv --irf-sigma 45ps --components 2 --figure kinetics.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "files", metavar="FILES", nargs="+", help="traces: a delay column, a signal, an error column if known"
    )
    parser.add_argument("--irf-sigma", required=True, help="standard deviation of the instrument response, as 45ps")
    parser.add_argument("--fit-sigma", action="store_true", help="fit it, starting from the value given")
    parser.add_argument("--components", type=int, default=2, help="number of decays (default: 2)")
    parser.add_argument("--no-offset", action="store_true", help="leave the flat offset out")
    parser.add_argument("--t0", default="0ps", help="time zero (default: 0ps)")
    parser.add_argument("--fit-t0", action="store_true", help="fit time zero, starting from the value given")
    parser.add_argument("--signal", help="column to read, by name or number (default: every signal column)")
    parser.add_argument("--delay-unit", choices=("fs", "ps", "ns", "us"), help="for files that do not say it")
    parser.add_argument("--figure", type=Path, help="draw traces, fit and residuals (.png or .svg)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Read, fit and print."""
    sigma, t0 = parse_quantity(args.irf_sigma, "time"), parse_quantity(args.t0, "time")

    def model(components: int) -> KineticModel:
        return KineticModel(components, sigma, not args.no_offset, args.fit_sigma, t0, args.fit_t0)

    model(args.components)
    traces = read_traces(args.files, args.signal, args.delay_unit)
    fit = fit_kinetics(traces, model(args.components))
    test = None
    if args.components > 1:
        # A smaller model that cannot be fitted is no reason to withhold the larger one.
        with suppress(ComputationError):
            test = f_test(fit_kinetics(traces, model(args.components - 1)), fit)
    intervals = profile_intervals(fit)
    if args.figure is not None:
        from perovskite_polaron.figures.measured import write_kinetics_figure

        write_kinetics_figure(fit, args.figure)
    print(json.dumps(summary(fit, test, intervals)) if args.json else table(fit, test, intervals))
    return 0


def summary(fit: KineticFit, test: FTest | None, intervals: Intervals) -> dict[str, Any]:
    """Return the fit as one object for JSON. An open end of an interval is null."""
    k = fit.model.components
    rows = zip(fit.traces, fit.fractions, fit.fractions_err, fit.amplitudes, intervals.fractions, strict=True)
    return {
        "lifetimes_ps": fit.lifetimes_ps.tolist(),
        "lifetimes_err_ps": fit.lifetimes_err_ps.tolist(),
        "lifetimes_interval_ps": [_closed(i) for i in intervals.lifetimes_ps],
        "fractions": [
            {
                "label": t.label, "value": f[:k].tolist(), "err": e[:k].tolist(), "interval": [_closed(i) for i in held[:k]],
                "amplitudes": a.tolist(),
            }
            for t, f, e, a, held in rows
        ],
        "offset": fit.fractions[:, k].tolist() if fit.model.offset else None,
        "offset_err": fit.fractions_err[:, k].tolist() if fit.model.offset else None,
        "offset_interval": [_closed(held[k]) for held in intervals.fractions] if fit.model.offset else None,
        "chi2_red": fit.chi2_red,
        "chi2_p": fit.chi2_p,
        "irf_sigma_ps": fit.sigma_ps,
        "irf_sigma_err_ps": fit.sigma_err_ps,
        "irf_sigma_interval_ps": _closed(intervals.sigma_ps),
        "t0_ps": fit.t0_ps,
        "t0_err_ps": fit.t0_err_ps,
        "t0_interval_ps": _closed(intervals.t0_ps),
        "errors_scaled_by_scatter": fit.scaled_errors,
        "f_test_p": None if test is None else test.p,
    }  # fmt: skip


def _closed(ends: tuple[Interval, ...] | None) -> dict[str, list[float | None]] | None:
    if ends is None:
        return None
    return {
        f"{100 * level:.0f}": [end if isfinite(end) else None for end in pair]
        for level, pair in zip(LEVELS, ends, strict=True)
    }


def table(fit: KineticFit, test: FTest | None, intervals: Intervals) -> str:
    """Return the fit for people."""
    k = fit.model.components
    lines = [f"{'':30s}{'value':>10s}{'error':>10s}{'68 % interval':>24s}{'95 % interval':>24s}"]
    for i, ends in enumerate(intervals.lifetimes_ps):
        lines.append(_row(f"lifetime {i + 1} (ps)", fit.lifetimes_ps[i], fit.lifetimes_err_ps[i], ends))
    lines.append(_row("irf sigma (ps)", fit.sigma_ps, fit.sigma_err_ps, intervals.sigma_ps))
    lines.append(_row("time zero (ps)", fit.t0_ps, fit.t0_err_ps, intervals.t0_ps))
    names = [*(f"decay {i + 1}" for i in range(k)), "offset"]
    for trace, values, errors, held in zip(fit.traces, fit.fractions, fit.fractions_err, intervals.fractions, strict=True):
        lines += ["", f"{trace.label[:29]}: fractions (%)"]
        for name, value, error, share in zip(names, values, errors, held, strict=False):
            percent = None if share is None else tuple((100 * low, 100 * high) for low, high in share)
            lines.append(_row(f"  {name}", 100 * value, 100 * error, percent))
    lines += [
        "",
        f"{'residual variance' if fit.scaled_errors else 'reduced chi2'} {fit.chi2_red:.4g} for {fit.dof} degrees of freedom",
        "Errors are the covariance's, to first order; intervals are where chi2, all else refitted, has risen: quote these.",
    ]
    if fit.chi2_p is not None and fit.chi2_p < 1e-3:
        lines.append(
            f"The fit does not describe the data within their errors (p = {fit.chi2_p:.2g}): the model lacks something, or the errors "
            "are too small, and so are those above. Look at the residuals (--figure)."
        )
    if fit.scaled_errors:
        lines.append(
            "No error column: the errors above come from the scatter about the fit, and no test of the fit itself is possible."
        )
    if test is not None:
        verdict = "the data ask for it" if test.p < 0.05 else "the data do not ask for it"
        lines.append(f"F test of {k} against {k - 1} components: F = {test.f:.3g}, p = {test.p:.3g}: {verdict}")
    lines.append(
        "A decay near 100 ps is often read as Auger recombination of several carriers in one nanocrystal, one near a nanosecond "
        "or more as radiative; the fit itself does not tell: vary the fluence to find out."
    )
    return "\n".join(lines)


def _row(name: str, value: float, error: float, ends: tuple[Interval, ...] | None) -> str:
    if ends is None:
        return f"{name:30s}{value:10.4g}{'fixed':>10s}"
    return f"{name:30s}{value:10.4g}{error:10.2g}" + "".join(f"{f'{low:.4g} to {high:.4g}':>24s}" for low, high in ends)
