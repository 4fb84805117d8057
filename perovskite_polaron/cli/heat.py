"""``polaron heat``: how hot a pump pulse can make the nanocrystals, and what that rests on."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.analysis.heat_capacity import read_heat_capacity
from perovskite_polaron.analysis.heating import (
    DULONG_PETIT,
    RELATIVE_SIGMA,
    Exposure,
    HeatCapacity,
    Heating,
    constant_heat_capacity,
    heating,
)
from perovskite_polaron.errors import InputError
from perovskite_polaron.units import HC_EV_A, UNITS, parse_quantity, parse_temperature_celsius, split_quantity

EXAMPLE = "  polaron heat --fluence 8.8mJ/cm2 --pump 355nm --size 10nm --concentration 5.8mg/mL --jet 200um"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--fluence", required=True, help="pulse energy per area, as 8.8mJ/cm2")
    parser.add_argument("--pump", required=True, help="wavelength or photon energy, as 355nm or 3.49eV")
    parser.add_argument("--size", required=True, help="edge of the cuboidal nanocrystals, as 10nm")
    parser.add_argument("--concentration", required=True, help="mass of crystal per volume of the jet, as 5.8mg/mL")
    parser.add_argument("--jet", required=True, help="thickness of the jet, as 200um")
    parser.add_argument("--gap", default="2.4eV", help="band gap (default: 2.4eV)")
    parser.add_argument("--start", default="25C", help="temperature before the pulse (default: 25C)")
    parser.add_argument(
        "--absorption", help="absorption coefficient of the jet, as 50cm-1 (default: everything is absorbed)"
    )
    parser.add_argument(
        "--saturation",
        help="fluence at which absorption has fallen to half, as 5mJ/cm2 (default: it does not saturate)",
    )
    parser.add_argument(
        "--heat-capacity", metavar="VALUE|FILE", help="per mole of CsPbBr3, as 120J/mol/K; or a table of temperature and "
        "heat capacity; or a mode file or cspbbr3, taken as harmonic (default: Dulong-Petit, 124.7J/mol/K)",
    )  # fmt: skip
    parser.add_argument(
        "--latent-tetragonal", default="0J/mol", help="latent heat of the transition at 50-59 C (default: none)"
    )
    parser.add_argument(
        "--latent-cubic", default="0J/mol", help="latent heat of the transition at 108-117 C (default: none)"
    )
    parser.add_argument("--all-heat", action="store_true", help="count the whole photon as heat (after recombination)")
    parser.add_argument("--cooling", default="300ps", help="time constant of Newton's cooling (default: 300ps)")
    parser.add_argument(
        "--sigma", action="append", default=[], metavar="INPUT=FRACTION",
        help="relative uncertainty of an input, e.g. jet=0.1; inputs: " + ", ".join(f"{k} ({v:g})" for k, v in RELATIVE_SIGMA.items()),
    )  # fmt: skip
    parser.add_argument("--figure", type=Path, help="draw what dominates, and the cooling (.png or .svg)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Compute and print."""
    _, unit = split_quantity(args.pump)
    length = unit in UNITS["length"]
    pump = parse_quantity(args.pump, "length" if length else "energy")
    if pump <= 0:
        raise InputError(f"--pump {args.pump}: it must be positive")
    exposure = Exposure(
        parse_quantity(args.fluence, "fluence"), HC_EV_A / pump if length else pump, parse_quantity(args.size, "length"),
        parse_quantity(args.concentration, "concentration"), parse_quantity(args.jet, "length"), parse_quantity(args.gap, "energy"),
        parse_temperature_celsius(args.start), None if args.absorption is None else parse_quantity(args.absorption, "inverse length"),
        heat_capacity(args.heat_capacity), parse_quantity(args.latent_tetragonal, "molar energy"),
        parse_quantity(args.latent_cubic, "molar energy"), 1.0 if args.all_heat else None,
        None if args.saturation is None else parse_quantity(args.saturation, "fluence"),
    )  # fmt: skip
    sigmas = dict(RELATIVE_SIGMA)
    for item in args.sigma:
        name, _, text = item.partition("=")
        try:
            sigmas[name.replace("-", "_")] = float(text)
        except ValueError:
            raise InputError(f"--sigma {item}: write it as jet=0.1") from None
    cooling_ps = parse_quantity(args.cooling, "time")
    result = heating(exposure, sigmas)
    if args.figure is not None:
        from perovskite_polaron.figures.measured import write_heating_figure

        write_heating_figure(result, cooling_ps, args.figure)
    times = np.array([0.0, 100, 200, 300, 400, 500, 600, 800, 1000, 1500, 2000])
    curve = result.temperature_C(times, cooling_ps)
    print(json.dumps(summary(result, times, curve)) if args.json else table(result, times, curve, cooling_ps))
    return 0


