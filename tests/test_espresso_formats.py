"""Inputs of the neighbour program, and what its output files hold."""

from dataclasses import replace
from pathlib import Path

import f90nml
import numpy as np
import pytest

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.pw import PwCalculation, PwSettings, read_pw_result
from perovskite_polaron.espresso.upf import check_for_xspectra, core_orbital_text, read_upf
from perovskite_polaron.espresso.xspectra import XspectraCalculation, XspectraSettings
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal


def pw_deck(crystal: Crystal, species: list[str], settings: PwSettings, **more: object) -> str:
    return PwCalculation(crystal, tuple(species), settings, **more).deck()  # type: ignore[arg-type]


def xspectra_deck(settings: XspectraSettings, polarisation: str = "x", absorber: int = 1) -> str:
    return XspectraCalculation(settings, polarisation, absorber, 1.9).deck()


def species_block(deck: str) -> list[str]:
    return deck.split("ATOMIC_SPECIES\n")[1].split("CELL_PARAMETERS")[0].split("\n")[:-1]


def test_the_absorber_is_a_species_of_its_own_and_xiabs_points_at_it() -> None:
    crystal = read_crystal("cspbbr3-pbnm")
    names = ["Pb", "Cs", "Br", "Brh"]
    deck = pw_deck(crystal, names, PwSettings(), electrons=176, absorber=9, charge=1.0)
    rows = deck.split("ATOMIC_POSITIONS crystal\n")[1].split("K_POINTS")[0].splitlines()
    assert [row.split()[0] for row in rows].count("Brh") == 1
    assert rows[9].split()[0] == "Brh"
    assert [line.split()[0] for line in species_block(deck)] == names
    x = xspectra_deck(XspectraSettings(kpoints=(2, 2, 2)), "y", 4)
    parsed = f90nml.reads(x.rsplit("/", 1)[0] + "/")
    assert parsed["input_xspectra"]["xiabs"] == 4
    assert parsed["input_xspectra"]["xepsilon"] == [0.0, 1.0, 0.0]
    assert parsed["input_xspectra"]["xcoordcrys"] is False


def test_positions_survive_to_the_twelfth_decimal() -> None:
    crystal = read_crystal("cspbbr3-pbnm")
    deck = pw_deck(crystal, ["Pb", "Cs", "Br"], PwSettings(), electrons=176)
    rows = deck.split("ATOMIC_POSITIONS crystal\n")[1].split("K_POINTS")[0].splitlines()
    np.testing.assert_allclose([[float(x) for x in row.split()[1:]] for row in rows],
                               crystal.positions, atol=5e-13)


def test_occupations_follow_the_number_of_electrons_and_users_may_add_keys() -> None:
    crystal = read_crystal("cspbbr3-pm3m")
    names = ["Pb", "Cs", "Br"]
    even = f90nml.reads(pw_deck(crystal, names, PwSettings(),
                                electrons=44).split("ATOMIC_SPECIES")[0])
    odd = f90nml.reads(pw_deck(crystal, names, PwSettings(system={"nbnd": 30}),
                               electrons=45).split("ATOMIC_SPECIES")[0])
    assert even["system"]["occupations"] == "fixed"
    assert odd["system"]["occupations"] == "smearing"
    assert odd["system"]["nbnd"] == 30
    with pytest.raises(InputError, match="Fortran namelist"):
        pw_deck(crystal, names, PwSettings(system={"input_dft": "x'/"}), electrons=44)


def test_a_polarisation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="choose among x, y, z"):
        xspectra_deck(XspectraSettings(), "q")


@pytest.mark.parametrize("content", [None, "<a>", "<a></a>"])
def test_a_missing_or_broken_result_is_a_failure_that_names_the_file(tmp_path: Path,
                                                                     content: str | None) -> None:
    if content is not None:
        (tmp_path / "polaron.save").mkdir()
        (tmp_path / "polaron.save" / "data-file-schema.xml").write_text(content)
    with pytest.raises(ComputationError, match=r"data-file-schema\.xml"):
        read_pw_result(tmp_path)


