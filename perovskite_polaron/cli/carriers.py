"""``polaron carriers``: what electrons and holes open and block in the spectra of a study."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.cli.options import emit, make_folder, pick, plain, quantity, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.figures.carriers import columns, draw_carriers
from perovskite_polaron.figures.style import save
from perovskite_polaron.files import read_text, write_atomically, write_csv
from perovskite_polaron.spectra.carriers import Carriers, carriers, parse_carrier_density
from perovskite_polaron.units import PER_MOL, parse_kelvin
from perovskite_polaron.workflow.carriers import (
    WINDOW_EV, CarrierSpectra, carrier_spectra, cell_volume_A3, edge_bands, read_edges,
    reference_of)
from perovskite_polaron.workflow.results import StudyResults
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.spectra import load_results, powder_spectra

# A quasi-Fermi level so far in a band has left what an effective mass describes.
_PARABOLIC_EV = 0.4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    add, energy = parser.add_argument, quantity("energy")
    add("source", metavar="STUDY.toml|FOLDER", type=Path, nargs="?", default=BUILT_IN,
        help="study file, or a folder with results.json, chains.npz and pdos.npz (default: the"
        " built-in CsPbBr3 set)")
    add("--density", metavar="1e19cm-3",
        help="pairs of electrons and holes, as 1e19cm-3, 0.01/cell or 40/nc (with --size)")
    add("--heat", metavar="FILE", type=Path,
        help="instead: what polaron heat --json wrote, every absorbed photon a pair")
    add("--size", type=quantity("length"), help="edge of a cuboidal nanocrystal, as 10nm")
    add("--temperature", type=parse_kelvin, default="300K",
        help="of the carriers (default %(default)s)")
    add("--electron-mass", type=float, metavar="M", help="effective mass of the density of states,"
        " in masses of the electron (default: 0.17 for CsPbBr3, else the levels of pdos.npz)")
    add("--hole-mass", type=float, metavar="M", help="the same of the holes")
    add("--structure", metavar="NAME", help="structure of the study (default: its reference)")
    add("--window", type=energy, default=f"{WINDOW_EV:g}eV", help="from each edge, over which the"
        " intensity per state of the chains is a mean (default %(default)s)")
    add("--pdos", type=Path, metavar="FILE.npz",
        help="band edges of the reference (default: the study's own)")
    add("--edge", type=energy, help="photon energy of the calculated zero, for the figure's axis")
    add("--out", type=Path, metavar="DIR",
        help="folder of table and figure (default: the name of STUDY + -carriers, here)")
    share(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Write carriers.csv, .json, .png and .svg, and print what each site opens and blocks.

    Examples
    --------
    polaron carriers --density 1e19cm-3 --temperature 300K  # of the built-in CsPbBr3 set
    polaron carriers cspbbr3.toml --density 40/nc --size 10nm --edge 13465.45eV
    polaron carriers cspbbr3.toml --heat heat.json --structure lo@0.1
    """
    results, settings, folder = load_results(args.source)
    states = read_edges(results, folder, args.pdos)
    volume_A3 = cell_volume_A3(reference_of(results))
    bands = edge_bands(states, volume_A3, args.electron_mass, args.hole_mass)
    given = carriers(_density(args, volume_A3), args.temperature, volume_A3, *bands)
    found = carrier_spectra(results, settings, states, given, args.structure, args.window)
    maximum = _maximum(results, settings)
    name = args.source.absolute().name.removesuffix(".toml")
    out = make_folder(args.out or Path(f"{name}-carriers"))
    files = [write_csv(out / "carriers.csv", columns(found, maximum))]
    figure = draw_carriers(found, maximum, args.edge)
    files += [save(figure, out / f"carriers{suffix}") for suffix in (".png", ".svg")]
    record = _record(found, maximum, bands[0].words, bands[1].words)
    record["files"] = [*files, out / "carriers.json"]
    text = json.dumps(plain(record), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(out / "carriers.json", text + "\n")
    emit(args, record, [*_lines(found, record), f"table and figure are in {out}"])


def _density(args: argparse.Namespace, cell_A3: float) -> float:
    """Return the density of pairs in 1/cm³ that a command line asks for."""
    require((args.density is None) != (args.heat is None),
            "say how many carriers there are, with --density or with --heat")
    if args.heat is None:
        crystal = None if args.size is None else float(args.size) ** 3
        return parse_carrier_density(args.density, cell_A3, crystal)
    require(args.size is None, "--heat knows the size of the crystals: leave out --size")
    try:
        heat = json.loads(read_text(args.heat, "file made by polaron heat --json"))
        crystal = heat["crystal"]
        per_cm3 = crystal["density_g_cm3"] / crystal["molar_mass_g_mol"] * PER_MOL
        return float(heat["pairs_per_formula"] * per_cm3)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"--heat {args.heat}: it does not say how many pairs there are: give what"
                         " polaron heat --json printed") from None


def _maximum(results: StudyResults, settings: Any) -> float:
    spectra = powder_spectra(results, settings)
    return float(spectra.structures[spectra.reference].average.intensity.max())


def _peak(curve: Array, energy_eV: Array, maximum: float) -> dict[str, float]:
    at = int(np.argmax(curve))
    return {"percent_of_maximum": 100 * float(curve[at]) / maximum, "energy_eV": energy_eV[at]}


