"""``polaron heat``: how hot a pump pulse makes the nanocrystals, and what that rests on."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.analysis.heated_crystal import (
    HeatCapacity, Material, Transition, constant_heat_capacity, material, read_heat_capacity)
from perovskite_polaron.analysis.heating import (
    RELATIVE_SIGMA, Exposure, Heating, Place, Recombination, heating)
from perovskite_polaron.cli.options import emit, pick, quantity, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import read_text
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.units import (
    HC_EV_A, UNITS, parse_quantity, parse_temperature_celsius, split_quantity)

#: Time constant of Newton's cooling, where none is given.
COOLING_PS = 300.0
_TIMES_PS = np.array([0.0, 100, 200, 300, 400, 500, 600, 800, 1000, 1500, 2000])
_LN_10 = float(np.log(10))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    for name, kind, words in (
        ("fluence", quantity("fluence"), "pulse energy per area, as 8.8mJ/cm2"),
        ("pump", _photon_eV, "wavelength or photon energy, as 355nm or 3.49eV"),
        ("size", quantity("length"), "edge of the cuboidal nanocrystals, as 10nm"),
        ("concentration", quantity("concentration"),
         "mass of crystal per volume of the jet, as 5.8mg/mL"),
        ("jet", quantity("length"), "thickness of the jet, as 200um")):
        add(f"--{name}", type=kind, required=True, help=words)
    add("--crystal", default="cspbbr3-pbnm", help="built-in name or structure file: it gives molar"
        " mass and density (default: cspbbr3-pbnm)")
    add("--gap", type=quantity("energy"), help="band gap (default: 2.4eV for CsPbBr3)")
    add("--start", type=parse_temperature_celsius, default="25C",
        help="temperature before the pulse (default: 25C)")
    add("--absorption", type=quantity("inverse length"), help="natural absorption coefficient µ of"
        " the jet, of exp(-µd), as 50cm-1: 2.303 times the absorbance per length that spectrometers"
        " print (default: everything is absorbed)")
    add("--saturation", type=quantity("fluence"), help="fluence at which absorption has fallen to"
        " half, as 5mJ/cm2 (default: it does not saturate)")
    add("--heat-capacity", metavar="VALUE|FILE", help="per mole of formula units, as 120J/mol/K; or"
        " a table of temperature and heat capacity; or a mode file or cspbbr3, taken as harmonic"
        " (default: Dulong-Petit; below 200 K the modes of CsPbBr3)")
    add("--transition", type=_transition, action="append", default=[],
        metavar="PHASE=LOW:HIGH[:LATENT]", help="a phase that the crystal becomes on heating, as"
        " cubic=108C:117C:400J/mol (default: those of CsPbBr3 at 50-59 and 108-117 C, no latent"
        " heat)")
    add("--all-heat", action="store_true",
        help="count the whole photon as heat at once, as if all pairs had recombined without light")
    add("--recombination", action="append", default=[], metavar="FRACTION:LIFETIME[:YIELD]|FILE",
        help="pairs that recombine later, as 60%%:120ps, or 21%%:900ps:0.5 where half of them give"
        " light; or the decays in a file of polaron kinetics --json (FILE:LABEL for one of several"
        " traces), taken without light")
    add("--cooling", type=quantity("time"), default=f"{COOLING_PS:g}ps",
        help="time constant of Newton's cooling (default: %(default)s)")
    known = ", ".join(f"{k} ({v:g})" for k, v in RELATIVE_SIGMA.items())
    add("--sigma", type=_sigma, action="append", default=[], metavar="INPUT=FRACTION",
        help=f"relative uncertainty of an input, e.g. jet=0.1; inputs: {known}")
    add("--figure", type=Path, help="draw what dominates, and the cooling (.png or .svg)")
    share(parser, "--json")


def _photon_eV(text: str) -> float:
    """Return the energy of a photon given by its energy or its wavelength."""
    length = split_quantity(text)[1] in UNITS["length"]
    value = parse_quantity(text, "length" if length else "energy")
    require(value > 0, f"--pump {text}: it must be positive")
    return HC_EV_A / value if length else value


def _heat_capacity(text: str | None, of: Material) -> HeatCapacity | None:
    """Return what ``--heat-capacity`` names: a file if there is such a one, else a quantity."""
    if text is None:
        return None
    if Path(text).exists() or text[:1] not in tuple("0123456789.+-"):
        return read_heat_capacity(text, of)
    return constant_heat_capacity(parse_quantity(text, "heat capacity"))


def _transition(text: str) -> Transition:
    phase, _, rest = text.partition("=")
    low, high, latent = (*rest.split(":"), "0J/mol")[:3] if ":" in rest else ("", "", "")
    require(phase and low, f"--transition {text}: write it as cubic=108C:117C:400J/mol")
    return Transition(phase, parse_temperature_celsius(low), parse_temperature_celsius(high),
                      parse_quantity(latent, "molar energy"))


def _recombination(text: str) -> tuple[Recombination, ...]:
    """Return what ``--recombination`` says, or the decays of the fit that it names."""
    try:
        if text[:1].isdigit() and not Path(text).exists():
            fraction, lifetime, light = (*text.split(":"), "0")[:3]
            part = float(fraction.removesuffix("%")) / (100 if fraction.endswith("%") else 1)
            return (Recombination(part, parse_quantity(lifetime, "time"), float(light)),)
        # Labels may hold colons of their own.
        ends = [i for i, c in enumerate(text) if c == ":" and Path(text[:i]).is_file()]
        end = ends[0] if ends and not Path(text).exists() else len(text)
        label = text[end + 1:]
        fit = json.loads(read_text(text[:end], "file made by polaron kinetics --json"))
        traces = [t for t in fit["fractions"] if label in ("", t["label"])]
        require(len(traces) == 1 and traces[0]["value"], f"--recombination {text}: the fit has the "
                f"traces {', '.join(t['label'] for t in fit['fractions'])}: name one that has "
                "fractions, as FILE:LABEL")
        pairs = zip(traces[0]["value"], fit["lifetimes_ps"], strict=True)
        return tuple(Recombination(f, t) for f, t in pairs)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"--recombination {text}: write it as 60%:120ps or 21%:900ps:0.5, or name "
                         "a file made by polaron kinetics --json") from None


def _sigma(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.replace("-", "_"), float(value)
    except ValueError:
        raise InputError(f"--sigma {text}: write it as jet=0.1") from None


def run(args: argparse.Namespace) -> None:
    """Compute and print.

    Examples
    --------
    polaron heat --fluence 8.8mJ/cm2 --pump 355nm --size 10nm --concentration 5.8mg/mL --jet 200um
    """
    of = material(read_crystal(args.crystal), args.gap, args.transition)
    exposure = Exposure(
        args.fluence, args.pump, args.size, args.concentration, args.jet, of, args.start,
        args.absorption, _heat_capacity(args.heat_capacity, of), 1.0 if args.all_heat else None,
        args.saturation,
        tuple(channel for text in args.recombination for channel in _recombination(text)))
    result = heating(exposure, RELATIVE_SIGMA | dict(args.sigma))
    if args.figure is not None:
        from perovskite_polaron.figures import measured, style

        figures = {"as given": result}
        if exposure.recombination:
            figures["no pair recombines"] = heating(replace(exposure, recombination=()))
        style.save(measured.draw_heating(figures, args.cooling)[0], args.figure)
    emit(args, _record(result, _curves(result, args.cooling)), lines(result, args.cooling))


def _curves(result: Heating, cooling_ps: float) -> dict[str, np.ndarray]:
    """The temperatures on cooling, of the jet's mean and, where they are known, its ends."""
    places: dict[str, Place | None] = {"mean": None}
    if result.front is not None:
        places |= {"front": result.front, "back": result.back}
    return {name: result.course(_TIMES_PS, cooling_ps, place).temperature_C
            for name, place in places.items()}


