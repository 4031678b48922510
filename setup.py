"""The extension modules: one Cython source, translated once and compiled once per instruction set.

Everything else is in pyproject.toml. Environment switches:

BACKPROP_REQUIRE_EXT=1   a failed compilation is an error; otherwise the package installs without the extension, on NumPy
BACKPROP_PURE=1          compile nothing: a wheel is then py3-none-any, which installs everywhere (Pyodide, for one), on NumPy
BACKPROP_PLAIN=1         compile without vector extensions, as other compilers do
BACKPROP_BUILD_ISA       compile only these, separated by commas (x86-64 is always built: it detects the processor);
                         "native" compiles one module, for the best level that this processor runs
BACKPROP_CYTHON          the Python that runs Cython, where the one that runs this file cannot (a cross build)
BACKPROP_DEBUG=1         compile with -O1 -g, and check every index and every use of a memoryview at run time
BACKPROP_SANITIZE        compile with -O1 -g and these of GCC's or Clang's sanitizers, such as "address,undefined" or "thread";
                         Python has to be started with their library loaded (.ci/sanitize does it)

A file whose inputs and switches have not changed since the last build is not built again.
"""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

SOURCE = Path("src/backprop/_core.pyx")
KERNELS = sorted(path for path in Path("src/backprop/_kernels").rglob("*") if path.suffix in (".h", ".pxi"))
HEADERS = [path for path in KERNELS if path.suffix == ".h"]
LEVELS = {
    "x86-64": ("backprop._core", []),
    "x86-64-v3": ("backprop._core_v3", ["-march=x86-64-v3"]),
    "x86-64-v4": ("backprop._core_v4", ["-march=x86-64-v4", "-mprefer-vector-width=512"]),
}
SWITCHES = ("PURE", "PLAIN", "DEBUG", "REQUIRE_EXT")
PURE, PLAIN, DEBUG, REQUIRED = (os.environ.get(f"BACKPROP_{switch}") == "1" for switch in SWITCHES)
X86 = platform.machine().lower() in ("x86_64", "amd64") and os.name == "posix" and not PLAIN
ISA = os.environ.get("BACKPROP_BUILD_ISA", ",".join(LEVELS)).split(",")
SANITIZE = [f"-fsanitize={names}" for names in [os.environ.get("BACKPROP_SANITIZE")] if names]
# No -ffast-math: it loses NaN, and linking with it flushes denormals in the whole process.
FLAGS = ["-O1", "-g"] if DEBUG or SANITIZE else ["-O3", "-g0"]
FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
# `cdef inline` means it: the kernels take literal arguments apart at compile time, which works in no copy that is shared.
INLINE = ("CYTHON_INLINE", "inline __attribute__((always_inline))")
# Cython runs in a process of its own and without garbage collection, which takes a third of its time and frees little.
CYTHON = [os.environ.get("BACKPROP_CYTHON", sys.executable), "-c"]
CYTHON += ["import gc; gc.disable(); from Cython.Compiler.Main import main; main(command_line=1)", "-3"]
CYTHON += ["-X", "boundscheck=True,initializedcheck=True"] * DEBUG

LEVEL_PROBE = '#include <Python.h>\n#include "_kernels/core/vector.h"\nint main(void) { return processor_level(); }\n'


class Stamp:
    """Remembers what a file was built from: settings, and the contents of other files."""

    def __init__(self, built, *settings, files):
        digest = hashlib.sha256(repr(settings).encode())
        for path in files:
            digest.update(Path(path).read_bytes())
        self.file, self.digest = Path(f"{built}.stamp"), digest.hexdigest()

    def matches(self):
        """Whether the file was last built from the same."""
        return self.file.exists() and self.file.read_text() == self.digest


