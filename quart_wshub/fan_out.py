"""Delivery to many sockets: in one order, in slices, and in few system calls when publications come thick and fast.

A publication on its own is written to its sockets at once. Where the next one for the same sockets follows within a
millisecond, it is held back for at most a millisecond, and all that came meanwhile goes out as one piece of bytes, made
once and written once per socket. On a loopback socket a write costs about ten times what everything else of a delivery
does, so this is what makes floods fast; it also makes fewer packets.

Whatever could tell the difference comes after what was held back: every change of the registry, every other delivery,
and every message a handler sends, flushes first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from quart_wshub.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable

    from quart_wshub.connection import WebSocketConnection

__all__ = ["FanOut"]

SLICE = 256
"""Sockets that are served before other tasks get a turn: well under 10 ms of work."""

CALL_COST = 4
"""What a call costs besides its sockets, counted in sockets."""

HOLD_SECONDS = 0.001
"""Publications that follow each other faster are held back, and for no longer."""

MAX_HELD_BYTES = 16 * 1024
"""No more is held back than a socket's buffer is sure to take at once."""


@dataclass(slots=True)
class _Held:
    """Publications for the same sockets that wait to go out together."""

    members: tuple[WebSocketConnection, ...]
    frames: list[Frame] = field(default_factory=list)
    size: int = 0


class FanOut:
    """The deliveries of one hub.

    Attributes:
        holding: whether something is held back; `flush` lets it go.
    """

    def __init__(self) -> None:
        self._order = trio.Lock()
        self._work = 0
        self._last: tuple[Hashable, float] = (None, 0.0)
        self._held: _Held | None = None
        self._flusher: trio.lowlevel.ParkingLot | None = None

    @property
    def holding(self) -> bool:
        return self._held is not None

    async def deliver(
        self,
        key: Hashable,
        members: Callable[[], Collection[WebSocketConnection]],
        frame: Frame,
        excluded: WebSocketConnection | None = None,
    ) -> int:
        """Deliver to the members, whom `key` names. Returns how many sockets accepted the frame.

        A checkpoint; gives way to other tasks after every 256 sockets. Cancelled before it has begun it does nothing,
        cancelled later it has served some of the members.
        """
        await self._checkpoint()
        everyone = members()
        if len(everyone) > SLICE or self._order.locked():
            async with self._order:
                return await self._deliver_in_slices(members, frame, excluded)
        return self._deliver_at_once((key, excluded), everyone, frame, excluded)

    async def _checkpoint(self) -> None:
        self._work += CALL_COST
        if self._work < SLICE:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._work = 0
            await trio.lowlevel.checkpoint()

    async def _deliver_in_slices(
        self,
        members: Callable[[], Collection[WebSocketConnection]],
        frame: Frame,
        excluded: WebSocketConnection | None,
    ) -> int:
        self.flush()
        everyone = tuple(members())
        accepted = 0
        for start in range(0, len(everyone), SLICE):
            batch: Iterable[WebSocketConnection] = everyone[start : start + SLICE]
            if start:
                await trio.lowlevel.checkpoint()
                still_in = members()
                batch = [connection for connection in batch if connection in still_in]
            accepted += self._offer(batch, frame, excluded)
        return accepted

    def _deliver_at_once(
        self,
        key: Hashable,
        members: Collection[WebSocketConnection],
        frame: Frame,
        excluded: WebSocketConnection | None,
    ) -> int:
        now = perf_counter()
        last_key, last_time = self._last
        self._last = (key, now)
        if key == last_key and self._flusher is not None and now - last_time < HOLD_SECONDS:
            return self._hold(members, frame, excluded)
        self.flush()
        return self._offer(tuple(members), frame, excluded)

    def _hold(
        self, members: Collection[WebSocketConnection], frame: Frame, excluded: WebSocketConnection | None
    ) -> int:
        if self._held is None:
            self._held = _Held(tuple(c for c in members if c is not excluded))
            assert self._flusher is not None
            self._flusher.unpark()
        held = self._held
        held.frames.append(frame)
        held.size += frame.size
        if held.size >= MAX_HELD_BYTES:
            self.flush()
        return len(held.members)

    def flush(self) -> None:
        """Let go what is held back. Synchronous, so that whatever has to come after it can call it first."""
        held, self._held = self._held, None
        if held is not None:
            self._offer(held.members, Frame.join(held.frames), None)

    def _offer(self, members: Iterable[WebSocketConnection], frame: Frame, excluded: WebSocketConnection | None) -> int:
        accepted = attempted = 0
        for connection in members:
            if connection is not excluded:
                attempted += 1
                accepted += connection.offer(frame)
        self._work += attempted
        return accepted

    async def run_flusher(self) -> None:
        """Let go in time what is held back. As long as this runs, holding back is possible; run it once.

        Cancellation lets go what is held back, and ends it.
        """
        if self._flusher is not None:
            return
        self._flusher = trio.lowlevel.ParkingLot()
        try:
            while True:
                if self._held is None:
                    await self._flusher.park()
                await trio.sleep(HOLD_SECONDS)
                self.flush()
        finally:
            self._flusher = None
            self.flush()
