"""From the structures a study names to the crystals that are computed, with their inequivalent absorbers."""

from dataclasses import dataclass

import numpy as np

from perovskite_polaron.crystal import Absorber, Crystal, Symmetry, absorbers, find_symmetry, read_crystal, supercell
from perovskite_polaron.distortion import Distortion, distort, sign_equivalent
from perovskite_polaron.errors import InputError
from perovskite_polaron.modes import read_modes
from perovskite_polaron.workflow.study import AMPLITUDES, StructureSettings, Study


@dataclass(frozen=True)
class StudyStructure:
    """One structure of a study, ready to be computed.

    settings: name of the entry of the study that it comes from. distortion: None for an undistorted crystal.
    opposite_sign: the amplitude asked for was negative, its structure is the image of the positive one under an
    operation of the parent crystal, and so the positive one is computed (its averaged spectra are the same).
    """

    name: str
    settings: StructureSettings
    crystal: Crystal
    symmetry: Symmetry
    absorbers: tuple[Absorber, ...]
    distortion: Distortion | None = None
    opposite_sign: bool = False

    @property
    def space_group(self) -> str:
        """Symbol and number of the space group."""
        return f"{self.symmetry.symbol} ({self.symmetry.number})"

    def absorber_label(self, absorber: Absorber) -> str:
        """Return the name of an absorber within its structure, such as ``Br9-8d``."""
        return f"{absorber.element}{absorber.index + 1}-{absorber.site}"


def study_structures(study: Study) -> tuple[StudyStructure, ...]:
    """Build every structure of a study, sweeps expanded, in the study's order.

    A sweep of several amplitudes gives structures named ``name@amplitude``, in the unit the study uses.
    Raises InputError as the readers of crystals and modes do, or if the absorbing element is in none of the sites.
    """
    result: list[StudyStructure] = []
    for name, settings in study.structures.items():
        crystal = read_crystal(study.file(settings.crystal))
        if settings.supercell != (1, 1, 1):
            crystal = supercell(crystal, settings.supercell)
        if settings.modes:
            result += _sweep(study, name, settings, crystal)
        else:
            symmetry = find_symmetry(crystal)
            sites = absorbers(crystal, study.element, symmetry)
            result.append(StudyStructure(name, settings, crystal, symmetry, sites))
    return tuple(result)


def _sweep(study: Study, name: str, settings: StructureSettings, crystal: Crystal) -> list[StudyStructure]:
    # The first of a file, as for `polaron distort`: `polaron modes` puts the one there that dresses carriers.
    modes = [read_modes(study.file(source)).modes[0] for source in settings.modes]
    key = next(k for k in AMPLITUDES if getattr(settings, k) is not None)
    amplitudes = getattr(settings, key)
    # Two amplitudes that look alike in six digits still need two names.
    short = {f"{a:g}" for a in amplitudes}
    texts = [f"{a:g}" if len(short) == len(amplitudes) else repr(a) for a in amplitudes]
    if len(set(texts)) < len(texts):
        raise InputError(f"[structures.{name}]: {key} holds the same amplitude twice; name each once")
    points = distort(crystal, modes, amplitudes, unit=AMPLITUDES[key])
    result = []
    for amplitude, text, point in zip(amplitudes, texts, points, strict=True):
        opposite = False
        if amplitude < 0 and sign_equivalent(crystal, point.displacement_A):
            point = distort(crystal, modes, [-amplitude], unit=AMPLITUDES[key])[0]
            opposite = True
        full_name = name if len(amplitudes) == 1 else f"{name}@{text}"
        result.append(
            StudyStructure(
                full_name,
                settings,
                point.crystal,
                point.symmetry,
                absorbers(point.crystal, study.element, point.symmetry),
                point,
                opposite,
            )
        )
    return result


def image_distance_A(crystal: Crystal) -> float:
    """Return the shortest distance (Å) between an atom and its own periodic images."""
    steps = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1) if (i, j, k) != (0, 0, 0)])
    return float(np.linalg.norm(steps @ crystal.lattice_A, axis=1).min())
