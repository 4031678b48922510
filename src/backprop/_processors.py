"""How many threads are worth starting: the processors this process may run on, and the time its control groups give it there."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_OWN_GROUPS = Path("/proc/self/cgroup")
_ALL_GROUPS = Path("/sys/fs/cgroup")


def default_threads() -> int:
    """Return the number of threads to use where the program does not set one."""
    time = quota()
    return min(openmp_default(), processors(), math.ceil(time) if math.isfinite(time) else processors())


def openmp_default() -> int:
    """Return the number that an OpenMP runtime starts with: the first in OMP_NUM_THREADS, or else that of `processors`.

    Like OpenMP, this ignores an OMP_NUM_THREADS that does not begin with a number from 1 up.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else processors()


def processors() -> int:
    """Return the number of processors that this process may run on."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(own: Path = _OWN_GROUPS, everything: Path = _ALL_GROUPS) -> float:
    """Return how much time the control groups (Linux, versions 1 and 2) give this process, in processors; infinity without a limit.

    A container that may use 1.5 processors sees all processors of its host, but has to wait once its threads have used the time.
    """
    return min(map(_limit, _groups(own, everything)), default=math.inf)


def _groups(own: Path, everything: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that share out processors: those of this process and the groups they are in."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):  # version 2 has one hierarchy for all controllers
            top = everything / controllers
            group = top / path.lstrip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _limit(group: Path) -> float:
    try:
        if (group / "cpu.max").exists():
            time, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        else:
            time, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
        return int(time) / int(period) if int(time) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):  # ValueError: the quota is "max"
        return math.inf
