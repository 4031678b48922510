"""The machine: what it is, in words, and what its processor can do at best."""

from __future__ import annotations

import os
import platform
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from .._arrays import aligned_zeros
from .timing import Contestant, best_times


class Peak(NamedTuple):
    """The limits of one core."""

    gflops: dict[str, float]  # of a tile of the matrix product that stays in the first-level cache, by dtype; empty without kernels
    register_gflops: dict[str, float]  # of fused multiply-adds in registers alone
    copy_gbytes: float  # between arrays larger than any cache, read and written


def measure_peak(seconds: float) -> Peak:
    """Measure the limits of one core, in about six times ``seconds``."""
    tiles: dict[str, float] = {}
    registers: dict[str, float] = {}
    compiled = _compiled()
    if compiled is not None:
        for dtype in ("float32", "float64"):
            numbers = aligned_zeros(compiled.PRODUCT_TILE_NUMBERS, dtype)
            numbers[:] = 0.5
            for rates, run in (
                (tiles, partial(compiled.product_tile, numbers, TILES)),
                (registers, partial(compiled.multiply_add_tile, numbers, STEPS)),
            ):
                rates[dtype] = 1e-9 * run() / best_times({dtype: Contestant(run)}, seconds)[dtype]
    source = np.ones(COPIED // 8)
    target = np.empty_like(source)
    time = best_times({"copy": Contestant(lambda: np.copyto(target, source))}, seconds)["copy"]
    return Peak(tiles, registers, 2e-9 * COPIED / time)


STEPS = 20_000
TILES = 200
COPIED = 128 * 1024 * 1024  # bytes


def _compiled() -> Any:
    if "cython" not in kernels.available():
        return None
    with kernels.use_backend("cython"):
        return kernels.active()


def describe() -> str:
    """Say what the machine is: processor, cores, instruction set, caches, memory, system."""
    parts = [_processor(), f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"]
    parts += [f"instruction set {kernels.backend().isa}", *_caches()]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory")
    return ", ".join([*parts, platform.system()])


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name


def _caches() -> list[str]:
    """The sizes of a core's caches, where the system tells."""
    found: list[str] = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text(encoding="utf-8").strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found.append(f"L{level} {size.removesuffix('K')} KiB")
    return found


def versions(names: list[str]) -> dict[str, str]:
    """The versions of those distributions that are installed, and Python's."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"Python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