def _statements(result: Heating) -> Iterator[str]:
    """What the number means, in words."""
    e = result.exposure
    yield ("The rise is the mean over the jet right after the pulse: in front, where the light"
           " enters, it is larger, at the back smaller.")
    if e.absorption_per_cm is None:
        yield ("Assumed: the jet absorbs the whole pulse. How much hotter its front is, is then not"
               " known: give --absorption.")
    if e.recombination:
        yield ("Recombination is counted as given; pairs that it leaves out live on and heat"
               " nothing.")
    elif e.heating_part < 1:
        yield ("Heat of pairs that recombine while one measures is not counted, so this is no upper"
               " limit of the temperature: give --recombination.")
    photons, density = result.photons_per_nc, result.photons_per_nc / e.size_A**3 * 1e24
    if photons > 1:
        yield (f"{photons:.0f} ± {np.sqrt(photons):.0f} pairs in one crystal are {density:.1e} per"
               f" cm3, {result.pairs_per_formula:.2g} for each formula unit: as a rule all but the"
               " last few recombine through each other (Auger), as heat.")
        if e.saturation_mJ_cm2 is None:
            yield ("Assumed: so many pairs do not bleach the absorption (--saturation), so the"
                   " photons are an upper limit.")
    else:
        yield (f"{photons:.2g} photons for a crystal are a mean: one photon warms the crystal that"
               f" absorbs it by {result.delta_T_K / photons:.1f} K, the others not at all.")
    if result.equivalent:
        yield ("Several input choices give the published 120 K, so agreement with it identifies"
               f" none of them: {'; '.join(result.equivalent)}.")
    if result.tornado:
        yield f"The range is dominated by: {result.tornado[0][0].replace('_', ' ')}."


