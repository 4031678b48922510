"""The extension modules: one Cython source, compiled once per instruction set.

Everything else is in pyproject.toml. Environment switches:

BACKPROP_REQUIRE_EXT=1   a failed compilation is an error; otherwise the package installs without the extension, on NumPy
BACKPROP_PLAIN=1         compile without vector extensions, as other compilers do
BACKPROP_BUILD_ISA       compile only these, separated by commas (x86-64 is always built: it detects the processor)
"""

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

SOURCE = "src/backprop/_core.pyx"
INCLUDED = sorted(str(path) for path in Path("src/backprop/_kernels").iterdir())
LEVELS = {
    "x86-64": ("backprop._core", []),
    "x86-64-v3": ("backprop._core_v3", ["-march=x86-64-v3"]),
    "x86-64-v4": ("backprop._core_v4", ["-march=x86-64-v4", "-mprefer-vector-width=512"]),
}
# No -ffast-math: it loses NaN, and linking with it flushes denormals in the whole process.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-g0"]
# `cdef inline` means it: the kernels take literal arguments apart at compile time, which works in no copy that is shared.
INLINE = ("CYTHON_INLINE", "inline __attribute__((always_inline))")


class BuildLevels(build_ext):
    """Translate the source under each extension's own name, in a process of its own, and compile with its own flags."""

    def initialize_options(self):
        """Build as many levels at once as there are processors."""
        super().initialize_options()
        self.parallel = os.cpu_count()

    def build_extension(self, extension):
        """Translate and compile one level, always: what is there may have been built with other switches."""
        translated = Path(self.build_temp, extension.name + ".c")
        translated.parent.mkdir(parents=True, exist_ok=True)
        name = ["--module-name", extension.name]
        subprocess.run([sys.executable, "-m", "cython", "-3", *name, "-o", translated, SOURCE], check=True)
        extension.sources = [str(translated)]
        if self.compiler.compiler_type != "msvc":
            openmp = ["-fopenmp"] if self._has_openmp() else []
            extension.extra_compile_args = FLAGS + openmp + extension.extra_compile_args
            extension.extra_link_args = openmp
            extension.define_macros.append(INLINE)
        self.force = True
        super().build_extension(extension)

    def _has_openmp(self):
        """Whether the compiler and the linker know OpenMP; without it everything runs on one thread."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=["-fopenmp"])
                self.compiler.link_executable(objects, str(Path(folder, "probe")), extra_postargs=["-fopenmp"])
            except (CompileError, LinkError):
                return False
            return True


def extensions():
    """The baseline, and what this processor family and compiler have beyond it."""
    levels = ["x86-64"]
    if platform.machine().lower() in ("x86_64", "amd64") and os.name == "posix" and not plain:
        levels = list(LEVELS)
    if "BACKPROP_BUILD_ISA" in os.environ:
        levels = ["x86-64", *(level for level in levels[1:] if level in os.environ["BACKPROP_BUILD_ISA"].split(","))]
    for level in levels:
        name, flags = LEVELS[level]
        yield Extension(
            name,
            [SOURCE],
            include_dirs=[np.get_include(), "src/backprop"],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")] + [("BACKPROP_PLAIN", "1")] * plain,
            extra_compile_args=flags,
            depends=INCLUDED,
            optional=os.environ.get("BACKPROP_REQUIRE_EXT") != "1",
        )


plain = os.environ.get("BACKPROP_PLAIN") == "1"
setup(ext_modules=list(extensions()), cmdclass={"build_ext": BuildLevels})
