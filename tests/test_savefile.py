"""Save files of XSpectra: what is read, how chains are kept, and one clear line for each way a file
can be wrong.
"""

import dataclasses

import numpy as np
import pytest
from save_files import write_save

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.savefile import read_chains, read_save, write_chains

A, B = [[0.5, 1.25, -0.75], [0.125, 2.0]], [[1.5, 0.25, 0.1], [1 / 3, 0.7]]


@pytest.fixture
def good(tmp_path):
    return write_save(tmp_path / "br.sav", A, B, norms=[0.1, 1 / 7], core_eV=1500.25, fermi_eV=6.5)


def test_everything_in_the_file_is_read(good):
    save = read_save(good)
    assert (save.spin_polarised, save.absorber) == (False, 1)
    assert (save.core_energy_eV, save.fermi_energy_eV) == (1500.25, 6.5)
    np.testing.assert_array_equal(save.polarisation, [0, 0, 1])
    np.testing.assert_array_equal(save.norms, [[0.1, 1 / 7]])
    for read, written in ((save.a, A), (save.b, B)):
        assert [x.tolist() for x in read] == written
        assert not any(x.flags.writeable for x in read)
    np.testing.assert_array_equal(save.iterations, [[3, 2]])


def test_fortran_may_break_lines_anywhere_and_write_d_exponents(good, tmp_path):
    header, body = good.read_text().split(" F 1\n")
    broken = tmp_path / "broken.sav"
    broken.write_text(header + " F\n"
                      + "\n".join(("1 " + body).replace("1500.25", "1.50025D+03").split()) + "\n")
    ours, theirs = read_save(broken), read_save(good)
    assert ours.core_energy_eV == 1500.25
    for x, y in zip(ours.a + ours.b, theirs.a + theirs.b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("rest", ["NaN", "********", "1.0E+308"])
def test_what_stands_behind_the_end_of_a_shorter_chain_is_not_read(good, rest):
    text = good.read_text()
    assert " 2.0 0.0" in text
    before = read_save(good)
    good.write_text(text.replace(" 2.0 0.0", f" 2.0 {rest}", 1))
    for x, y in zip(read_save(good).a, before.a, strict=True):
        np.testing.assert_array_equal(x, y)


def test_spin_channels_are_separate(tmp_path):
    save = read_save(write_save(tmp_path / "s.sav", A, B, norms=[0.1, 0.2], spins=2))
    assert save.spin_polarised
    np.testing.assert_array_equal(save.norms, [[0.1], [0.2]])


def test_chains_come_back_without_loss_and_as_the_same_bytes(good, tmp_path):
    rng = np.random.default_rng(1)
    spin = write_save(tmp_path / "s.sav", rng.normal(size=(4, 30)), rng.uniform(0.1, 9, (4, 30)),
                      norms=rng.uniform(size=4), spins=2)
    saves = {"b x": read_save(spin), "a/z": read_save(good)}
    write_chains(tmp_path / "one.npz", saves)
    write_chains(tmp_path / "two.npz", dict(reversed(saves.items())))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back = read_chains(tmp_path / "one.npz")
    assert set(back) == set(saves)
    for name, save in saves.items():
        for field in dataclasses.fields(save):
            np.testing.assert_equal(getattr(back[name], field.name), getattr(save, field.name),
                                    err_msg=field.name)
    write_chains(tmp_path / "three.npz", back)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "three.npz").read_bytes()


