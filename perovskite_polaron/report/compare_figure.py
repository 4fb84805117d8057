"""Figure of a transient with its scenarios: steady state above, transient and fits below."""

from pathlib import Path

from perovskite_polaron.experiment.fit import Comparison
from perovskite_polaron.experiment.scan import Scan
from perovskite_polaron.experiment.scenario import ScenarioSet
from perovskite_polaron.report.sweep_figure import save

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def write_compare_figure(transient: Scan, found: Comparison, theory: ScenarioSet, offset_eV: float, path: Path) -> Path:
    """Draw it; .png or .svg. The best scenario is the thick line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    top.plot(theory.energy_eV + offset_eV, theory.steady_state, color="0.2", label="calculated steady state")
    top.set_ylabel("absorption (arb. units)")
    top.legend(frameon=False)
    bottom.errorbar(
        transient.energy_eV,
        transient.intensity,
        transient.error,
        fmt="o",
        ms=3,
        lw=0.8,
        color="0.4",
        label=transient.name,
    )
    for i, fit in enumerate(found.fits[: len(COLOURS)]):
        chosen = fit is found.best
        bottom.plot(
            transient.energy_eV, fit.model, color=COLOURS[i], lw=2.2 if chosen else 1.1, ls="-" if chosen else "--",
            label=f"{fit.scenario.name} (ΔAIC {fit.aic - found.fits[0].aic:.1f})",
        )  # fmt: skip
    bottom.axhline(0, color="0.7", lw=0.8, zorder=0)
    bottom.set_xlim(transient.energy_eV[0], transient.energy_eV[-1])
    bottom.ticklabel_format(axis="x", useOffset=False)
    bottom.set_xlabel("photon energy (eV)")
    bottom.set_ylabel("change of absorption")
    bottom.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.08, 1.0), ncols=2, columnspacing=1.2)
    return save(figure, path)
