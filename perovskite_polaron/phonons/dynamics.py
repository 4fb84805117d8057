"""Molecular dynamics at a constant temperature and cell, with any calculator of ASE."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, InputError, PolaronError, require
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.ensemble import Ensemble, Origin
from perovskite_polaron.phonons.forces import MLIP_NAME, mlip_calculator
from perovskite_polaron.phonons.trajectories import correlated


def calculator_of(text: str) -> tuple[Any, str]:
    """Return a calculator of ASE and what to call it.

    Parameters
    ----------
    text : str
        ``sevennet`` (the extra mlip), a name that ASE knows (``emt``), or ``MODULE:FUNCTION`` or
        ``FILE.py:FUNCTION``, which is called without arguments and returns the calculator.

    Raises
    ------
    InputError
        When there is no such calculator, or it cannot be made.
    MissingExtraError
        For sevennet where it is not installed.
    """
    if text == "sevennet":
        return mlip_calculator(), MLIP_NAME
    module, colon, function = text.rpartition(":")
    try:
        if colon and module.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(module).stem, module)
            assert spec is not None, "a name that ends in .py has a loader"
            assert spec.loader is not None, "a name that ends in .py has a loader"
            loaded = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
            return getattr(loaded, function)(), text
        if colon:
            return getattr(importlib.import_module(module), function)(), text
        from ase.calculators.calculator import get_calculator_class

        return get_calculator_class(text)(), text
    except PolaronError:
        raise
    except Exception as error:  # a user's function raises anything at all
        raise InputError(f"the calculator {text!r} cannot be made ({type(error).__name__}:"
                         f" {error}): give sevennet, a name that ASE knows, or FILE.py:FUNCTION"
                         ) from None


def molecular_dynamics(crystal: Crystal, calculator: Any, what: str, temperature_K: float,
                       samples: int, seed: int, *, timestep_fs: float = 2.0,
                       equilibrate_ps: float = 2.0, interval_ps: float = 0.2,
                       friction_per_ps: float = 2.0, log: TextIO | None = None) -> Ensemble:
    """Return snapshots of Langevin dynamics about a crystal, its cell held.

    The nuclei are classical: below the Debye temperature they move less than they should.

    Parameters
    ----------
    crystal : Crystal
        Where it starts, and the reference of the displacements.
    calculator, what
        ASE's calculator, and its name for the record.
    temperature_K, samples, seed
        Of the bath; how many snapshots; of velocities and random forces.
    timestep_fs, equilibrate_ps, interval_ps, friction_per_ps
        Step; what is left out at the beginning; from snapshot to snapshot; coupling to the bath.
    log : text stream, optional
        Gets a line for each snapshot.

    Raises
    ------
    InputError
        For settings that are not possible.
    ComputationError
        When the calculator fails, or the crystal falls apart.
    """
    require(temperature_K > 0 and samples >= 1 and seed >= 0, "molecular dynamics needs a"
            " temperature above 0 K, one sample or more and a seed from 0")
    steps = {"interval": round(interval_ps * 1e3 / timestep_fs),
             "equilibration": round(equilibrate_ps * 1e3 / timestep_fs)}
    require(0 < timestep_fs <= 20 and steps["interval"] >= 1 and steps["equilibration"] >= 0
            and friction_per_ps > 0, "molecular dynamics needs a step of up to 20 fs, an interval"
            " of a step or more, and a positive friction")
    from ase import Atoms, units
    from ase.md.langevin import Langevin

    atoms = Atoms(crystal.species, positions=crystal.cartesian_A, cell=crystal.lattice_A, pbc=True,
                  masses=crystal.masses_amu, calculator=calculator)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    found, temperatures = [], []
    try:
        # Maxwell's momenta at twice the temperature: half of it goes into the springs.
        widths = np.sqrt(2 * units.kB * temperature_K * crystal.masses_amu)
        momenta = widths[:, None] * rng.standard_normal((len(crystal), 3))
        atoms.set_momenta(momenta - momenta.mean(axis=0))
        motion = Langevin(atoms, timestep_fs * units.fs, temperature_K=temperature_K, rng=rng,
                          friction=friction_per_ps / (1000 * units.fs), fixcm=False)
        for k in range(samples):
            motion.run(steps["interval"] + (steps["equilibration"] if k == 0 else 0))
            found.append(_snapshot(crystal, atoms, k))
            temperatures.append(float(atoms.get_temperature()))
            if log is not None:
                print(f"{temperature_K:g} K: {k + 1} of {samples} snapshots, kinetic temperature"
                      f" {temperatures[-1]:.0f} K", file=log)
    except PolaronError:
        raise
    except Exception as error:  # calculators raise anything at all
        raise ComputationError(
            f"molecular dynamics of {crystal.label} at {temperature_K:g} K failed after"
            f" {len(found)} snapshots ({type(error).__name__}: {error}): a shorter step, or another"
            " calculator") from None
    rule = (f"NVT, Langevin, step {timestep_fs:g} fs, friction {friction_per_ps:g}/ps,"
            f" equilibration {equilibrate_ps:g} ps, a snapshot each {interval_ps:g} ps; mean"
            f" kinetic temperature {np.mean(temperatures):.0f} K; centre of mass at rest")
    origin = Origin("molecular dynamics", what, rule, temperature_K, seed, "series",
                    f"dynamics {what} {temperature_K:g} K {rule} seed {seed}")
    return correlated(Ensemble(origin, crystal, tuple(found), crystal.label))


def _snapshot(crystal: Crystal, atoms: Any, k: int) -> Crystal:
    """Return the atoms where they are, the centre of mass where it was."""
    moved: Array = atoms.positions - crystal.cartesian_A
    moved = moved - crystal.masses_amu @ moved / crystal.masses_amu.sum()
    inside = crystal.positions + moved @ np.linalg.inv(crystal.lattice_A)
    try:
        return crystal.with_positions(inside)
    except InputError as error:
        raise ComputationError(f"snapshot {k} of molecular dynamics is no crystal ({error}): take a"
                               " shorter step, or another calculator") from None
