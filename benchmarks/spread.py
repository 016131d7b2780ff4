"""Connections spread evenly over the workers behind one port.

The kernel decides which worker accepts a connection, differently for each server. So connections are opened until every
worker has its share, and the surplus is closed again: all peers are measured in the same state.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.control import Control
from benchmarks.errors import PeerError

if TYPE_CHECKING:
    from benchmarks.fleet import Fleet
    from benchmarks.server import Server
    from benchmarks.tokens import User

_PATIENCE_SECONDS = 60.0


class _Shares:
    """How many connections each worker holds, and whether it may have another."""

    def __init__(self, connections: int, workers: int) -> None:
        self._share = -(-connections // workers)
        self._held: Counter[int] = Counter()
        self._deadline = time.monotonic() + _PATIENCE_SECONDS

    def takes(self, worker: int) -> bool:
        """Count a connection, unless its worker has its share already; returns whether it was counted."""
        if self._held[worker] == self._share:
            if time.monotonic() > self._deadline:
                raise PeerError(f"no other workers than these were reached: {dict(self._held)}")
            return False
        self._held[worker] += 1
        return True


def open_spread(fleet: Fleet, server: Server, everybody: list[User], workers: int) -> None:
    """Open one socket per user, the same number on each worker."""
    shares = _Shares(len(everybody), workers)
    missing = everybody
    while missing:
        before = set(fleet.clients)
        fleet.open(server.address, missing)
        opened = [client for fd, client in fleet.clients.items() if fd not in before]
        surplus = [client for client, worker in fleet.workers_of(opened) if not shares.takes(worker)]
        for client in surplus:
            fleet.drop(client)
        missing = [client.user for client in surplus]


def controls_spread(server: Server, everybody: list[User], workers: int) -> list[Control]:
    """Open one controlling connection per user, the same number on each worker."""
    shares = _Shares(len(everybody), workers)
    controls: list[Control] = []
    while len(controls) < len(everybody):
        control = Control(server.address, everybody[len(controls)], server.dialect)
        if shares.takes(control.worker()):
            controls.append(control)
        else:
            control.close()
    return controls
