"""Orderly shutdown of a hub: its connections are closed in batches, and new ones are refused."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from quart_wshub.connection.ending import EndingKind
from quart_wshub.protocol.close_codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.registry import Registry
    from quart_wshub.hub.slots import Slots

__all__ = ["DRAIN_BATCHES", "MIN_DRAIN_BATCH", "Drain"]

MIN_DRAIN_BATCH = 50
DRAIN_BATCHES = 20


class Drain:
    """Closes all connections of a node, and waits until everything of them has ended."""

    def __init__(self, registry: Registry[Session], slots: Slots) -> None:
        self._registry = registry
        self._slots = slots
        self._deadline = math.inf
        self._cleanups: set[trio.CancelScope] = set()

    @property
    def has_begun(self) -> bool:
        """Whether `run` was called."""
        return self._deadline < math.inf

    @contextmanager
    def cleanup(self, seconds: float) -> Iterator[trio.CancelScope]:
        """A shielded scope for a closed connection's cleanup, with a deadline in `seconds`, or sooner in a drain."""
        scope = trio.CancelScope(shield=True, deadline=min(trio.current_time() + seconds, self._deadline))
        self._cleanups.add(scope)
        try:
            yield scope
        finally:
            self._cleanups.discard(scope)

    def close(self, session: Session) -> None:
        """Close one connection, now that the drain has begun."""
        session.begin_close(CloseCode.SERVICE_RESTART, kind=EndingKind.SERVER_CLOSED, deadline=self._deadline)

    async def run(self, timeout: float) -> int:
        """Close every connection and wait until all have ended; see `WebSocketHub.drain`."""
        deadline = trio.current_time() + timeout
        self._deadline = min(self._deadline, deadline)
        for scope in self._cleanups:
            scope.deadline = min(scope.deadline, self._deadline)
        everyone = list(self._registry.everyone())
        size = max(MIN_DRAIN_BATCH, math.ceil(len(everyone) / DRAIN_BATCHES))
        for start in range(0, len(everyone), size):
            if start:
                await trio.sleep(timeout / 2 / DRAIN_BATCHES)
            for session in everyone[start : start + size]:
                self.close(session)
        with trio.move_on_at(deadline):
            await self._slots.wait_vacant()
        await trio.lowlevel.checkpoint()
        return len(everyone)
