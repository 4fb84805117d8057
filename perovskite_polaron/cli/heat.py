"""``polaron heat``: how hot a pump pulse can make the nanocrystals, and what that rests on."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.analysis.heating import (
    DULONG_PETIT, RELATIVE_SIGMA, Exposure, HeatCapacity, Heating, constant_heat_capacity, heating,
    read_heat_capacity)
from perovskite_polaron.cli.options import emit, pick, quantity, share
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.units import (
    HC_EV_A, UNITS, parse_quantity, parse_temperature_celsius, split_quantity)

_TIMES_PS = np.array([0.0, 100, 200, 300, 400, 500, 600, 800, 1000, 1500, 2000])


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
    add("--gap", type=quantity("energy"), default="2.4eV", help="band gap (default: 2.4eV)")
    add("--start", type=parse_temperature_celsius, default="25C",
        help="temperature before the pulse (default: 25C)")
    add("--absorption", type=quantity("inverse length"),
        help="absorption coefficient of the jet, as 50cm-1 (default: everything is absorbed)")
    add("--saturation", type=quantity("fluence"), help="fluence at which absorption has fallen to"
        " half, as 5mJ/cm2 (default: it does not saturate)")
    add("--heat-capacity", type=_heat_capacity, default=DULONG_PETIT, metavar="VALUE|FILE",
        help="per mole of CsPbBr3, as 120J/mol/K; or a table of temperature and heat capacity; or a"
        " mode file or cspbbr3, taken as harmonic (default: Dulong-Petit, 124.7J/mol/K)")
    add("--latent-tetragonal", type=quantity("molar energy"), default="0J/mol",
        help="latent heat of the transition at 50-59 C (default: none)")
    add("--latent-cubic", type=quantity("molar energy"), default="0J/mol",
        help="latent heat of the transition at 108-117 C (default: none)")
    add("--all-heat", action="store_true",
        help="count the whole photon as heat (after recombination)")
    add("--cooling", type=quantity("time"), default="300ps",
        help="time constant of Newton's cooling (default: 300ps)")
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


def _heat_capacity(text: str) -> HeatCapacity:
    """Return what ``--heat-capacity`` names: a file if there is such a one, else a quantity."""
    if Path(text).exists() or text[:1] not in tuple("0123456789.+-"):
        return read_heat_capacity(text)
    return constant_heat_capacity(parse_quantity(text, "heat capacity"))


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
    exposure = Exposure(args.fluence, args.pump, args.size, args.concentration, args.jet, args.gap,
                        args.start, args.absorption, args.heat_capacity, args.latent_tetragonal,
                        args.latent_cubic, 1.0 if args.all_heat else None, args.saturation)
    result = heating(exposure, RELATIVE_SIGMA | dict(args.sigma))
    if args.figure is not None:
        from perovskite_polaron.figures import measured, style

        style.save(measured.draw_heating(result, args.cooling), args.figure)
    curve = result.temperature_C(_TIMES_PS, args.cooling)
    emit(args, _record(result, curve), _lines(result, curve, args.cooling))


def _statements(result: Heating) -> Iterator[str]:
    """What the number means, in words."""
    yield ("This is an upper limit: all heat stays in the crystal that absorbed the light, until"
           " Newton's cooling sets in.")
    yield ("Several input choices give the published 120 K, so agreement with it identifies none of"
           f" them: {'; '.join(result.equivalent)}.")
    if result.tornado:
        yield f"The range is dominated by: {result.tornado[0][0].replace('_', ' ')}."
    if result.exposure.absorption_per_cm is None:
        yield "Assumed: the jet absorbs the whole pulse (give --absorption to use Lambert-Beer)."


def _record(result: Heating, curve: np.ndarray) -> dict[str, Any]:
    capacity = result.exposure.heat_capacity
    bars = ("input", "delta_T_low_input_K", "delta_T_high_input_K")
    times = zip(_TIMES_PS, curve, strict=True)
    return {
        **pick(result, "delta_T_K", "delta_T_low_K", "delta_T_high_K", "photons_per_nc",
               "absorbed_fraction", "front_face_delta_T_K", "phase"),
        "interval": "16th to 84th percentile", "absorbed_energy_per_nc_eV": result.total_energy_eV,
        "heat_per_nc_eV": result.heat_eV, "heat_capacity": capacity.words,
        "heat_capacity_at_start_J_mol_K": capacity.at_J_mol_K(result.exposure.start_C),
        "final_temperature_C": result.final_C,
        "temperature_C": [{"time_ps": t, "value": v} for t, v in times],
        "tornado": [dict(zip(bars, bar, strict=True)) for bar in result.tornado],
        "statements": list(_statements(result))}


def _lines(result: Heating, curve: np.ndarray, cooling_ps: float) -> Iterator[str]:
    capacity = result.exposure.heat_capacity
    yield (f"temperature rise, upper limit    {result.delta_T_K:8.1f} K   (68 % range"
           f" {result.delta_T_low_K:.0f} to {result.delta_T_high_K:.0f} K)")
    yield f"final temperature                {result.final_C:8.1f} C   {result.phase}"
    yield f"absorbed by the jet              {100 * result.absorbed_fraction:8.1f} % of the pulse"
    yield f"photons absorbed per nanocrystal {result.photons_per_nc:8.0f}"
    yield (f"their energy                     {result.total_energy_eV:8.0f} eV, of which"
           f" {result.heat_eV:.0f} eV become heat")
    at_start = capacity.at_J_mol_K(result.exposure.start_C)
    yield f"heat capacity at the start       {at_start:8.1f} J/mol/K   ({capacity.words})"
    if result.front_face_delta_T_K is not None:
        yield f"at the jet's front face          {result.front_face_delta_T_K:8.1f} K"
    yield "\none standard deviation of an input moves the rise to (K)"
    for name, low, high in result.tornado:
        yield f"  {name.replace('_', ' '):16s}{low:8.1f} {high:8.1f}"
    yield f"\ncooling with {cooling_ps:g} ps:   time (ps)   temperature (C)"
    yield from (f"{t:32.0f}{v:18.1f}" for t, v in zip(_TIMES_PS, curve, strict=True))
    yield ""
    yield from _statements(result)
