"""Atomic wave functions in the file of a pseudopotential, which states are projected onto."""

from pathlib import Path

import pytest

from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.upf import check_for_projection, read_upf

UPF_2 = """<UPF version="2.0.1">
<PP_HEADER element="Br" pseudo_type="NC" z_valence="7.0" functional="PBE"/>
<PP_MESH><PP_R>0.0 0.1</PP_R></PP_MESH>
<PP_PSWFC>{waves}</PP_PSWFC>
</UPF>
"""
UPF_1 = """<PP_HEADER>
   0                   Version Number
  Br                   Element
   NC                  Norm - Conserving pseudopotential
    F                  Nonlinear Core Correction
 SLA  PW   PBE  PBE    PBE  Exchange-Correlation functional
    7.00000000000      Z valence
</PP_HEADER>
<PP_MESH><PP_R> 0.0 0.1 </PP_R></PP_MESH>
<PP_PSWFC>
4S    0  2.00          Wavefunction
  1.0 2.0
4P    1  5.00          Wavefunction
  1.0 2.0
4D    2 -2.00          Wavefunction
  1.0 2.0
</PP_PSWFC>
"""


def wave(index: int, label: str, moment: str, occupation: str) -> str:
    at = f'label="{label}" l="{moment}" occupation="{occupation}" n="1"'
    return f'<PP_CHI.{index} size="2" index="{index}" {at}>1.0 2.0</PP_CHI.{index}>'


def test_atomic_wave_functions_of_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "Br.UPF"
    waves = wave(1, "4S", "0", "2.000") + wave(2, "5S", "0", "-1.0") + wave(3, "4P", "1", "5.000")
    path.write_text(UPF_2.format(waves=waves))
    found = read_upf(path).atomic_shells
    assert [(s.index, s.label, s.l, s.occupation) for s in found] == [(1, "4S", 0, 2),
                                                                      (2, "5S", 0, -1),
                                                                      (3, "4P", 1, 5)]
    check_for_projection(read_upf(path))
    path.write_text(UPF_1)
    assert [(s.label, s.l, s.occupation) for s in read_upf(path).atomic_shells] == [("4S", 0, 2),
                                                                                    ("4P", 1, 5),
                                                                                    ("4D", 2, -2)]


@pytest.mark.parametrize("waves", ["", wave(1, "4S", "0", "-1.0")])
def test_a_set_without_atomic_wave_functions_is_refused(waves: str, tmp_path: Path) -> None:
    path = tmp_path / "Br.UPF"
    path.write_text(UPF_2.format(waves=waves))
    with pytest.raises(InputError, match=r"no atomic wave function.*polaron pseudo"):
        check_for_projection(read_upf(path))


@pytest.mark.parametrize("waves",
                         [wave(1, "4S", "1", "2"), wave(1, "4S", "x", "2"),
                          wave(1, "4S", "0", "many")])
def test_a_damaged_list_of_wave_functions_is_refused(waves: str, tmp_path: Path) -> None:
    path = tmp_path / "Br.UPF"
    path.write_text(UPF_2.format(waves=waves))
    with pytest.raises(InputError, match="damaged in PP_PSWFC"):
        check_for_projection(read_upf(path))