def heat_capacity(text: str | None) -> HeatCapacity:
    """Return what ``--heat-capacity`` names: a file if there is one of that name, else a quantity."""
    if text is None:
        return DULONG_PETIT
    if Path(text).exists() or text[:1] not in tuple("0123456789.+-"):
        return read_heat_capacity(text)
    return constant_heat_capacity(parse_quantity(text, "heat capacity"))


def statements(result: Heating) -> list[str]:
    """What the number means, in words."""
    words = [
        "This is an upper limit: all heat stays in the crystal that absorbed the light, until Newton's cooling sets in.",
        "Several input choices give the published 120 K, so agreement with it identifies none of them: "
        + "; ".join(result.equivalent)
        + ".",
    ]
    if result.tornado:
        words.append(f"The range is dominated by: {result.tornado[0][0].replace('_', ' ')}.")
    if result.exposure.absorption_per_cm is None:
        words.append("Assumed: the jet absorbs the whole pulse (give --absorption to use Lambert-Beer).")
    return words


def summary(result: Heating, times: np.ndarray, curve: np.ndarray) -> dict[str, Any]:
    """Return the answer as one object for JSON."""
    return {
        "delta_T_K": result.delta_T_K,
        "delta_T_low_K": result.delta_T_low_K,
        "delta_T_high_K": result.delta_T_high_K,
        "interval": "16th to 84th percentile",
        "photons_per_nc": result.photons_per_nc,
        "absorbed_fraction": result.absorbed_fraction,
        "absorbed_energy_per_nc_eV": result.total_energy_eV,
        "heat_per_nc_eV": result.heat_eV,
        "heat_capacity": result.exposure.heat_capacity.words,
        "heat_capacity_at_start_J_mol_K": result.exposure.heat_capacity.at_J_mol_K(result.exposure.start_C),
        "front_face_delta_T_K": result.front_face_delta_T_K,
        "phase": result.phase,
        "final_temperature_C": result.final_C,
        "temperature_C": [{"time_ps": float(t), "value": float(v)} for t, v in zip(times, curve, strict=True)],
        "tornado": [{"input": n, "delta_T_low_input_K": a, "delta_T_high_input_K": b} for n, a, b in result.tornado],
        "statements": statements(result),
    }


def table(result: Heating, times: np.ndarray, curve: np.ndarray, cooling_ps: float) -> str:
    """Return the answer for people."""
    exposure = result.exposure
    lines = [
        f"temperature rise, upper limit    {result.delta_T_K:8.1f} K"
        f"   (68 % range {result.delta_T_low_K:.0f} to {result.delta_T_high_K:.0f} K)",
        f"final temperature                {result.final_C:8.1f} C   {result.phase}",
        f"absorbed by the jet              {100 * result.absorbed_fraction:8.1f} % of the pulse",
        f"photons absorbed per nanocrystal {result.photons_per_nc:8.0f}",
        f"their energy                     {result.total_energy_eV:8.0f} eV, of which {result.heat_eV:.0f} eV become heat",
        f"heat capacity at the start       {exposure.heat_capacity.at_J_mol_K(exposure.start_C):8.1f} J/mol/K"
        f"   ({exposure.heat_capacity.words})",
    ]
    if result.front_face_delta_T_K is not None:
        lines.append(f"at the jet's front face          {result.front_face_delta_T_K:8.1f} K")
    lines += ["", "one standard deviation of an input moves the rise to (K)"]
    lines += [f"  {name.replace('_', ' '):16s}{a:8.1f} {b:8.1f}" for name, a, b in result.tornado]
    lines += ["", f"cooling with {cooling_ps:g} ps:   time (ps)   temperature (C)"]
    lines += [f"{t:32.0f}{v:18.1f}" for t, v in zip(times, curve, strict=True)]
    return "\n".join([*lines, "", *statements(result)])
