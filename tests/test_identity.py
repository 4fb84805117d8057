"""What a job is: its input and its digest, frozen. A change here makes every stored result of every
user be computed again.
"""

from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.espresso.upf import Orbital, PartialWave, Pseudopotential
from perovskite_polaron.workflow import jobs
from perovskite_polaron.workflow.jobs import StudyInputs, plan, study_jobs
from perovskite_polaron.workflow.study import read_study

STUDY = """
element = "Br"
reference = "cubic"
polarisations = ["x", "z"]

[structures.cubic]
crystal = "cspbbr3-pm3m"

[structures.cell]
crystal = "cspbbr3-pm3m"
supercell = [1, 1, 2]
kpoints = [2, 2, 1]

[pw]
ecutwfc_Ry = 20
kpoints = [2, 2, 2]
system = { input_dft = "pbesol" }

[xspectra]
kpoints = [2, 2, 2]
"""

HOLE = """&control
  calculation = 'scf'
  prefix = 'polaron'
  outdir = 'outdir'
  pseudo_dir = 'pseudo'
  disk_io = 'low'
/
&system
  ibrav = 0
  nat = 5
  ntyp = 4
  ecutwfc = 20
  ecutrho = 280
  tot_charge = 1
  occupations = 'fixed'
  nbnd = 23
  input_dft = 'pbesol'
/
&electrons
  conv_thr = 1e-07
  mixing_beta = 0.4
/
ATOMIC_SPECIES
Pb 207.2000 Pb.UPF
Cs 132.9055 Cs.UPF
Br 79.9040 Br.UPF
Brh 79.9040 Brh.UPF
CELL_PARAMETERS angstrom
5.871000000000 0.000000000000 0.000000000000
0.000000000000 5.871000000000 0.000000000000
0.000000000000 0.000000000000 5.871000000000
ATOMIC_POSITIONS crystal
Pb 0.000000000000 0.000000000000 0.000000000000
Cs 0.500000000000 0.500000000000 0.500000000000
Brh 0.500000000000 0.000000000000 0.000000000000
Br 0.000000000000 0.500000000000 0.000000000000
Br 0.000000000000 0.000000000000 0.500000000000
K_POINTS automatic
2 2 2 1 1 1
"""

XAS = """&input_xspectra
  calculation = 'xanes_dipole'
  prefix = 'polaron'
  outdir = 'outdir'
  xonly_plot = .false.
  xniter = 2000
  xcheck_conv = 20
  xerror = 0.005
  xcoordcrys = .false.
  xepsilon(1) = 0
  xepsilon(2) = 0
  xepsilon(3) = 1
  xiabs = 4
  x_save_file = 'chain.sav'
/
&plot
  xnepoint = 701
  xgamma = 1
  xemin = -10
  xemax = 60
  terminator = .true.
  cut_occ_states = .false.
/
&pseudos
  filecore = 'core.wfc'
  r_paw(1) = 2.85
/
&cut_occ
/
2 2 2 1 1 1
"""

DIGESTS = {
    "cubic ground": "27c58875d41ccbd9",
    "cubic-Br3-3d hole": "694f7976db9295e7",
    "cubic-Br3-3d-x xas": "323d4ea568e0c2f8",
    "cubic-Br3-3d-z xas": "2acafde81dc066c6",
    "cell ground": "4444f1558676e0f2",
    "cell-Br3-3d hole": "2c8056f38aa3a934",
    "cell-Br3-3d-x xas": "9290c32f8cfc8677",
    "cell-Br3-3d-z xas": "b9be7be2a172cae3",
}


def pseudo(element: str, z_valence: float) -> Pseudopotential:
    """A set whose digest does not depend on the ld1.x that is here."""
    mesh = np.linspace(0.1, 2.0, 5)
    waves = tuple(PartialWave(f"{n}P", 1, mesh, mesh, 1.9) for n in (4, 5))
    made = Pseudopotential(Path("x.UPF"), 2, element, "NC", z_valence, mesh,
                           (Orbital("1S", 0, mesh),), waves, True)
    vars(made)["digest"] = f"{element}{z_valence:g}".ljust(64, "0")
    return made


def test_inputs_and_digests_are_those_of_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = {element: pseudo(element, z) for element, z in (("Pb", 14.0), ("Cs", 9.0), ("Br", 7.0))}
    inputs = StudyInputs({"pw.x": "6.7MaX", "xspectra.x": "6.7MaX"}, sets, pseudo("Br", 8.0))
    monkeypatch.setattr(jobs, "study_inputs", lambda *words: inputs)
    path = tmp_path / "s.toml"
    path.write_text(STUDY)
    found = {job.label + " " + job.kind: job for job in study_jobs(plan(read_study(path)))}
    assert found["cubic-Br3-3d hole"].deck == HOLE
    assert found["cubic-Br3-3d-z xas"].deck == XAS
    assert {label: job.digest[:16] for label, job in found.items()} == DIGESTS
