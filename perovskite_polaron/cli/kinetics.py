"""``polaron kinetics``: global fit of pump-probe traces with shared lifetimes."""

import argparse
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import ComputationError
from perovskite_polaron.experiment.kinetics import (
    FTest,
    KineticFit,
    KineticModel,
    f_test,
    fit_kinetics,
    profile_interval,
)
from perovskite_polaron.experiment.readers import read_traces
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
    parser.add_argument("--profile", action="store_true", help="also give 68 %% and 95 %% profile-likelihood intervals")
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
    profiles = (
        [[profile_interval(fit, k, level) for level in (0.6827, 0.95)] for k in range(args.components)]
        if args.profile
        else None
    )
    if args.figure is not None:
        from perovskite_polaron.report.kinetics_figure import write_kinetics_figure

        write_kinetics_figure(fit, args.figure)
    print(json.dumps(summary(fit, test, profiles)) if args.json else table(fit, test, profiles))
    return 0


def summary(fit: KineticFit, test: FTest | None, profiles: list[list[tuple[float, float]]] | None) -> dict[str, Any]:
    """Return the fit as one object for JSON."""
    k = fit.model.components
    rows = zip(fit.traces, fit.fractions, fit.fractions_err, fit.amplitudes, strict=True)
    result: dict[str, Any] = {
        "lifetimes_ps": fit.lifetimes_ps.tolist(),
        "lifetimes_err_ps": fit.lifetimes_err_ps.tolist(),
        "fractions": [
            {"label": t.label, "value": f[:k].tolist(), "err": e[:k].tolist(), "amplitudes": a.tolist()}
            for t, f, e, a in rows
        ],
        "offset": fit.fractions[:, k].tolist() if fit.model.offset else None,
        "offset_err": fit.fractions_err[:, k].tolist() if fit.model.offset else None,
        "chi2_red": fit.chi2_red,
        "irf_sigma_ps": fit.sigma_ps,
        "irf_sigma_err_ps": fit.sigma_err_ps,
        "t0_ps": fit.t0_ps,
        "t0_err_ps": fit.t0_err_ps,
        "errors_scaled_by_scatter": fit.scaled_errors,
        "f_test_p": None if test is None else test.p,
    }
    if profiles is not None:
        result["lifetimes_interval_ps"] = [
            {
                level: [None if end == float("inf") else end for end in ends]
                for level, ends in zip(("68", "95"), rows, strict=True)
            }
            for rows in profiles
        ]
    return result


def table(fit: KineticFit, test: FTest | None, profiles: list[list[tuple[float, float]]] | None) -> str:
    """Return the fit for people."""
    k = fit.model.components
    lines = [
        f"lifetime {i + 1}   {tau:10.4g} ± {err:.2g} ps"
        for i, (tau, err) in enumerate(zip(fit.lifetimes_ps, fit.lifetimes_err_ps, strict=True))
    ]
    for i, rows in enumerate(profiles or []):
        lines.append(
            f"  {i + 1}: 68 % from {rows[0][0]:.4g} to {rows[0][1]:.4g} ps, 95 % from {rows[1][0]:.4g} to {rows[1][1]:.4g} ps"
        )
    lines.append(
        f"irf sigma    {fit.sigma_ps:10.4g} ± {fit.sigma_err_ps:.2g} ps" + ("" if fit.model.sigma_free else " (fixed)")
    )
    lines.append(f"time zero    {fit.t0_ps:10.4g} ± {fit.t0_err_ps:.2g} ps" + ("" if fit.model.t0_free else " (fixed)"))
    lines += [
        "",
        f"{'fractions (%)':24s}"
        + "".join(f"{'decay ' + str(i + 1):>15s}" for i in range(k))
        + (f"{'offset':>15s}" if fit.model.offset else ""),
    ]
    for trace, fractions, errors in zip(fit.traces, fit.fractions, fit.fractions_err, strict=True):
        lines.append(
            f"{trace.label[:23]:24s}"
            + "".join(f"{100 * f:8.1f} ± {100 * e:4.1f}" for f, e in zip(fractions, errors, strict=True))
        )
    lines += [
        "",
        f"{'residual variance' if fit.scaled_errors else 'reduced chi2'} {fit.chi2_red:.4g} for {fit.dof} degrees of freedom",
    ]
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
