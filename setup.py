"""Only the compiled core is declared here; everything else stands in pyproject.toml.

POLARON_CHECKED=1 builds it with bounds and None checks, and with its symbols, for the debugging leg
of the tests.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

checked = os.environ.get("POLARON_CHECKED") == "1"
# Symbols are four fifths of the modules. Apple's linker has another flag for it.
strip = [] if checked else ["-Wl,-x"] if sys.platform == "darwin" else ["-s"]
directives = {
    "language_level": 3,
    "embedsignature": True,
    "boundscheck": checked,
    "wraparound": False,
    "nonecheck": checked,
    "initializedcheck": checked,
    "cdivision": not checked,
}
extensions = [
    Extension(
        f"perovskite_polaron._ext.{path.stem}",
        [str(path)],
        include_dirs=[numpy.get_include(), "ext"],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        # OpenMP's hints for vector loops only, no threads of its own. The last two flags change no
        # result: they say that nobody reads errno or the floating-point exceptions.
        extra_compile_args=["-O3", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"],
        extra_link_args=strip,
        depends=[str(header) for header in Path("ext").glob("*.h")],
    )
    for path in sorted(Path("ext").glob("*.pyx"))
]
# What was built, for polaron --version: packages between two releases have one version.
if Path(".git").exists():
    told = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*"],
                          capture_output=True, text=True, check=False).stdout
    Path("perovskite_polaron", "revision.txt").write_text(told, encoding="ascii")
# Links into the repository lead nowhere from a package's page: there they are their words alone.
readme = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1",
                Path("README.md").read_text(encoding="utf-8"))
setup(ext_modules=cythonize(extensions, build_dir="build/cython", compiler_directives=directives),
      long_description=readme, long_description_content_type="text/markdown")