def _record(result: Heating, curves: dict[str, np.ndarray]) -> dict[str, Any]:
    e = result.exposure
    bars = ("input", "delta_T_low_input_K", "delta_T_high_input_K")

    def listed(curve: np.ndarray) -> list[dict[str, float]]:
        return [{"time_ps": t, "value": v} for t, v in zip(_TIMES_PS, curve, strict=True)]

    return {
        **pick(result, "delta_T_K", "delta_T_low_K", "delta_T_high_K", "delta_T_all_K",
               "photons_per_nc", "pairs_per_formula", "absorbed_fraction", "phase"),
        "front_face_delta_T_K": result.front and result.front.delta_T_K,
        "back_face_delta_T_K": result.back and result.back.delta_T_K,
        "interval": "16th to 84th percentile", "absorbed_energy_per_nc_eV": result.total_energy_eV,
        "heat_per_nc_eV": result.heat_eV, "heat_capacity": e.capacity.words,
        "heat_capacity_at_start_J_mol_K": e.capacity.at_J_mol_K(e.start_C),
        "crystal": pick(e.material, "formula", "molar_mass_g_mol", "density_g_cm3", "gap_eV"),
        "absorption_per_cm": e.absorption_per_cm,
        "absorption_decadic_per_cm": e.absorption_per_cm and e.absorption_per_cm / _LN_10,
        "recombination": e.recombination, "final_temperature_C": result.final_C,
        **{f"{name}_temperature_C".removeprefix("mean_"): listed(curve)
           for name, curve in curves.items()},
        "tornado": [dict(zip(bars, bar, strict=True)) for bar in result.tornado],
        "statements": list(_statements(result))}


def lines(result: Heating, cooling_ps: float = COOLING_PS) -> Iterator[Said]:
    """Return the estimate for people."""
    curves = _curves(result, cooling_ps)
    yield Table({"": "32s", " ": ">9s", "  ": "7s", "   ": "s"}, list(_numbers(result)))
    yield ""
    yield Table({"one standard deviation of": "27s", "moves the rise (K) from": "26.1f",
                 "to": "10.1f"},
                [(name.replace("_", " "), *ends) for name, *ends in result.tornado])
    yield ""
    yield Table({f"cooling with {cooling_ps:g} ps, time (ps)": "34.0f",
                 **{name.replace("_", " ") + " (C)": "14.1f" for name in curves}},
                list(zip(_TIMES_PS, *curves.values(), strict=True)))
    yield ""
    yield from _statements(result)


def _numbers(result: Heating) -> Iterator[tuple[str, str, str, str]]:
    """Yield what, how much, its unit, and what to know of it."""
    e, front, back = result.exposure, result.front, result.back
    of = e.material
    yield ("temperature rise after the pulse", f"{result.delta_T_K:.1f}", "K",
           f"68 % range {result.delta_T_low_K:.0f} to {result.delta_T_high_K:.0f} K, mean over the"
           " jet")
    if front and back:
        yield "at the jet's front", f"{front.delta_T_K:.1f}", "K", ""
        yield "at the jet's back", f"{back.delta_T_K:.1f}", "K", ""
    else:
        yield "at the jet's front and back", "-", "", "not known without an absorption coefficient"
    yield ("upper limit at any time", f"{result.delta_T_all_K:.1f}", "K",
           "mean; all pairs recombined without light, nothing cooled")
    yield "temperature right after", f"{result.final_C:.1f}", "C", result.phase
    yield ("absorbed by the jet", f"{100 * result.absorbed_fraction:.1f}", "%", "of the pulse")
    if e.absorption_per_cm is not None:
        yield ("absorption coefficient", f"{e.absorption_per_cm:.4g}", "/cm",
               f"natural; {e.absorption_per_cm / _LN_10:.4g} /cm decadic")
    yield "photons absorbed per nanocrystal", f"{result.photons_per_nc:.0f}", "", ""
    yield ("their energy", f"{result.total_energy_eV:.0f}", "eV",
           f"of which {result.heat_eV:.0f} eV become heat at once")
    for r in e.recombination:
        later = (result.total_energy_eV - result.heat_eV) * r.fraction * (1 - r.quantum_yield)
        yield ("heat of recombination", f"{later:.0f}", "eV", f"in {r.lifetime_ps:g} ps"
               f" ({100 * r.fraction:.3g} % of the pairs, quantum yield {r.quantum_yield:g})")
    yield ("crystal", of.formula, "", f"{of.molar_mass_g_mol:.2f} g/mol, {of.density_g_cm3:.3f}"
           f" g/cm3, gap {of.gap_eV:g} eV")
    yield ("heat capacity at the start", f"{e.capacity.at_J_mol_K(e.start_C):.1f}", "J/mol/K",
           e.capacity.words)
