"""Only the compiled core is declared here; everything else stands in pyproject.toml.

POLARON_CHECKED=1 builds it with bounds and None checks for the debugging leg of the tests.
"""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

checked = os.environ.get("POLARON_CHECKED") == "1"
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
        depends=[str(header) for header in Path("ext").glob("*.h")],
    )
    for path in sorted(Path("ext").glob("*.pyx"))
]
setup(ext_modules=cythonize(extensions, build_dir="build/cython", compiler_directives=directives))
