"""``polaron kinetics``: global fit of pump-probe traces with shared lifetimes."""

import argparse
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.analysis.kinetic_intervals import (
    FEW, LEVELS, Interval, Intervals, profile_intervals)
from perovskite_polaron.analysis.kinetics import FTest, KineticFit, f_test, fit_kinetics
from perovskite_polaron.cli.options import TIME_LAW, count, emit, pick, share, time_law, warn
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.measured.traces import read_traces

_COLUMNS = {"": "20s", "value": "10.4g", "error": ">9s", "68 % interval": ">20s",
            "95 % interval": ">20s"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("files", metavar="FILES", nargs="+",
        help="traces: a delay column, a signal, an error column if known")
    share(parser, "--irf-sigma", required=True)
    share(parser, *TIME_LAW)
    share(parser, "--signal", "--decimal-comma")
    add("--matrix", action="store_true", help="the first row holds the energies or wavelengths of"
        " the columns")
    add("--repeats", type=lambda text: count(text, "--repeats"), default=1, metavar="N",
        help="the error column is the scatter of so many repeats (default: errors are known)")
    add("--delay-unit", choices=("fs", "ps", "ns", "us"), help="for files that do not say it")
    add("--figure", type=Path, help="draw traces, fit and residuals (.png or .svg)")
    share(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Read, fit and print.

    Examples
    --------
    polaron kinetics br.csv pb.csv --irf-sigma 45ps --components 2 --figure kinetics.png
    """
    traces = read_traces(args.files, args.signal, args.delay_unit, args.decimal_comma, args.matrix,
                         args.repeats)
    warn(traces)
    model = time_law(args, [t.delay_ps for t in traces])
    fit = fit_kinetics(traces, model, args.start)
    test = None
    if args.components > 1:
        # The scatter that each fit finds would not compare; that of repeats is the same for both.
        same = traces if any(t.repeats > 1 for t in traces) else fit.traces
        # A smaller model that cannot be fitted is no reason to withhold the larger one.
        with suppress(ComputationError):
            smaller = replace(model, components=args.components - 1)
            test = f_test(fit_kinetics(same, smaller), fit)
    intervals = profile_intervals(fit)
    if args.figure is not None:
        from perovskite_polaron.figures import measured, style

        style.save(measured.draw_kinetics(fit), args.figure)
    emit(args, _record(fit, test, intervals), lines(fit, test, intervals))


def _record(fit: KineticFit, test: FTest | None, intervals: Intervals) -> dict[str, Any]:
    """The fit as one object for JSON; null for an open end, and for what is no fraction."""
    k, offset, baseline = fit.model.components, fit.model.offset, fit.model.baseline
    nothing = np.where(fit.mixed, np.nan, 1.0)[:, None]
    fractions, errors = fit.fractions * nothing, fit.fractions_err * nothing
    rows = zip(fit.traces, fit.mixed, fractions, errors, fit.amplitudes, fit.amplitudes_err,
               intervals.fractions, strict=True)
    return {
        **pick(fit, "lifetimes_ps", "lifetimes_err_ps", "chi2_red", "chi2_p", "runs_p", "t0_ps",
               "t0_err_ps", "error_scale", irf_sigma_ps="sigma_ps",
               irf_sigma_err_ps="sigma_err_ps", errors_scaled_by_scatter="scaled_errors"),
        "lifetimes_interval_ps": [_closed(i) for i in intervals.lifetimes_ps],
        "fractions": [
            {"label": t.label, "reading": t.reading, "value": None if mixed else f[:k],
             "err": None if mixed else e[:k], "amplitudes": a, "amplitudes_err": da,
             "interval": [_closed(i) for i in held[:k]]}
            for t, mixed, f, e, a, da, held in rows],
        "offset": fractions[:, k] if offset else None,
        "offset_err": errors[:, k] if offset else None,
        "offset_interval": [_closed(held[k]) for held in intervals.fractions] if offset else None,
        "baseline": fit.amplitudes[:, -1] if baseline else None,
        "baseline_err": fit.amplitudes_err[:, -1] if baseline else None,
        "irf_sigma_interval_ps": _closed(intervals.sigma_ps),
        "t0_interval_ps": _closed(intervals.t0_ps), "f_test_p": None if test is None else test.p}


def _closed(ends: tuple[Interval, ...] | None) -> dict[str, Interval] | None:
    """The intervals by level in percent."""
    if ends is None:
        return None
    return {f"{100 * level:.0f}": pair for level, pair in zip(LEVELS, ends, strict=True)}


def lines(fit: KineticFit, test: FTest | None, intervals: Intervals) -> Iterator[Said]:
    """Return the fit for people."""
    k = fit.model.components
    fitted = zip(fit.lifetimes_ps, fit.lifetimes_err_ps, intervals.lifetimes_ps, strict=True)
    rows = [_row(f"lifetime {i} (ps)", *one) for i, one in enumerate(fitted, 1)]
    rows.append(_row("irf sigma (ps)", fit.sigma_ps, fit.sigma_err_ps, intervals.sigma_ps))
    rows.append(_row("time zero (ps)", fit.t0_ps, fit.t0_err_ps, intervals.t0_ps))
    yield Table(_COLUMNS, rows)
    names = [*(f"decay {i + 1}" for i in range(k)), "offset"][: fit.fractions.shape[1]]
    names += ["baseline"] * fit.model.baseline
    if len(fit.traces) > FEW:
        yield from _amplitude_table(fit, names)
    else:
        yield from _trace_lines(fit, intervals, names)
    yield from _verdicts(fit, test)


def _amplitude_table(fit: KineticFit, names: list[str]) -> Iterator[Said]:
    """One line for each of many traces: the spectra of the decays."""
    yield ""
    traces = zip(fit.traces, fit.amplitudes, fit.amplitudes_err, strict=True)
    yield Table({"amplitudes": "20s", **dict.fromkeys(names, ">24s")}, [
        (trace.label, *(f"{v:.4g} ± {e:.2g}" for v, e in zip(values, errors, strict=True)))
        for trace, values, errors in traces])


def _trace_lines(fit: KineticFit, intervals: Intervals, names: list[str]) -> Iterator[Said]:
    """Fractions of each trace, or amplitudes where there are none, and its baseline."""
    for i, (trace, mixed) in enumerate(zip(fit.traces, fit.mixed, strict=True)):
        what = ("amplitudes (of different signs, which have no fractions)" if mixed
                else "fractions (%)")
        yield f"\n{trace.label}: {what}"
        rows = []
        amplitudes = zip(names, fit.amplitudes[i], fit.amplitudes_err[i], strict=True)
        shares = zip(fit.fractions[i], fit.fractions_err[i], intervals.fractions[i], strict=True)
        for name, value, error in amplitudes:
            share_, share_error, held = next(shares, (0.0, 0.0, None))
            if mixed or name == "baseline":
                unit = "" if mixed else " (signal)"
                rows.append((name + unit, value, f"{error:.2g}", "", ""))
                continue
            percent = held and tuple((100 * low, 100 * high) for low, high in held)
            rows.append(_row(name, 100 * share_, 100 * share_error, percent))
        yield Table(_COLUMNS, rows)


def _verdicts(fit: KineticFit, test: FTest | None) -> Iterator[str]:
    """Whether the model describes the data, and what the errors are."""
    k = fit.model.components
    kind = "residual variance" if fit.chi2_p is None else "reduced chi2"
    yield f"\n{kind} {fit.chi2_red:.4g} for {fit.dof} degrees of freedom"
    yield ("Errors are the covariance's, to first order; intervals are where chi2, all else"
           " refitted, has risen: quote these.")
    if fit.chi2_p is not None and fit.chi2_p < 1e-3:
        yield (f"The fit does not describe the data within their errors (p = {fit.chi2_p:.2g}): the"
               " model lacks something, or the errors are too small, and so are those above. Look"
               " at the residuals (--figure).")
    if fit.runs_p < 1e-2:
        yield ("The residuals keep their sign for longer than chance would have it (runs test,"
               f" p = {fit.runs_p:.2g}): the model lacks something, such as another decay, a"
               " baseline (--baseline) or earlier pulses (--period); lifetimes and errors above"
               " are then not to be trusted.")
    if fit.error_scale is not None:
        low, high = fit.error_scale.min(), fit.error_scale.max()
        scale = f"{low:.3g}" + (f" to {high:.3g}, by trace" if high > 1.001 * low else "")
        yield (f"The errors come from the scatter about the fit: a standard deviation of {scale}"
               " (in the unit of the signal) that is right only if the model is.")
    if fit.model.period_ps is not None and fit.model.offset:
        yield "What lives longer than the pump period is in offset and baseline."
    if test is not None:
        verdict = "the data ask for it" if test.p < 0.05 else "the data do not ask for it"
        yield (f"F test of {k} against {k - 1} components: F = {test.f:.3g}, p = {test.p:.3g}:"
               f" {verdict}")
    yield ("A decay near 100 ps is often read as Auger recombination of several carriers in one"
           " nanocrystal, one near a nanosecond or more as radiative; the fit itself does not tell:"
           " vary the fluence to find out.")


def _row(name: str, value: float, error: float,
         ends: tuple[Interval, ...] | None) -> tuple[str, float, str, str, str]:
    if ends is None:
        return name, value, f"{error:.2g}" if error else "fixed", "", ""
    one, two = (f"{low:.4g} to {high:.4g}" for low, high in ends)
    return name, value, f"{error:.2g}", one, two
