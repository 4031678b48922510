"""What is measured, one row after the other: kernels, training steps, predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from .. import kernels
from .kernel_cases import KERNELS, Work, kernel_run
from .long_runs import LONG_RUNS, LongRun, epoch_run, first_and_last
from .network_cases import PREDICTION, TRAINING, NetworkCase, fit_run, predict_run, step_run
from .peers import NotOfferedError, Peer
from .timing import Contestant, Run, best_times

TWIN = "NumPy twin"


class Row(NamedTuple):
    """One case: the seconds of each contestant, ourselves first, and how much work it is."""

    table: str  # "kernels", "training", "long training" or "prediction"
    name: str
    detail: str  # the size, how the library is called, or which epochs
    dtype: str
    seconds: dict[str, float]
    work: Work

    @property
    def ours(self) -> float:
        """Our own time."""
        return next(iter(self.seconds.values()))

    @property
    def rate(self) -> float:
        """Our work per second."""
        return self.work.amount / self.ours

    def ratio(self, other: str) -> float | None:
        """How many times as long another takes."""
        return self.seconds[other] / self.ours if other in self.seconds else None

    def to_json(self) -> dict[str, Any]:
        """The row as a dictionary."""
        return self._asdict() | {"work": self.work._asdict()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Row:
        """The row of such a dictionary."""
        return cls(**{**fields, "work": Work(**fields["work"])})


class Plan(NamedTuple):
    """What to measure, against whom and for how long."""

    only: Sequence[str] = ()  # rows that contain one of these; none: all
    sizes: Sequence[str] = ("small", "medium", "large")
    training: Sequence[NetworkCase] = tuple(TRAINING)
    prediction: Sequence[NetworkCase] = tuple(PREDICTION)
    long_training: Sequence[LongRun] = tuple(LONG_RUNS)
    seconds: float = 0.3  # for a network and contestant; a tenth for a kernel
    rest: float = 0.0
    most_steps: int = 2_000  # of a call of fit

    def wants(self, *words: str) -> bool:
        """Whether a row with these words is asked for."""
        text = " ".join(words)
        return not self.only or any(word in text for word in self.only)


def ourselves() -> str:
    """The backend that stands for us in the tables."""
    return "cython" if "cython" in kernels.available() else "numpy"


def rows(plan: Plan, peers: Mapping[str, Peer], skipped: Callable[[str], object]) -> Iterator[Row]:
    """Measure; ``skipped`` is told what a peer could not do, and why."""
    take = _Taker(plan, peers, skipped)
    for size in plan.sizes:
        for case in KERNELS:
            if plan.wants("kernels", case.name, size):
                contestants = take.contestants(partial(kernel_run, case, size), "kernel", case, size)
                seconds = best_times(contestants, plan.seconds / 10, rest=plan.rest)
                yield Row("kernels", case.name, size, "float32", seconds, case.work(size))
    for network in plan.training:
        if plan.wants("training", network.name, network.dtype):
            yield from take.training(network)
    for run in plan.long_training:
        if plan.wants("long training", run.name):
            yield from take.long_training(run)
    for network in plan.prediction:
        if plan.wants("prediction", network.name, network.dtype):
            contestants = take.contestants(partial(predict_run, network), "predict", network)
            seconds = best_times(contestants, plan.seconds, rest=plan.rest)
            work = Work(1e-9 * network.prediction_flops, "GFLOP")
            yield Row("prediction", network.name, "predict", network.dtype, seconds, work)


class _Taker(NamedTuple):
    """Brings the contestants of a row together."""

    plan: Plan
    peers: Mapping[str, Peer]
    skipped: Callable[[str], object]

    def contestants(self, make: Callable[[str], Run], method: str, *arguments: object) -> dict[str, Contestant]:
        """Our backends and the peers that offer a method."""
        runs = {ourselves(): Contestant(make(ourselves()))}
        if ourselves() != "numpy":
            runs[TWIN] = Contestant(make("numpy"))
        for name, peer in self.peers.items():
            try:
                runs[name] = Contestant(getattr(peer, method)(*arguments))
            except NotOfferedError as reason:
                if str(reason):
                    self.skipped(str(reason))
        return runs

    def training(self, case: NetworkCase) -> Iterator[Row]:
        """A step in `Trainer.fit` and one by `Trainer.step`, timed together against the same others."""
        contestants = {"fit": fit_run(case, ourselves(), self.plan.most_steps)}
        contestants |= self.contestants(partial(step_run, case), "step", case)
        seconds = best_times(contestants, self.plan.seconds, rest=self.plan.rest)
        by_fit, by_step, *_ = seconds.values()
        others = {name: time for name, time in seconds.items() if name not in ("fit", ourselves())}
        work = Work(1e-9 * case.training_flops, "GFLOP")
        yield Row("training", case.name, "fit", case.dtype, {ourselves(): by_fit} | others, work)
        yield Row("training", case.name, "step", case.dtype, {ourselves(): by_step} | others, work)

    def long_training(self, case: LongRun) -> Iterator[Row]:
        """A step in the first epochs, and one in the last."""
        contestants = self.contestants(partial(epoch_run, case), "epoch", case)
        contestants = {name: Contestant(contestant.run, case.steps) for name, contestant in contestants.items()}
        work = Work(1e-9 * case.network.training_flops, "GFLOP")
        for detail, seconds in zip(("first", "last"), first_and_last(contestants, case.epochs), strict=True):
            yield Row("long training", case.name, detail, case.network.dtype, seconds, work)
