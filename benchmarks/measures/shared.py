"""The stopwatch for servers that share all cores among themselves and with the load generator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measures.base import Numbers, Stopwatch

if TYPE_CHECKING:
    from benchmarks.server import Server

_TICKS = os.sysconf("SC_CLK_TCK")
_CORES = os.cpu_count() or 1
_IDLE = (3, 4)


def _busy_seconds() -> float:
    """How long the machine's cores have been busy in all, whoever with."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    return sum(int(field) for index, field in enumerate(fields) if index not in _IDLE) / _TICKS


class SharedStopwatch(Stopwatch):
    """Server and generator wait for each other here, which is no disturbance. What other processes used is one.

    `others_cpu` is the share of the whole machine that they took. `server_cpu` includes Redis, and is above 1.0 where
    the server had more than one core.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._busy = self._busy_before = 0.0

    def __enter__(self) -> SharedStopwatch:
        super().__enter__()
        self._busy_before = _busy_seconds()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._busy += _busy_seconds() - self._busy_before
        super().__exit__(*exc_info)

    def notes(self) -> Numbers:
        """The shares of the watched time, to be kept beside the measure's own numbers."""
        notes = super().notes()
        own = {key: notes[key] for key in ("server_cpu", "generator_cpu")}
        others = (self._busy / self.seconds - sum(own.values())) / _CORES
        return {**own, "others_cpu": max(0.0, others)}
