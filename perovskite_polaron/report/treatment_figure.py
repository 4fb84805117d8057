"""Figure of treated spectra: one line for each condition, with the error as a band."""

from collections.abc import Sequence
from pathlib import Path

from perovskite_polaron.experiment.scan import Scan
from perovskite_polaron.report.sweep_figure import save


def write_treatment_figure(scans: Sequence[Scan], path: Path) -> Path:
    """Draw the scans over each other, coloured in the order of delay or temperature; .png or .svg."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    ordered = sorted(scans, key=lambda s: (s.delay_ps or 0.0, s.temperature_C or 0.0))
    # The end of viridis is too pale for a line on white.
    colours = mpl.colormaps["viridis"]([0.85 * i / max(1, len(ordered) - 1) for i in range(len(ordered))])
    for scan, colour in zip(ordered, colours, strict=True):
        axes.plot(scan.energy_eV, scan.intensity, color=colour, lw=1.2, label=_condition(scan))
        if scan.error is not None:
            axes.fill_between(
                scan.energy_eV, scan.intensity - scan.error, scan.intensity + scan.error, color=colour, alpha=0.25, lw=0
            )
    if min(scan.intensity.min() for scan in scans) < 0:
        axes.axhline(0, color="0.6", lw=0.8, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.ticklabel_format(useOffset=False, axis="x")
    axes.set_xlabel("energy (eV)")
    axes.set_ylabel(_ordinate(scans[0]))
    axes.margins(x=0)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return save(figure, path)


def _condition(scan: Scan) -> str:
    parts = []
    if scan.delay_ps is not None:
        parts.append(f"{scan.delay_ps:g} ps" if abs(scan.delay_ps) < 1000 else f"{scan.delay_ps / 1000:g} ns")
    if scan.temperature_C is not None:
        parts.append(f"{scan.temperature_C:g} °C")
    return ", ".join(parts) or scan.name


def _ordinate(scan: Scan) -> str:
    names = {step.name: step.parameters for step in scan.history}
    word = "difference" if "subtract" in names else "signal"
    by = str(names["normalise"]["by"]).replace("_", " ") if "normalise" in names else ""
    return f"{word}, divided by {by}{' (1/eV)' if 'area' in by else ''}" if by else f"{word} (as measured)"
