"""Carriers at the edges: closed forms of a parabolic band, what lines hold, independent
diagonalisation, the command.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import eigh_tridiagonal

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.spectra.carriers import (
    BandStates, carriers, computed, parabolic, parse_carrier_density)
from perovskite_polaron.spectra.projected import band_edges, read_states, write_states
from perovskite_polaron.units import BOLTZMANN_MEV_K, CHARGE_C, ELECTRON_KG, PLANCK_J_S, RYDBERG_EV
from perovskite_polaron.workflow import carriers as workflow
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.spectra import load_results

CELL_A3 = 8.1982 * 8.2440 * 11.7351
KT = 300 * BOLTZMANN_MEV_K / 1e3
HBAR2_2M = (PLANCK_J_S / (2 * np.pi)) ** 2 / (2 * ELECTRON_KG) / CHARGE_C * 1e20


@pytest.fixture(scope="module")
def bundled():
    results, settings, folder = load_results(BUILT_IN)
    return results, settings, workflow.read_edges(results, folder)


def pairs(states, density=1e19, kelvin=300.0, masses=(None, None)):
    return carriers(density, kelvin, CELL_A3, *workflow.edge_bands(states, CELL_A3, *masses))


def test_few_carriers_are_classical():
    """N = 2 V (m kT / 2πħ²)^(3/2) exp(µ/kT), and 3/2 kT each."""
    found = carriers(1e13, 300.0, CELL_A3, parabolic(0.17, CELL_A3), parabolic(0.5, CELL_A3))
    for kind, mass in (("electrons", 0.17), ("holes", 0.5)):
        most = 2 * CELL_A3 * (mass * KT / (4 * np.pi * HBAR2_2M)) ** 1.5
        assert found.level_eV[kind] == pytest.approx(KT * np.log(1e-11 * CELL_A3 / most), abs=1e-6)
        assert found.mean_energy_eV(kind) == pytest.approx(1.5 * KT, rel=1e-4)
        assert found.held(kind).sum() == pytest.approx(1e-11 * CELL_A3, rel=1e-9)


def test_many_cold_carriers_are_a_fermi_sphere():
    """N = V / (3π²) (2 m µ / ħ²)^(3/2), and 3/5 µ each."""
    found = carriers(1e20, 20.0, CELL_A3, parabolic(0.17, CELL_A3), parabolic(0.17, CELL_A3))
    level = (3 * np.pi**2 * 1e-4) ** (2 / 3) * HBAR2_2M / 0.17
    assert found.level_eV["holes"] == pytest.approx(level, rel=1e-3)
    assert found.mean_energy_eV("holes") == pytest.approx(0.6 * level, rel=1e-3)


def test_a_smaller_cell_or_a_supercell_is_the_same_crystal():
    one, eight = (carriers(3e19, 400.0, n * CELL_A3, *[parabolic(0.2, n * CELL_A3)] * 2)
                  for n in (1, 8))
    assert eight.pairs_per_cell == pytest.approx(8 * one.pairs_per_cell)
    assert eight.level_eV["holes"] == pytest.approx(one.level_eV["holes"], abs=1e-9)


def test_levels_of_k_points_are_counted(bundled):
    """One level of Γ, a quarter of the zone, two electrons: alone at its edge for holes."""
    states = bundled[2]
    holes = computed(states, "VBM")
    level = holes.level_eV(0.01, KT)
    assert level == pytest.approx(-KT * np.log(0.5 / 0.01 - 1), abs=1e-6)
    assert computed(states, "CBM").states.sum() == pytest.approx(
        2 * (states.energies_eV.shape[1] - states.electrons / 2))


def test_blocked_lines_hold_what_the_electrons_hold(bundled):
    """Their area is π × carriers × the intensity per state, and grows with the carriers."""
    results, settings, states = bundled
    wide = replace(settings, energy_min_eV=-2000.0, energy_max_eV=2000.0, points=8001,
                   resolution_fwhm_eV=0.0)
    found = workflow.carrier_spectra(results, wide, states, pairs(states))
    step = found.energy_eV[1] - found.energy_eV[0]
    whole = intensity(results, found.sites[0].label, -np.inf, 0.3)
    for density, one in ((1e19, found), (2e19, workflow.carrier_spectra(
            results, wide, states, pairs(states, 2e19)))):
        site = one.sites[0]
        held = density * 1e-24 * CELL_A3
        for way, per in ((site.chain.blocked, site.chain.per_electron),
                         (site.projection.opened, site.projection.per_hole)):
            # The photon energy in the cross-section, and the tails beyond 2 keV.
            assert way.sum() * step == pytest.approx(np.pi * held * per * whole, rel=2e-3)


def intensity(results, label, low_eV, high_eV, structure="ground"):
    """What the poles of a site's chains hold, each diagonalised, in the unit of the spectrum × eV,
    at the Fermi energy's photon.
    """
    from perovskite_polaron.espresso.lanczos import XSPECTRA_FINE_STRUCTURE

    found = 0.0
    site = next(s for one in results.structures if one.name == structure for s in one.sites
                if s.label == label)
    for name in site.chains.values():
        save = results.chains[name]
        for norm, a, b in zip(save.norms[0], save.a, save.b, strict=True):
            levels, vectors = eigh_tridiagonal(a, b[:-1])
            at = levels * RYDBERG_EV - save.fermi_energy_eV
            inside = (at > low_eV) & (at < high_eV)
            photon = (save.fermi_energy_eV + save.core_energy_eV) / RYDBERG_EV
            weight = norm**2 * 2 / len(save.a) * (vectors[0][inside] ** 2).sum()
            found += 4 * np.pi * XSPECTRA_FINE_STRUCTURE * photon * weight * RYDBERG_EV / 3
    return found


def test_intensity_per_state_is_that_of_diagonalised_chains(bundled):
    results, settings, states = bundled
    given, gap = pairs(states), band_edges(states)[1].energy_eV
    found = workflow.carrier_spectra(results, settings, states, given)
    low, high = found.edges_eV
    energy = states.energies_eV - states.top_eV
    count = 2 * (states.weights[:, None] * ((energy >= gap) & (energy <= gap + 2.0))).sum()
    for site in found.sites:
        whole = intensity(results, site.label, -np.inf, 0.3)
        above = intensity(results, site.label, 0.3, high + 2.0)
        assert site.chain.per_electron == pytest.approx(above / count / whole, rel=3e-2)
        below = intensity(results, site.label, low - 2.0, 0.3)
        filled = 2 * (states.weights[:, None] * ((energy <= 0) & (energy >= -2.0))).sum()
        # The lower end of this window lies among levels that the terminator widens.
        assert site.chain.per_hole == pytest.approx(below / filled / whole, rel=0.4)


def test_projection_is_the_share_over_the_p_electrons(bundled):
    """All bromine together hold the share of the valence band maximum that pdos prints."""
    results, settings, states = bundled
    found = workflow.carrier_spectra(results, settings, states, pairs(states))
    shares = band_edges(states)[0].shares
    assert sum(s.multiplicity * s.valence_share for s in found.sites) == pytest.approx(
        shares["Br 4p"])
    for site in found.sites:
        n = next(i for i, s in enumerate(states.shells) if s.label(True).startswith(site.label)
                 and s.shell == "4p")
        filled = round(states.electrons / 2)
        electrons = 2 * states.weights @ states.shares[:, :filled, n].sum(axis=1)
        assert site.projection.per_hole == pytest.approx(
            site.valence_share * site.multiplicity / electrons, rel=1e-9)


def test_as_it_stands_is_the_fermi_function_on_the_poles(bundled):
    """Blocked by levels below the dense band edge: of the equatorial site all, of the axial none.
    """
    results, settings, states = bundled
    given = pairs(states)
    found = workflow.carrier_spectra(results, settings, states, given)
    axial, equatorial = found.sites
    assert abs(axial.as_it_stands[1]).max() < 0.01 * axial.chain.blocked.max()
    assert equatorial.as_it_stands[1].max() > 10 * equatorial.chain.blocked.max()
    level = found.edges_eV[1] + given.level_eV["electrons"]
    shift = found.energy_eV[1] - found.energy_eV[0]
    held = intensity(results, equatorial.label, 0.3, level)
    # A Lorentzian of 1.26 eV on a grid of 70 eV misses some per cent of its area.
    area = equatorial.as_it_stands[1].sum() * shift
    assert area == pytest.approx(np.pi * held, rel=0.1)


def test_a_distorted_structure_takes_the_shares_of_its_parent(bundled):
    results, settings, states = bundled
    still, moved = (workflow.carrier_spectra(results, settings, states, pairs(states), name)
                    for name in ("ground", "lo@0.02"))
    assert [s.parent for s in moved.sites] == ["4c", "8d", "8d"]
    assert moved.sites[1].valence_share == still.sites[1].valence_share
    change = np.abs(moved.difference - still.difference).max()
    assert 0 < change < 0.1 * np.abs(still.difference).max()


def test_masses_hardly_matter(bundled):
    """Kinetic energies are small against the width of a core hole."""
    results, settings, states = bundled
    light, heavy = (workflow.carrier_spectra(results, settings, states, pairs(states, masses=m))
                    for m in ((0.12, 0.12), (0.3, 0.3)))
    assert np.abs(light.difference - heavy.difference).max() < 0.1 * heavy.difference.max()


@pytest.mark.parametrize(("text", "expected"), [("1e19cm-3", 1e19), ("0.01/cell", 0.01 / 1e-21),
                                                ("40/nc", 40 / 1e-18), ("2e18 1/cm3", 2e18)])
def test_densities(text, expected):
    assert parse_carrier_density(text, 1000.0, 1e6) == pytest.approx(expected)


@pytest.mark.parametrize(("text", "message"), [("1e19", "write it as 1e19cm-3"),
                                               ("-1/cell", "it must be positive"),
                                               ("40/nc", "say with --size how large")])
def test_densities_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_carrier_density(text, 1000.0)


def test_impossible_carriers_are_refused(bundled):
    results, settings, states = bundled
    with pytest.raises(InputError, match="more than a quarter of the states"):
        pairs(states, 1e24)
    with pytest.raises(InputError, match="above 0 and up to 5000 K"):
        pairs(states, kelvin=0.0)
    with pytest.raises(InputError, match="outside of their band"):
        BandStates(np.array([-1.0]), np.array([1.0]), "")
    with pytest.raises(InputError, match="an effective mass of -1 is not possible"):
        parabolic(-1.0, CELL_A3)
    for options, message in (({"structure": "cubic"}, "0 p shells of Br on the site 3d"),
                             ({"structure": "none"}, "there is no structure 'none'"),
                             ({"window_eV": 0.5}, "does not reach the levels of the chains"),
                             ({"window_eV": 50.0}, "does not fit the computed bands")):
        with pytest.raises(InputError, match=message):
            workflow.carrier_spectra(results, settings, states, pairs(states), **options)
    smeared = [replace(s, sites=tuple(replace(x, hole={**x.hole, "highest_occupied_eV": None})
                                      for x in s.sites)) for s in results.structures]
    with pytest.raises(InputError, match="smeared occupations"):
        workflow.carrier_spectra(replace(results, structures=tuple(smeared)), settings, states,
                                 pairs(states))


def command(*words):
    return main(["carriers", str(BUILT_IN), *map(str, words)])


def test_command(tmp_path, capsys):
    out = tmp_path / "out"
    assert command("--density", "1e19cm-3", "--out", out, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert {p.name for p in out.iterdir()} == {f"carriers{s}" for s in (".csv", ".json", ".png",
                                                                         ".svg")}
    assert [s["label"] for s in record["sites"]] == ["Br9-4c", "Br13-8d"]
    assert record["pairs_per_cell"] == pytest.approx(1e-5 * CELL_A3)
    assert record["opened"]["energy_eV"] < record["blocked"]["energy_eV"]
    table = np.genfromtxt(out / "carriers.csv", delimiter=",", names=True, encoding="utf-8")
    assert table[table.dtype.names[-1]].max() == pytest.approx(0.0758, abs=2e-4)
    assert command("--density", "1e19cm-3", "--out", out, "--temperature", "77K") == 0
    said = capsys.readouterr().out
    assert "opened (solid)" not in said
    assert "77 K" in said
    assert "Br13-8d" in said


def test_heat_knows_the_photons(tmp_path, capsys):
    """As many pairs per volume as photons in a crystal of its volume."""
    words = ["--fluence", "0.1mJ/cm2", "--pump", "355nm", "--size", "10nm", "--concentration",
             "5.8mg/mL", "--jet", "200um", "--json"]
    assert main(["heat", *words]) == 0
    text = capsys.readouterr().out
    (tmp_path / "heat.json").write_text(text)
    photons = json.loads(text)["photons_per_nc"]
    found = []
    for how in (["--heat", tmp_path / "heat.json"], ["--density", f"{photons}/nc", "--size",
                                                     "10nm"]):
        assert command(*how, "--out", tmp_path / "out", "--json") == 0
        found.append(json.loads(capsys.readouterr().out)["density_per_cm3"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@pytest.mark.parametrize(("words", "message"), [
    ([], "say how many carriers there are"),
    (["--density", "1e19cm-3", "--heat", "x"], "say how many carriers there are"),
    (["--density", "1e19cm-3", "--pdos", "none.npz"], "none.npz"),
    (["--density", "1e19cm-3", "--electron-mass", "0"], "an effective mass of 0 is not possible")])
def test_command_refuses(tmp_path, capsys, words, message):
    assert command(*words, "--out", tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_states_of_another_calculation_are_refused(tmp_path, bundled):
    results = bundled[0]
    states, record = read_states(BUILT_IN / "pdos.npz")
    other = write_states(tmp_path / "other.npz", states,
                         record | {"total_energy_eV": record["total_energy_eV"] + 1})
    with pytest.raises(InputError, match="its total energy is another"):
        workflow.read_edges(results, BUILT_IN, other)
    with pytest.raises(InputError, match="which says where the band edges are"):
        workflow.read_edges(results, tmp_path)
    (tmp_path / "pdos" / "ground").mkdir(parents=True)
    write_states(tmp_path / "pdos" / "ground" / "pdos.npz", states, record)
    assert workflow.read_edges(results, tmp_path).electrons == states.electrons
    feff = replace(results, study=replace(results.study,
                                          engine=replace(results.study.engine, kind="feff")))
    with pytest.raises(InputError, match="is for studies with XSpectra"):
        workflow.read_edges(feff, BUILT_IN)
