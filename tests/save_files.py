"""Save files of XSpectra for the tests, written by hand, and the input that makes xspectra.x plot
one.
"""

import os
import shutil
import subprocess

import numpy as np

HEADER = """# save_file_version=       2
# save_file_kind   =xanes_dipole
# date=20261124
# number of lanczos stored=   1
#
#
"""

PLOT = """&input_xspectra
 calculation='xanes_dipole', prefix='x', outdir='./', xonly_plot=.true.,
 xniter=500, xcheck_conv={conv}, xerror=0.01,
 xcoordcrys=.false., xepsilon(1)=0.0, xepsilon(2)=0.0, xepsilon(3)=1.0, xiabs=1, x_save_file='x.sav'
/
&plot
 xnepoint={points}, xgamma={hwhm}, xemin={emin}, xemax={emax}, terminator=.true.,
 cut_occ_states={cut}
/
&pseudos
 filecore='core.wfc', r_paw(1)=1.9
/
&cut_occ
 cut_desmooth={smooth}, cut_tinf={tinf}
/
{k} 1 1 0 0 0
"""


def write_save(path, a, b, *, norms, core_eV=0.0, fermi_eV=0.0, spins=1):
    """Write chains a, b (a list of lists, Ry) to path, padded as XSpectra pads them, and return
    path.
    """
    longest = max(map(len, a))

    def row(values):
        return " " + " ".join(repr(float(x)) for x in values) + "\n"

    def table(rows):
        return row([x for values in rows for x in [*values, *[0.0] * (longest - len(values))]])

    path.write_text(HEADER + f" {'T' if spins == 2 else 'F'} {spins}\n 1 {len(a)} 500\n {longest}\n"
                    f" {core_eV!r} {fermi_eV!r}\n"
                    " 0.0 0.0 0.0\n 0.0 0.0 1.0\n" + row(norms) + " "
                    + " ".join(str(len(x)) for x in a) + "\n" + table(a) + table(b))
    return path


def xspectra_plot(save, folder, *, hwhm, points, emin, emax, k=1, conv, cut=False, smooth=0.1,
                  tinf=1e-6):
    """Let xspectra.x plot a save file; return the columns of its xanes.dat.

    tinf: where its integral over the occupied states begins, as a distance from the Fermi energy;
    1e-6 is its default.
    """
    shutil.copy(save, folder / "x.sav")
    # The plot needs no core wave function, but the program opens one.
    r = np.linspace(1e-3, 5, 200)
    (folder / "core.wfc").write_text(
        "#number of core states  1\n" + "".join(f"{x:.10e} {2 * x * np.exp(-x):.10e}\n" for x in r)
    )
    text = PLOT.format(
        conv=conv,
        points=points,
        hwhm=hwhm,
        emin=emin,
        emax=emax,
        smooth=smooth,
        tinf=tinf,
        k=k,
        cut=".true." if cut else ".false.",
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [shutil.which("xspectra.x") or "xspectra.x"],
        input=text,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if run.returncode or not (folder / "xanes.dat").exists():
        raise RuntimeError(f"xspectra.x failed: {run.stdout[-1000:]} {run.stderr[-500:]}")
    return np.loadtxt(folder / "xanes.dat").T
