"""What a measure is. Each takes a freshly started server and returns its numbers by metric name."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.processes import core_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.plan import Plan
    from benchmarks.server import Server

Numbers = dict[str, float]

_PROSE = (
    "The quick brown fox jumps over the lazy dog while 42 grey pigeons, unimpressed, discuss the weather of "
    "1998; later that evening everybody agreed that it had been a rather pleasant, if unremarkable, Thursday. "
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a measure: `key` in the results, and which way is better."""

    key: str
    unit: str
    higher_is_better: bool = True

    @property
    def is_rate(self) -> bool:
        """Whether it counts something per second, with the server as busy as it can be."""
        return self.unit.endswith("/s")


@dataclass(frozen=True, slots=True)
class Nodes:
    """One hub made of several processes behind one port, over a Redis of its own.

    Attributes:
        pinned: whether the server has a core for itself, as elsewhere, and Redis shares the load generator's. If not,
            all three share all cores.
    """

    workers: int
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that is measured.

    Attributes:
        kind: what a peer must be able to do; peers that can only do some things name these.
        heartbeat_seconds: the server's setting; an hour where a heartbeat would only disturb exact byte counts.
        nodes: `None` for one process without Redis; others are left to peers that can be several nodes of one.
    """

    name: str
    kind: str
    title: str
    metrics: tuple[Metric, ...]
    run: Callable[[Server, Plan], Numbers]
    heartbeat_seconds: Callable[[Plan], int] = lambda _plan: 3600
    nodes: Nodes | None = None


def text_of(size: int) -> str:
    """`size` bytes of prose: compressible, but not absurdly so."""
    return (_PROSE * (size // len(_PROSE) + 1))[:size]


class Stopwatch:
    """Wall time, and what else was going on meanwhile.

    `generator_cpu` near 1.0 would mean that the load generator may be the limit. `server_waited` and `generator_waited`
    are the shares of the time in which they were ready to run but others had their core: the sample is disturbed.
    """

    def __init__(self, server: Server) -> None:
        self.seconds = 0.0
        self._server = server
        self._spent = [0.0] * 4
        self._started: tuple[float, list[float]] = (0.0, [])

    def __enter__(self) -> Stopwatch:
        self._started = time.perf_counter(), self._core_times()
        return self

    def __exit__(self, *exc_info: object) -> None:
        wall, before = self._started
        self.seconds += time.perf_counter() - wall
        spent = zip(self._spent, before, self._core_times(), strict=True)
        self._spent = [so_far + end - start for so_far, start, end in spent]

    def _core_times(self) -> list[float]:
        return [*self._server.core_time(), *core_time([os.getpid()])]

    def notes(self) -> Numbers:
        """The shares of the watched time, to be kept beside the measure's own numbers."""
        keys = ("server_cpu", "server_waited", "generator_cpu", "generator_waited")
        return {key: spent / self.seconds for key, spent in zip(keys, self._spent, strict=True)}
