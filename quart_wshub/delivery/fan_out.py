"""Delivery to many sockets: in one order, in slices, and with few system calls in a flood.

A publication gets its place in the local order and is posted to the other nodes at one point, without a checkpoint in
between, so all nodes see this node's publications in the same order, whatever happens to it afterwards.

A single publication is written to its sockets at once. If the next one for the same sockets follows within a
millisecond, or while the first is still being written, it is held back until the event loop is idle, for at most a
millisecond; everything that came meanwhile goes out as one piece of bytes, built once and written once per socket. On a
loopback socket a write costs about ten times as much as the rest of a delivery, so this makes floods fast; it also
makes fewer packets.

Apart from timing this is invisible: every other fan-out waits for what was held back before it, and before a handler
sends to its own socket, or a connection is closed, that socket is served ahead of the others.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import wait_all_tasks_blocked

from quart_wshub.delivery.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable
    from uuid import UUID

    from quart_wshub.delivery.audience import Audience
    from quart_wshub.delivery.recipient import Recipient
    from quart_wshub.delivery.registry import Registry
    from quart_wshub.protocol.frame import Frame

__all__ = ["FanOut"]

SLICE = 128
"""Sockets served before other tasks get a turn: one or two milliseconds of work."""

CALL_COST = 4
"""The overhead of one call, counted in sockets."""

HOLD_SECONDS = 0.001
"""Publications that follow each other faster are held back, for at most this long."""

MAX_HELD_BYTES = 16 * 1024
"""The most that is held back: a socket's buffer is sure to take it at once."""


class FanOut:
    """The deliveries of one node, in one order.

    Attributes:
        deliveries: sockets that accepted a publication, so far.
    """

    def __init__(self, registry: Registry[Any]) -> None:
        self.deliveries: int = 0
        self._registry = registry
        self._order = trio.Lock()
        self._work = 0
        self._last_key: Hashable = None
        self._last_time = 0.0
        self._held: Batch | None = None
        self._in_progress: Batch | None = None
        self._next_is_waiting = False
        self._flusher: trio.lowlevel.ParkingLot | None = None

    async def deliver(
        self,
        audience: Audience,
        frame: Frame,
        exclude: UUID | None = None,
        post: Callable[[], None] | None = None,
    ) -> int:
        """Deliver to an audience except the connection `exclude`. Returns how many sockets accepted the frame.

        A checkpoint; yields to other tasks after every 128 sockets. If cancelled before the publication has its place
        in the order, nothing has happened; from there on it reaches every socket, cancelled or not.

        Args:
            post: called when the publication gets its place, to post it to the other nodes. Never raises.
        """
        excluded = None if exclude is None else self._registry.get(exclude)
        members = self._registry.members_of(audience)
        accepted = await self.deliver_to((audience, excluded), members, frame, excluded, post)
        self.deliveries += accepted
        return accepted

    async def deliver_to(
        self,
        key: Hashable,
        members: Callable[[], Collection[Recipient]],
        frame: Frame,
        excluded: Recipient | None = None,
        post: Callable[[], None] | None = None,
    ) -> int:
        """Deliver to the members, which `key` identifies, in the same order; `deliveries` does not count this."""
        await self._checkpoint()
        if self._may_hold(key):
            held = self._held
            if held is None:
                held = self._held = Batch(key, members, excluded)
                assert self._flusher is not None
                self._flusher.unpark()
            held.add(frame, post)
            if held.size >= MAX_HELD_BYTES:
                await self._flush()
            accepted = held.live
        elif self._held is None and not self._order.locked() and len(members()) <= SLICE:
            batch = Batch(key, members, excluded)
            batch.add(frame, post)
            accepted = self._serve(batch, 0)
        else:
            async with self._order:
                await self._serve_held_before_next()
                batch = Batch(key, members, excluded)
                batch.add(frame, post)
                accepted = await self._serve_in_slices(batch)
        self._last_key, self._last_time = key, perf_counter()
        return accepted

    async def _checkpoint(self) -> None:
        self._work += CALL_COST
        if self._work < SLICE:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._work = 0
            await trio.lowlevel.checkpoint()

    def _may_hold(self, key: Hashable) -> bool:
        if self._flusher is None or self._next_is_waiting:
            return False
        if self._held is not None:
            return self._held.key == key and not self._held.sealed
        if self._in_progress is not None and self._in_progress.key == key:
            return True  # it would have to wait for that one anyway
        return key == self._last_key and perf_counter() - self._last_time < HOLD_SECONDS

    async def _flush(self) -> None:
        async with self._order:
            await self._serve_held()

    async def _serve_held_before_next(self) -> None:
        """Serve what is held back, and hold back nothing more until the next publication is in the order."""
        self._next_is_waiting = True
        try:
            await self._serve_held()
        finally:
            self._next_is_waiting = False

    async def _serve_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            await self._serve_in_slices(held)

    async def _serve_in_slices(self, batch: Batch) -> int:
        """Serve every member, yielding to other tasks now and then. The caller holds `_order`.

        Shielded from cancellation: other nodes deliver the publication too. It never waits for a peer.
        """
        self._in_progress = batch
        try:
            accepted = self._serve(batch, 0)
            for start in range(SLICE, len(batch.members), SLICE):
                await trio.lowlevel.cancel_shielded_checkpoint()
                accepted += self._serve(batch, start)
        finally:
            self._in_progress = None
        return accepted

    def _serve(self, batch: Batch, start: int) -> int:
        self._work += min(SLICE, len(batch.members) - start)
        return batch.serve(start, start + SLICE)

    def seal(self) -> None:
        """A newcomer gets nothing that was published before this call, and everything published after it."""
        if self._held is not None:
            self._held.seal()

    def serve_first(self, member: Recipient) -> None:
        """Give this socket everything that was published to it so far, ahead of the others."""
        if self._in_progress is not None:
            self._in_progress.serve_first(member)
        if self._held is not None:
            self._held.serve_first(member)

    def leave(self, member: Recipient) -> None:
        """Do not count this socket any more: it is closing."""
        if self._held is not None:
            self._held.leave(member)

    async def run_flusher(self) -> None:
        """Flush in time what is held back; publications are held back only while this runs. A second call returns.

        Flushes once more when cancelled.
        """
        if self._flusher is not None:
            return
        self._flusher = trio.lowlevel.ParkingLot()
        try:
            while True:
                if self._held is None:
                    await self._flusher.park()
                # A publisher with more to say is running or about to run; once every task waits for something else,
                # there is nothing to wait for. (Only its module says that `wait_all_tasks_blocked` is for tests.)
                with trio.move_on_after(HOLD_SECONDS):
                    await wait_all_tasks_blocked()
                await self._flush()
        finally:
            self._flusher = None
            with trio.CancelScope(shield=True):  # waits for no peer, and so needs no deadline
                await self._flush()