class BuildLevels(build_ext):
    """Translate the source once, and compile it under each extension's name with its own flags."""

    def initialize_options(self):
        """Build one level per processor at a time."""
        super().initialize_options()
        self.parallel = os.cpu_count()

    def build_extensions(self):
        """Translate, and compile every level that is wanted; levels that an earlier build has left are removed."""
        self.remove({name for name, _ in LEVELS.values()} - {extension.name for extension in self.extensions}, self.build_lib)
        self.translated = Path(self.build_temp, "_core.c")
        self.translated.parent.mkdir(parents=True, exist_ok=True)
        included = [path for path in KERNELS if path.suffix == ".pxi"]
        stamp = Stamp(self.translated, CYTHON, version("cython"), files=[SOURCE, *included])
        if not (self.translated.exists() and stamp.matches()):
            stamp.file.unlink(missing_ok=True)
            subprocess.run([*CYTHON, "--module-name", "backprop._core", "-o", self.translated, SOURCE], check=True)
            stamp.file.write_text(stamp.digest)
        if ISA == ["native"] and X86:
            best = f"x86-64-v{self.run_probe(LEVEL_PROBE)}"
            self.extensions[0].extra_compile_args = LEVELS.get(best, LEVELS["x86-64"])[1]
        super().build_extensions()

    def build_extension(self, extension):
        """Compile one level, unless it is there and was compiled from the same files with the same switches."""
        name = extension.name.rpartition(".")[2]
        source = self.translated.with_name(f"{name}.c")
        if name != "_core":
            renamed = [f"#define {init}__core {init}_{name}\n" for init in ("PyInit", "PyModExport")]
            source.write_text("".join(renamed) + '#include "_core.c"\n')
        extension.sources = [str(source)]
        if self.compiler.compiler_type != "msvc":
            extension.extra_compile_args = FLAGS + SANITIZE + extension.extra_compile_args
            extension.extra_link_args = SANITIZE
            extension.define_macros.append(INLINE)
        commands = [getattr(self.compiler, command, None) for command in ("compiler_so", "linker_so")]
        switches = [extension.extra_compile_args, extension.define_macros]
        stamp = Stamp(source.with_suffix(".o"), commands, switches, sys.version, np.__version__, files=[self.translated, *HEADERS])
        built = Path(self.get_ext_fullpath(extension.name))
        if not (built.exists() and stamp.matches()):
            for old in built, stamp.file:
                old.unlink(missing_ok=True)
            super().build_extension(extension)
            stamp.file.write_text(stamp.digest)

    def copy_extensions_to_source(self):
        """Replace what an earlier build has left in the source tree."""
        self.remove({name for name, _ in LEVELS.values()}, "src")
        super().copy_extensions_to_source()

    def remove(self, names, folder):
        """Remove compiled modules: `backprop.kernels` loads the best there is, also one of an earlier build."""
        for name in names:
            Path(folder, self.get_ext_filename(name)).unlink(missing_ok=True)

    def run_probe(self, code):
        """Compile and run a C program; return its exit status, None if it does not compile."""
        with tempfile.TemporaryDirectory() as folder:
            source, program = Path(folder, "probe.c"), str(Path(folder, "probe"))
            source.write_text(code)
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, include_dirs=["src/backprop"])
                self.compiler.link_executable(objects, program)
            except (CompileError, LinkError):
                return None
            return subprocess.run([program], check=False).returncode


def extensions():
    """The baseline, and what this processor family and compiler have beyond it."""
    if PURE and REQUIRED:
        raise SystemExit("BACKPROP_PURE=1 and BACKPROP_REQUIRE_EXT=1 exclude each other")
    if PURE:
        return
    unknown = set(ISA) - {*LEVELS, "native"}
    if unknown:
        raise SystemExit(f"BACKPROP_BUILD_ISA must be native, or of {', '.join(LEVELS)}, got {', '.join(sorted(unknown))}")
    for level, (name, flags) in LEVELS.items():
        if level != "x86-64" and not (X86 and level in ISA):
            continue
        yield Extension(
            name,
            [str(SOURCE)],
            include_dirs=[np.get_include(), "src/backprop"],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")] + [("BACKPROP_PLAIN", "1")] * PLAIN,
            extra_compile_args=flags,
            optional=not REQUIRED,
        )


setup(ext_modules=list(extensions()), cmdclass={"build_ext": BuildLevels})