def _record(found: CarrierSpectra, maximum: float, electrons: str, holes: str) -> dict[str, Any]:
    given = found.carriers
    opened = [s.projection.opened for s in found.sites], [s.chain.opened for s in found.sites]
    blocked = [s.chain.blocked for s in found.sites], [s.projection.blocked for s in found.sites]
    stands = [found.mean([s.as_it_stands[i] for s in found.sites]) for i in (0, 1)]
    record: dict[str, Any] = {
        **pick(given, "density_per_cm3", "pairs_per_cell", "temperature_K"),
        "structure": found.structure,
        "gap_eV": found.edges_eV[1] - found.edges_eV[0],
        "edges_eV": dict(zip(("VBM", "CBM"), found.edges_eV, strict=True)),
        "electrons": _kind(given, "electrons", electrons), "holes": _kind(given, "holes", holes),
        "sites": [
            {**pick(s, "label", "multiplicity", "valence_share", "conduction_share"),
             "opened": _peak(s.projection.opened, found.energy_eV, maximum),
             "blocked": _peak(s.chain.blocked, found.energy_eV, maximum),
             "opened_with_core_hole": _peak(s.chain.opened, found.energy_eV, maximum),
             "blocked_without_core_hole": _peak(s.projection.blocked, found.energy_eV, maximum)}
            for s in found.sites]}
    for name, (mine, other), own in zip(("opened", "blocked"), (opened, blocked), stands,
                                        strict=True):
        curve = found.mean(mine)
        record[name] = _peak(curve, found.energy_eV, maximum) | {
            "other_way_ratio": float(found.mean(other).sum() / curve.sum()),
            "as_it_stands_ratio": float(own.sum() / curve.sum())}
    record["statements"] = list(_statements(found, record))
    return record


def _kind(given: Carriers, kind: str, words: str) -> dict[str, Any]:
    return {"quasi_fermi_eV": given.level_eV[kind], "mean_energy_eV": given.mean_energy_eV(kind),
            "states": words}


def _statements(found: CarrierSpectra, record: dict[str, Any]) -> Iterator[str]:
    given = found.carriers
    ratios = [record[name][f"{key}_ratio"] for name in ("opened", "blocked")
              for key in ("other_way", "as_it_stands")]
    yield (f"With the core hole the opened channel is {ratios[0]:.2g} times, without it the blocked"
           f" one {ratios[2]:.2g} times what is given here: that is how well their sizes are"
           " known.")
    yield ("Filled as they stand, the levels of the chains would open"
           f" {abs(ratios[1]):.1f} and block {abs(ratios[3]):.1f} times as much: so far are their k"
           " points from the band edges.")
    deep = [kind for kind in given.bands if given.level_eV[kind] > _PARABOLIC_EV
            and "mass" in given.bands[kind].words]
    if deep:
        yield (f"The quasi-Fermi level of the {' and '.join(deep)} lies more than"
               f" {_PARABOLIC_EV:g} eV in its band, where an effective mass no longer holds: the"
               " number of carriers is right, their energies are not.")
    yield ("Screening of the core hole by the carriers and the shrinking of the gap are not in"
           " these channels; near the edge they may be larger (polaron compare --electronic fits"
           " them beside these, as a shift).")


def _lines(found: CarrierSpectra, record: dict[str, Any]) -> Iterator[Said]:
    given = found.carriers
    yield (f"{found.structure}: {given.density_per_cm3:.3g} pairs per cm3,"
           f" {given.pairs_per_cell:.3g} per cell, {given.temperature_K:g} K")
    yield (f"band edges at {found.edges_eV[0]:+.2f} and {found.edges_eV[1]:+.2f} eV from the mean"
           f" edge (computed gap {record['gap_eV']:.2f} eV)")
    for kind in ("electrons", "holes"):
        one = record[kind]
        side = "in the band" if one["quasi_fermi_eV"] > 0 else "in the gap"
        yield (f"{kind:10s} quasi-Fermi level {abs(one['quasi_fermi_eV']):.3f} eV {side}, mean"
               f" energy {one['mean_energy_eV']:.3f} eV in the band ({one['states']})")
    yield ""
    heads = {"site": "12s", "atoms": "6d", "p of VBM (%)": "14.2f", "p of CBM (%)": "14.2f",
             "opened (%)": "12.4f", "with hole": "11.4f", "blocked (%)": "13.4f",
             "no hole": "10.4f"}
    keys = ("opened", "opened_with_core_hole", "blocked", "blocked_without_core_hole")
    rows = [(s["label"], s["multiplicity"], 100 * s["valence_share"], 100 * s["conduction_share"],
             *(s[key]["percent_of_maximum"] for key in keys)) for s in record["sites"]]
    yield Table(heads, rows)
    both = [record[name] for name in ("opened", "blocked")]
    yield ""
    yield (f"all sites: opened {both[0]['percent_of_maximum']:.4f} % of the maximum at"
           f" {both[0]['energy_eV']:+.2f} eV, blocked {both[1]['percent_of_maximum']:.4f} % at"
           f" {both[1]['energy_eV']:+.2f} eV")
    yield from record["statements"]
