"""``polaron kinetics``: global fit of pump-probe traces with shared lifetimes."""

import argparse
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from perovskite_polaron.analysis.kinetic_intervals import (
    LEVELS, Interval, Intervals, profile_intervals)
from perovskite_polaron.analysis.kinetics import (
    FTest, KineticFit, KineticModel, f_test, fit_kinetics)
from perovskite_polaron.cli.options import emit, pick, quantity, share
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.measured.readers import read_traces


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("files", metavar="FILES", nargs="+",
        help="traces: a delay column, a signal, an error column if known")
    add("--irf-sigma", type=quantity("time"), required=True,
        help="standard deviation of the instrument response, as 45ps")
    add("--fit-sigma", action="store_true", help="fit it, starting from the value given")
    add("--components", type=int, default=2, help="number of decays (default: 2)")
    add("--start", type=quantity("time"), nargs="+", metavar="LIFETIME",
        help="lifetimes to start from, as 100ps 1ns (default: several sets are tried)")
    add("--no-offset", action="store_true", help="leave the flat offset out")
    add("--t0", type=quantity("time"), default="0ps", help="time zero (default: 0ps)")
    add("--fit-t0", action="store_true", help="fit time zero, starting from the value given")
    share(parser, "--signal", "--decimal-comma")
    add("--delay-unit", choices=("fs", "ps", "ns", "us"), help="for files that do not say it")
    add("--figure", type=Path, help="draw traces, fit and residuals (.png or .svg)")
    share(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Read, fit and print.

    Examples
    --------
    polaron kinetics br.csv pb.csv --irf-sigma 45ps --components 2 --figure kinetics.png
    """

    def model(components: int) -> KineticModel:
        return KineticModel(components, args.irf_sigma, not args.no_offset, args.fit_sigma, args.t0,
                            args.fit_t0)

    asked = model(args.components)
    traces = read_traces(args.files, args.signal, args.delay_unit, args.decimal_comma)
    fit = fit_kinetics(traces, asked, args.start)
    test = None
    if args.components > 1:
        # A smaller model that cannot be fitted is no reason to withhold the larger one.
        with suppress(ComputationError):
            test = f_test(fit_kinetics(traces, model(args.components - 1)), fit)
    intervals = profile_intervals(fit)
    if args.figure is not None:
        from perovskite_polaron.figures import measured, style

        style.save(measured.draw_kinetics(fit), args.figure)
    emit(args, _record(fit, test, intervals), _lines(fit, test, intervals))


def _record(fit: KineticFit, test: FTest | None, intervals: Intervals) -> dict[str, Any]:
    """The fit as one object for JSON. An open end of an interval is null."""
    k, offset = fit.model.components, fit.model.offset
    rows = zip(fit.traces, fit.fractions, fit.fractions_err, fit.amplitudes, intervals.fractions,
               strict=True)
    return {
        **pick(fit, "lifetimes_ps", "lifetimes_err_ps", "chi2_red", "chi2_p", "t0_ps", "t0_err_ps",
               irf_sigma_ps="sigma_ps", irf_sigma_err_ps="sigma_err_ps",
               errors_scaled_by_scatter="scaled_errors"),
        "lifetimes_interval_ps": [_closed(i) for i in intervals.lifetimes_ps],
        "fractions": [
            {"label": t.label, "value": f[:k], "err": e[:k], "amplitudes": a,
             "interval": [_closed(i) for i in held[:k]]}
            for t, f, e, a, held in rows],
        "offset": fit.fractions[:, k] if offset else None,
        "offset_err": fit.fractions_err[:, k] if offset else None,
        "offset_interval": [_closed(held[k]) for held in intervals.fractions] if offset else None,
        "irf_sigma_interval_ps": _closed(intervals.sigma_ps),
        "t0_interval_ps": _closed(intervals.t0_ps), "f_test_p": None if test is None else test.p}


def _closed(ends: tuple[Interval, ...] | None) -> dict[str, Interval] | None:
    """The intervals by level in percent."""
    if ends is None:
        return None
    return {f"{100 * level:.0f}": pair for level, pair in zip(LEVELS, ends, strict=True)}


def _lines(fit: KineticFit, test: FTest | None, intervals: Intervals) -> Iterator[str]:
    k = fit.model.components
    yield f"{'':30s}{'value':>10s}{'error':>10s}{'68 % interval':>24s}{'95 % interval':>24s}"
    rows = zip(fit.lifetimes_ps, fit.lifetimes_err_ps, intervals.lifetimes_ps, strict=True)
    for i, (value, error, ends) in enumerate(rows):
        yield _row(f"lifetime {i + 1} (ps)", value, error, ends)
    yield _row("irf sigma (ps)", fit.sigma_ps, fit.sigma_err_ps, intervals.sigma_ps)
    yield _row("time zero (ps)", fit.t0_ps, fit.t0_err_ps, intervals.t0_ps)
    names = [*(f"decay {i + 1}" for i in range(k)), "offset"]
    traces = zip(fit.traces, fit.fractions, fit.fractions_err, intervals.fractions, strict=True)
    for trace, values, errors, held in traces:
        yield f"\n{trace.label[:29]}: fractions (%)"
        for name, value, error, share_ in zip(names, values, errors, held, strict=False):
            percent = share_ and tuple((100 * low, 100 * high) for low, high in share_)
            yield _row(f"  {name}", 100 * value, 100 * error, percent)
    kind = "residual variance" if fit.scaled_errors else "reduced chi2"
    yield f"\n{kind} {fit.chi2_red:.4g} for {fit.dof} degrees of freedom"
    yield ("Errors are the covariance's, to first order; intervals are where chi2, all else"
           " refitted, has risen: quote these.")
    if fit.chi2_p is not None and fit.chi2_p < 1e-3:
        yield (f"The fit does not describe the data within their errors (p = {fit.chi2_p:.2g}): the"
               " model lacks something, or the errors are too small, and so are those above. Look"
               " at the residuals (--figure).")
    if fit.scaled_errors:
        yield ("No error column: the errors above come from the scatter about the fit, and no test"
               " of the fit itself is possible.")
    if test is not None:
        verdict = "the data ask for it" if test.p < 0.05 else "the data do not ask for it"
        yield (f"F test of {k} against {k - 1} components: F = {test.f:.3g}, p = {test.p:.3g}:"
               f" {verdict}")
    yield ("A decay near 100 ps is often read as Auger recombination of several carriers in one"
           " nanocrystal, one near a nanosecond or more as radiative; the fit itself does not tell:"
           " vary the fluence to find out.")


def _row(name: str, value: float, error: float, ends: tuple[Interval, ...] | None) -> str:
    if ends is None:
        return f"{name:30s}{value:10.4g}{'fixed':>10s}"
    intervals = [f"{low:.4g} to {high:.4g}" for low, high in ends]
    return f"{name:30s}{value:10.4g}{error:10.2g}" + "".join(f"{text:>24s}" for text in intervals)
