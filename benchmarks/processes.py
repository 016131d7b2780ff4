"""Memory and CPU time of a server and its children, from `/proc`. Linux only, like epoll."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(pid: int) -> list[int]:
    """`pid` and all its descendants: hypercorn's workers are children of the process that was started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += tree(int(child))
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of the whole tree."""
    return sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in tree(pid)) * _PAGE


class CoreTime(NamedTuple):
    """Of some processes so far: seconds on a core, and seconds in which they were ready to run but had to wait."""

    ran: float
    waited: float


def core_time(processes: Iterable[int]) -> CoreTime:
    """The scheduler's account of these processes; threads that have ended are left out."""
    ran = waited = 0
    for process in processes:
        for thread in Path(f"/proc/{process}/task").iterdir():
            fields = (thread / "schedstat").read_text().split()
            ran += int(fields[0])
            waited += int(fields[1])
    return CoreTime(ran / 1e9, waited / 1e9)
