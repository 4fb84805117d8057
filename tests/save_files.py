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
 calculation='xanes_dipole', edge='{edge}', prefix='x', outdir='./', xonly_plot=.true.,
 xniter=5000, xcheck_conv={conv}, xerror=0.01,
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


def write_save(path, a, b, *, norms, core_eV=0.0, fermi_eV=0.0, spins=1, states=1):
    """Write chains a, b (a list of lists, Ry) to path, padded as XSpectra pads them, and return
    path. Of an L edge: all k points of one state of the core, then those of the next.
    """
    longest, k = max(map(len, a)), len(a) // states

    def row(values):
        return " " + " ".join(repr(float(x)) for x in values) + "\n"

    def table(rows):
        return row([x for values in rows for x in [*values, *[0.0] * (longest - len(values))]])

    header = HEADER if states == 1 else (HEADER.replace("xanes_dipole", "\0" * 32)
                                         .replace("stored=   1", f"stored={states:4d}"))
    tables = [row(norms[m : m + k]) + " " + " ".join(str(len(x)) for x in a[m : m + k]) + "\n"
              + table(a[m : m + k]) + table(b[m : m + k]) for m in range(0, len(a), k)]
    path.write_text(header + f" {'T' if spins == 2 else 'F'} {spins}\n 1 {k} 5000\n {longest}\n"
                    f" {core_eV!r} {fermi_eV!r}\n"
                    " 0.0 0.0 0.0\n 0.0 0.0 1.0\n" + "".join(tables))
    return path


def xspectra_plot(save, folder, *, hwhm, points, emin, emax, k=1, conv, cut=False, smooth=0.1,
                  tinf=1e-6, edge="K"):
    """Let xspectra.x plot a save file; return the columns of its xanes.dat.

    tinf: where its integral over the occupied states begins, as a distance from the Fermi energy;
    1e-6 is its default.
    """
    shutil.copy(save, folder / "x.sav")
    # The plot needs no core wave function, but the program opens one.
    r = np.linspace(1e-3, 5, 200)
    (folder / "core.wfc").write_text(
        ("#number of core states  1\n"
         + "".join(f"{x:.10e} {2 * x * np.exp(-x):.10e}\n" for x in r)) * 3
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
        edge=edge,
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