UPF_V1 = """<PP_INFO>
</PP_INFO>
<PP_HEADER>
   0                   Version Number
   C                   Element
   NC                  Norm - Conserving pseudopotential
    F                  Nonlinear Core Correction
 SLA  PW   PBX  PBC    PBE  Exchange-Correlation functional
    4.00000000000      Z valence
</PP_HEADER>
<PP_MESH>
  <PP_R>
 0.1 0.2
 0.3 0.4
  </PP_R>
</PP_MESH>
"""
GIPAW_V1 = """<PP_GIPAW_RECONSTRUCTION_DATA>
<PP_GIPAW_CORE_ORBITALS>
     2
  <PP_GIPAW_CORE_ORBITAL>
    1    0     N  L                       1S     eig:  -20.59
 1.0 2.0
 3.0 4.0
  </PP_GIPAW_CORE_ORBITAL>
  <PP_GIPAW_CORE_ORBITAL>
    2    0     N  L                       2S     eig:  -2.59
 5.0 6.0
 7.0 8.0
  </PP_GIPAW_CORE_ORBITAL>
</PP_GIPAW_CORE_ORBITALS>
{waves}</PP_GIPAW_RECONSTRUCTION_DATA>
"""
WAVE = """<PP_GIPAW_AE_ORBITAL>
  {n}P       1
 1.0 2.0
 3.0 4.0
</PP_GIPAW_AE_ORBITAL>
<PP_GIPAW_PS_ORBITAL>
    1.50  1.50
 1.0 2.0
 3.0 4.0
</PP_GIPAW_PS_ORBITAL>
"""


def upf(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "C.UPF"
    path.write_text(text)
    return path


def test_version_one_is_read_and_its_core_orbitals_written_for_xspectra(tmp_path: Path) -> None:
    pseudo = read_upf(upf(tmp_path,
                          UPF_V1 + GIPAW_V1.format(waves=WAVE.format(n=2) + WAVE.format(n=3))))
    assert (pseudo.version, pseudo.element, pseudo.z_valence) == (1, "C", 4.0)
    assert [w.cutoff_bohr for w in pseudo.partial_waves] == [1.5, 1.5]
    check_for_xspectra(pseudo)
    (tmp_path / "core.wfc").write_text(core_orbital_text(pseudo))
    lines = core_orbital_text(pseudo).splitlines()
    assert lines[0].startswith("#")
    assert lines[5] == ""
    np.testing.assert_allclose(np.loadtxt(tmp_path / "core.wfc")[:, 1], range(1, 9))


@pytest.mark.parametrize(
    ("text", "section"),
    [
        (UPF_V1, "PP_GIPAW"),
        (UPF_V1 + GIPAW_V1.replace("1S", "9S").format(waves=""), "PP_GIPAW_CORE_ORBITALS"),
        (UPF_V1 + GIPAW_V1.format(waves=WAVE.format(n=2)), "PP_GIPAW_ORBITALS"),
    ],
)
def test_what_xspectra_lacks_is_named(tmp_path: Path, text: str, section: str) -> None:
    with pytest.raises(InputError, match=rf"{section}\b") as error:
        check_for_xspectra(read_upf(upf(tmp_path, text)))
    assert error.value.exit_status == 2


def paw_set(header: str) -> str:
    """A PAW set with two p projectors, and the 1s orbital alone in its GIPAW section."""

    def waves(tag: str, attributes: str) -> str:
        return "".join(f'<PP_{tag}.{n} index="{n}" {attributes}>\n1.0 2.0 3.{n}\n</PP_{tag}.{n}>\n'
                       for n in (1, 2))

    radii = 'cutoff_radius="0.9" ultrasoft_cutoff_radius="1.45"'
    return (f'<UPF version="2.0.1">\n<PP_HEADER element=" C" pseudo_type="PAW" z_valence="4.0"'
            f' has_gipaw="T" {header}/>\n<PP_R>\n0.5 1.0 1.5\n</PP_R>\n'
            + waves("BETA", f'label="2P" angular_momentum="1" {radii}')
            + waves("AEWFC", 'label="2P" l="1"') + waves("PSWFC", 'label="2P" l="1"')
            + '<PP_GIPAW gipaw_data_format="2">\n<PP_GIPAW_CORE_ORBITAL.1 label="1S" l="0.0">\n'
            "1.0 2.0 3.0\n</PP_GIPAW_CORE_ORBITAL.1>\n</PP_GIPAW>\n</UPF>\n")


@pytest.mark.parametrize("true", ["T", ".true.", "true", " t "])
def test_a_paw_set_can_serve_without_gipaw_orbitals(tmp_path: Path, true: str) -> None:
    pseudo = read_upf(upf(tmp_path, paw_set(f'paw_as_gipaw="{true}"')))
    check_for_xspectra(pseudo)
    waves = pseudo.partial_waves
    assert [(w.label, w.l, w.cutoff_bohr, w.ultrasoft_bohr) for w in waves] == [
        ("2P", 1, 0.9, 1.45)] * 2
    assert waves[1].pseudo.tolist() == waves[1].all_electron.tolist() == [1.0, 2.0, 3.2]
    with pytest.raises(InputError, match=r"0 projector.*paw_as_gipaw"):
        check_for_xspectra(read_upf(upf(tmp_path, paw_set('paw_as_gipaw="F"'))))


@pytest.mark.parametrize("text",
                         ["no tags", UPF_V1.split("<PP_MESH>")[0], UPF_V1.replace("0.4", "NaN"),
                          UPF_V1.replace("4.0000", "x")])
def test_a_damaged_pseudopotential_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"C\.UPF") as error:
        read_upf(upf(tmp_path, text))
    assert "\n" not in str(error.value)


