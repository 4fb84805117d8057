import json

import pytest

from perovskite_polaron.cli.main import main


def run(capsys, *arguments, status=0):
    assert main([str(a) for a in arguments]) == status
    out, err = capsys.readouterr()
    if status:
        assert out == ""
        assert len(err.splitlines()) == 1
        return err
    return json.loads(out) if "--json" in arguments else out


def test_distort_then_bonds_from_files(capsys, tmp_path):
    ground = tmp_path / "ground.cif"
    run(capsys, "structure", "cspbbr3-pbnm", "--out", ground)
    record = run(capsys, "distort", ground, "--mode", "lo-c-sevennet", "--max-displacement", "0.1A",
                 "--format", "cif", "xsf", "vasp", "extxyz", "--out", tmp_path / "lo", "--csv",
                 tmp_path / "s.csv", "--figure", tmp_path / "s.svg", "--json")
    assert record["sign_equivalent"] is True
    point = record["structures"][0]
    assert (point["space_group"], point["max_displacement_A"]) == ("Pna2_1", pytest.approx(0.1))
    assert [(a["parent"], a["multiplicity"]) for a in point["absorbers"]["Br"]] == [
        ("4c", 4), ("8d", 4), ("8d", 4)
    ]
    assert sorted(p.name for p in (tmp_path / "lo").iterdir()) == [
        "000.cif", "000.extxyz", "000.vasp", "000.xsf"
    ]
    report = run(capsys, "bonds", point["path"], ground, "--csv", tmp_path / "b.csv", "--figure",
                 tmp_path / "b.png", "--json")
    assert report["ratio"]["axial_to_equatorial"] == pytest.approx(6.82, abs=0.01)
    assert set(report["displacement_A"]) == {"axial_X", "equatorial_X", "B", "A"}
    assert len(report["bonds"]) == 24
    assert report["offcentring_A"] == pytest.approx(0.0800, abs=1e-4)
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 25
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    assert "axial to B" in run(capsys, "bonds", point["path"], ground)
    child = run(capsys, "structure", point["path"], "--element", "Br", "--json")
    assert [a["parent"] for a in child["absorbers"]["Br"]] == ["4c", "8d", "8d"]


def test_zero_point_amplitudes_and_a_table(capsys, tmp_path):
    text = run(capsys, "distort", "cspbbr3-pnma", "--mode", "lo-c", "--amplitude=-1zp,0zp,1zp",
               "--out", tmp_path / "s")
    assert "−Q is the image of +Q" in text
    assert len(list((tmp_path / "s").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("structure", "gone.cif"), "gone.cif does not exist"),
     (("structure", "cspbbr3-pbnm", "--element", "I"), "I is not in cspbbr3-pbnm"),
     (("structure", "cspbbr3-pbnm", "--symprec", "0.1"), "no unit"),
     (("bonds", "cspbbr3-pbnm", "cspbbr3-pnma"), "different lattices"),
     (("bonds", "cspbbr3-pbnm", "--figure", "a.jpg"), "name it .png, .svg or .pdf"),
     (("distort", "cspbbr3-pbnm", "--mode", "lo-c", "--amplitude", "2", "--out", "o"),
      "write 1zp or"),
     (("distort", "cspbbr3-pbnm", "--mode", "gone.json", "--amplitude", "1zp", "--out", "o"),
      "gone.json does not exist"),
     (("distort", "cspbbr3-pbnm", "--mode", "lo-c", "--select", "4", "--amplitude", "1zp", "--out",
       "o"),
      "there is no mode 4"),
     (("distort", "cspbbr3-pm3m", "--mode", "lo-c", "--amplitude", "1zp", "--out", "o"),
      "not a multiple of the 20")]
)
def test_bad_input_is_one_line_and_leaves_nothing(capsys, tmp_path, monkeypatch, arguments,
                                                  message):
    monkeypatch.chdir(tmp_path)
    assert message in run(capsys, *arguments, status=2)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_kept_unless_asked(capsys, tmp_path):
    out = tmp_path / "a.cif"
    out.write_text("mine")
    assert "exists already" in run(capsys, "structure", "cspbbr3-pbnm", "--out", out, status=2)
    assert out.read_text() == "mine"
    run(capsys, "structure", "cspbbr3-pbnm", "--out", out, "--overwrite")
    assert out.read_text().startswith("data_")
