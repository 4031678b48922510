"""How time is taken: contestants in turn, the least time of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter, sleep
from typing import NamedTuple

Run = Callable[[], object]


class Contestant(NamedTuple):
    """A call to be timed, and how many steps it does: its time is divided by them."""

    run: Run
    steps: int = 1


def best_times(contestants: Mapping[str, Contestant], seconds: float, *, rest: float = 0.0) -> dict[str, float]:
    """Return the least time of a step of each contestant.

    They take turns, so that whatever else the machine does hits all of them; what disturbs makes slower, never faster, so the least
    time is what a step costs. Calls too short for the clock are repeated, after one that is not timed, because the one before has
    taken the caches. All together take about ``seconds`` times the number of contestants, and at least three turns after a trial.

    ``rest`` is a pause before each turn, in seconds: threads of the one before may spin for a while.
    """
    trials = {name: _trial(contestant) for name, contestant in contestants.items()}
    best = {name: time for name, (_, time) in trials.items()}
    stop, turns = perf_counter() + seconds * len(contestants), 0
    while turns < 3 or perf_counter() < stop:
        turns += 1
        for name, contestant in contestants.items():
            if rest:
                sleep(rest)
            repeats = trials[name][0]
            if repeats > 1:
                contestant.run()
            best[name] = min(best[name], _time(contestant, repeats))
    return best


def _time(contestant: Contestant, repeats: int) -> float:
    run = contestant.run
    start = perf_counter()
    for _ in range(repeats):
        run()
    return (perf_counter() - start) / (repeats * contestant.steps)


def _trial(contestant: Contestant, least: float = 5e-4) -> tuple[int, float]:
    """How often to call so that one measurement takes ``least`` seconds, and the time of a step."""
    contestant.run()  # the first call may compile and allocate
    time = _time(contestant, 1)
    return max(1, round(least / max(time * contestant.steps, 1e-7))), time
