"""Which atoms and which polarisation make the difference."""

from collections.abc import Sequence

import numpy as np

from perovskite_polaron.bonds import find_framework
from perovskite_polaron.errors import InputError
from perovskite_polaron.report.charts import WIDTH_IN, Chart, Column
from perovskite_polaron.report.difference_chart import RANGE_EV
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.resolved import Part

_COLOURS = {"x": "#0072B2", "y": "#009E73", "z": "#D55E00", "": "#0072B2"}


def largest_displaced(subject: Subject) -> str | None:
    """Return the structure with the largest displacement whose difference can be resolved; None when none can."""
    names = [n for n in subject.names if subject.parts(n)]
    return max(names, key=lambda n: subject.result(n).amplitude_sqrt_amu_A or 0.0, default=None)


def site_title(subject: Subject, name: str, first: int) -> str:
    """Return what to call an orbit: ``axial Br, 4c → 4a`` where there are octahedra, else element and sites."""
    structure = subject.structures[name]
    absorber = next(a for a in structure.absorbers if a.index == first)
    where = absorber.site if absorber.parent is None else f"{absorber.parent} → {absorber.site}"
    try:
        axial = find_framework(subject.structures[subject.reference].crystal)
    except InputError:
        return f"{absorber.element}{first + 1}, {where}"
    word = "axial " if first in axial.axial_x else "equatorial " if first in axial.equatorial_x else ""
    return f"{word}{absorber.element}{first + 1}, {where}"


def by_site(found: Sequence[Part]) -> dict[int, list[Part]]:
    """Return the parts of each orbit, by its first atom."""
    sites: dict[int, list[Part]] = {}
    for part in found:
        sites.setdefault(part.first, []).append(part)
    return sites


def parts_chart(subject: Subject, name: str) -> Chart:
    """Draw a panel for each orbit: its polarisations and their sum; above them the sums with the whole difference."""
    from matplotlib.figure import Figure

    sites = by_site(subject.parts(name))
    total = sum(p[0].atoms for p in sites.values())
    figure = Figure(figsize=(WIDTH_IN, 2.4 + 2.1 * len(sites)), layout="constrained")
    top, *panels = figure.subplots(1 + len(sites), 1, sharex=True, sharey=True)
    x = subject.energy_eV + subject.edge_eV
    columns: dict[str, Column] = {"energy_eV": x}
    top.plot(x, subject.percent(name), color="0.1", lw=2.0, label=f"{name} − {subject.reference}")
    for colour, style, axes, (first, found) in zip(
        ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9") * len(sites), ("-", "--", "-.", ":") * len(sites),
        panels, sites.items(), strict=False,
    ):  # fmt: skip
        title = f"{site_title(subject, name, first)}, {found[0].atoms} of {total}"
        whole = np.sum([p.difference for p in found], axis=0)
        top.plot(x, whole, color=colour, ls=style, lw=1.3, label=title)
        columns[f"{title} (% of maximum)"] = whole
        axes.plot(x, whole, color="0.1", lw=1.6, label="sum")
        for part in found:
            if part.polarisation:
                axes.plot(x, part.difference, color=_COLOURS[part.polarisation], lw=1.3, label=part.polarisation)
                columns[f"{title} {part.polarisation} (% of maximum)"] = part.difference
        axes.set_title(title, fontsize=10, loc="left")
        axes.legend(frameon=False, fontsize=9, ncols=4, loc="lower right", columnspacing=1.0)
    for axes in (top, *panels):
        axes.axhline(0, color="0.6", lw=0.8)
        axes.set_ylabel("% of maximum")
    place = subject.white_line_eV + subject.edge_eV
    top.set_xlim(place + RANGE_EV[0], place + RANGE_EV[1])
    low, high = top.get_ylim()
    top.set_ylim(low - 0.15 * (high - low), high)
    top.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    panels[-1].ticklabel_format(axis="x", useOffset=False)
    panels[-1].locator_params(axis="x", nbins=6)
    panels[-1].set_xlabel("photon energy (eV)" if subject.is_published_case else "energy above the reference edge (eV)")
    columns[f"{name} - {subject.reference} (% of maximum)"] = subject.percent(name)
    return Chart(
        "sites",
        "Which atoms make the signal",
        f"The difference of {name} split into its sites and polarisations, which add up to it.",
        figure,
        {"": columns},
    )