def test_empty_bands_are_computed_unless_the_study_counts_bands_itself() -> None:
    crystal = read_crystal("cspbbr3-pm3m")
    names = ["Pb", "Cs", "Br"]

    def bands(electrons: float, **settings: object) -> object:
        chosen = PwSettings(**settings)  # type: ignore[arg-type]
        deck = pw_deck(crystal, names, chosen, electrons=electrons)
        return f90nml.reads(deck.split("ATOMIC_SPECIES")[0])["system"].get("nbnd")

    assert (bands(44), bands(44, empty_bands=4), bands(44, empty_bands=0)) == (23, 26, None)
    assert bands(44, system={"NBND": 30}) == 30
    assert bands(45) is bands(44, occupations="smearing") is bands(44, system={"nspin": 2}) is None
    assert bands(44, empty_bands=0, system={"nbnd": 30}) == 30
    for given in (1, 2):
        with pytest.raises(InputError, match=r"pw\.empty_bands and pw\.system\.nbnd"):
            bands(44, empty_bands=given, system={"nbnd": 30})


@pytest.mark.parametrize("key", ["Hubbard_U(1)", "starting_magnetization(2)"])
def test_a_key_that_counts_species_is_refused(key: str) -> None:
    crystal = read_crystal("cspbbr3-pm3m")
    with pytest.raises(InputError, match=r"another element.*hubbard_U_eV by element") as error:
        pw_deck(crystal, ["Pb", "Cs", "Br"], PwSettings(system={key: 4.0}),
                electrons=44)
    assert "\n" not in str(error.value)


def test_the_spheres_of_xspectra_follow_the_study() -> None:
    settings = XspectraSettings(kpoints=(2, 2, 2))
    for one, radius in ((settings, 2.85), (replace(settings, r_paw_over_rc=1.0), 1.9)):
        deck = xspectra_deck(one)
        assert f90nml.reads(deck.rsplit("/", 1)[0] + "/")["pseudos"]["r_paw"] == [radius]