@pytest.mark.parametrize("spins", [1, 2])
def test_an_l_edge_has_the_chains_of_its_own_states(tmp_path, spins):
    """Six states, as of edge='L23': the first two are L2, the others L3, of which one has none."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(12, 5)).tolist(), rng.uniform(0.1, 9, (12, 5)).tolist()
    a[10:], b[10:] = [[], []], [[], []]
    norms = [*rng.uniform(0.1, 1, 10), 0, 0]
    path = write_save(tmp_path / "l23.sav", a, b, norms=norms, spins=spins, states=6)
    for edge, first, states in (("L2", 0, 2), ("L3", 4, 3)):
        save = read_save(path, edge)
        assert save.core_states == states
        # All k points (here two, or one of each spin) of a state, then the next state.
        order = np.arange(first, first + 2 * states).reshape(states, spins, -1)
        order = order.swapaxes(0, 1).reshape(spins, -1)
        np.testing.assert_array_equal(save.norms, np.array(norms)[order])
        assert [x.tolist() for x in save.a] == [a[k] for k in order.ravel()]
        assert [x.tolist() for x in save.b] == [b[k] for k in order.ravel()]
        back = read_chains(write_chains(tmp_path / "l.npz", {"x": save}))["x"]
        assert back.core_states == states
        np.testing.assert_array_equal(back.norms, save.norms)
    for edge, message in ((None, r"holds six states, of L2 and of L3 .*: say which edge is wanted"),
                          ("K", r"has chains of L2 or L3, not of K")):
        with pytest.raises(InputError, match=message):
            read_save(path, edge)


def test_which_edge_a_file_has(good, tmp_path, capsys):
    l2 = write_save(tmp_path / "l2.sav", A, B, norms=[0.1, 0.2], states=2)
    assert read_save(l2).core_states == read_save(l2, "L2").core_states == 2
    assert read_save(good).core_states == read_save(good, "L1").core_states == 1
    common = ["--emin", "-1eV", "--emax", "1eV", "--points", "3", "--hwhm", "1eV", "--out",
              str(tmp_path / "x.dat")]
    assert main(["lanczos", str(l2), *common, "--edge", "L3"]) == 2
    assert "l2.sav has chains of L2, not of L3" in capsys.readouterr().err
    assert main(["lanczos", str(l2), *common, "--edge", "L2"]) == 0
    empty = write_save(tmp_path / "none.sav", [[], []], [[], []], norms=[0, 0], states=2)
    empty.write_text(empty.read_text().replace("5000\n 0\n", "5000\n 1\n"))
    with pytest.raises(InputError):
        read_save(empty)


def swap(old, new):
    return lambda text: text.replace(old, new, 1)


BAD = {"truncated": (lambda text: text[: text.index(" 0.5 1.25")] + " 0.5 1.25\n",
                     r":15: the file ends where a coefficient a belongs"),
       "cut in the header": (lambda text: text[: text.index("#\n#\n")],
                             r":4: the file ends where the spin flag belongs"),
       "other version": (swap("version=       2", "version=       1"),
                         r":1: not a version 2 save file of XSpectra \(version '1'\)"),
       "not a save file": (lambda text: "hello world\n",
                           r":1: not a version 2 save file of XSpectra \(version 'missing'\)"),
       "quadrupole": (swap("xanes_dipole", "xanes_quadrupole"),
                      r":2: kind 'xanes_quadrupole' is not supported"),
       "M edge": (swap("stored=   1", "stored=  10"), r":4: 10 sets of chains are stored, where a K"
                  r" or L1 edge has 1, L2 2, L3 4, both together 6: other edges are not supported"),
       "no kind": (swap("xanes_dipole", "\0" * 32), r":2: kind '' is not supported"),
       "another set announced": (swap("stored=   1", "stored=   2"),
                                 r":16: the file ends where a norm belongs"),
       "unfinished": (swap("xanes_dipole", "unfinished"), r":2: the calculation is unfinished"),
       "NaN": (swap("1.25", "NaN"), r":15: a coefficient a is not finite"),
       "word": (swap("1.25", "1.2x5"), r":15: '1.2x5' is not a number"),
       "stars": (swap(" 0.125", " ******"), r":15: .* too wide for its column"),
       "extra numbers": (lambda text: text + " 1.0\n", r":17: more numbers than announced"),
       "no iterations": (swap("\n 3 2\n", "\n 3 0\n"),
                         r":14: the number of iterations is 0, not a positive whole number"),
       "chain too long": (swap("\n 3 2\n", "\n 4 2\n"), r":14: a chain of 4 in a table of 3"),
       "spin flag": (swap(" F 1\n", " T 1\n"), r":7: spin flag T with 1 spins"),
       "empty": (lambda text: "", r"br.sav is empty")}


@pytest.mark.parametrize("case", BAD)
def test_bad_file(good, capsys, tmp_path, case):
    damage, message = BAD[case]
    good.write_text(damage(good.read_text()))
    with pytest.raises(InputError, match=message):
        read_save(good)
    out = tmp_path / "out.dat"
    status = main(["lanczos", str(good), "--emin", "-1eV", "--emax", "1eV", "--points", "3",
                   "--hwhm", "1eV", "--out", str(out)])
    lines = capsys.readouterr().err.splitlines()
    assert (status, len(lines)) == (2, 1)
    assert str(good) in lines[0]
    assert not out.exists()


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError,
                       match=r"none.sav does not exist: give the path of a save file of XSpectra"):
        read_save(tmp_path / "none.sav")
    with pytest.raises(InputError, match=r"is a folder"):
        read_save(tmp_path)
    (tmp_path / "binary.sav").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match=r"is not text"):
        read_save(tmp_path / "binary.sav")


def test_every_truncation_is_noticed(good):
    """Cut after any word: never a traceback, never a silent success."""
    text = good.read_text()
    ends = [i for i in range(len(text.rstrip())) if text[i].isspace() and not text[i - 1].isspace()]
    for end in ends:
        good.write_text(text[:end])
        with pytest.raises(InputError):
            read_save(good)


def test_bad_chains_file(good, tmp_path):
    path = tmp_path / "chains.npz"
    with pytest.raises(InputError, match=r"chains.npz does not exist"):
        read_chains(path)
    for content in (b"", b"PK\x03\x04 not a zip", b"words"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"chains.npz does not hold the chains of a study"):
            read_chains(path)
    write_chains(path, {"x": read_save(good)})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"does not hold the chains"):
        read_chains(path)
    array = path.with_suffix(".npy")
    np.save(array, np.zeros(3))
    with pytest.raises(InputError, match=r"does not hold the chains"):
        read_chains(array)
    write_chains(path, {"x": read_save(good)})
    whole = path.read_bytes()
    for place in range(40, len(whole) - 20, 37):
        path.write_bytes(whole[:place] + b"\xff\x00\xff" + whole[place + 3 :])
        try:
            read_chains(path)
        except InputError:
            continue
    np.savez(path, other=np.zeros(3))
    with pytest.raises(InputError, match=r"does not hold the chains"):
        read_chains(path)
