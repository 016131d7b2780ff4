"""Delivery to many sockets: in one order, in slices, and in few system calls when they come close together.

A publication is entered for the local sockets and posted to the other nodes at one point, without a checkpoint in
between, so that all nodes see the publications of this node in the same order, whatever happens to it afterwards.

A publication on its own is written to its sockets at once. Where the next one for the same sockets follows within a
millisecond, or while that one is still being written, it is held back until nothing else is to be done, and for at
most a millisecond; all that came meanwhile goes out as one piece of bytes, made once and written once per socket. On a
loopback socket a write costs about ten times what everything else of a delivery does, so this is what makes floods
fast; it also makes fewer packets.

Nobody can tell the difference but by the clock: every other fan-out waits for what was held back before it, and before
a handler sends to its own socket, or a connection is closed, that one socket is served ahead of the others.
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
"""Sockets that are served before other tasks get a turn: one or two milliseconds of work."""

CALL_COST = 4
"""What a call costs besides its sockets, counted in sockets."""

HOLD_SECONDS = 0.001
"""Publications that follow each other faster are held back, and for no longer."""

MAX_HELD_BYTES = 16 * 1024
"""No more is held back than a socket's buffer is sure to take at once."""


class FanOut:
    """The deliveries of one node, in one order.

    Attributes:
        deliveries: sockets that accepted a publication, so far.
    """

    def __init__(self, registry: Registry[Any]) -> None:
        self._registry = registry
        self._order = trio.Lock()
        self._work = 0
        self._last_key: Hashable = None
        self._last_time = 0.0
        self._held: Batch | None = None
        self._leaving: Batch | None = None
        self._next_is_waiting = False
        self._flusher: trio.lowlevel.ParkingLot | None = None
        self.deliveries: int = 0

    async def deliver(
        self,
        audience: Audience,
        frame: Frame,
        exclude: UUID | None = None,
        post: Callable[[], None] | None = None,
    ) -> int:
        """Deliver to an audience, but not to the connection `exclude`. Returns how many sockets accepted the frame.

        A checkpoint; gives way to other tasks after every 128 sockets. Cancelled before the publication has its place
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
        """Deliver to the members, whom `key` names, in the same order; `deliveries` does not count this."""
        await self._checkpoint()
        if self._may_hold(key):
            accepted = await self._hold(key, members, frame, excluded, post)
        elif self._held is None and not self._order.locked() and len(members()) <= SLICE:
            accepted = self._serve(_enter(key, members, frame, excluded, post), 0)
        else:
            async with self._order:
                await self._let_go_before_the_next()
                accepted = await self._serve_in_slices(_enter(key, members, frame, excluded, post))
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
        if self._leaving is not None and self._leaving.key == key:
            return True  # it would have to wait for that one anyway
        return key == self._last_key and perf_counter() - self._last_time < HOLD_SECONDS

    async def _hold(
        self,
        key: Hashable,
        members: Callable[[], Collection[Recipient]],
        frame: Frame,
        excluded: Recipient | None,
        post: Callable[[], None] | None,
    ) -> int:
        held = self._held
        if held is None:
            held = self._held = _enter(key, members, frame, excluded, post)
            assert self._flusher is not None
            self._flusher.unpark()
        else:
            held.add(frame)
            if post is not None:
                post()
        if held.size >= MAX_HELD_BYTES:
            await self._flush()
        return held.live

    async def _flush(self) -> None:
        async with self._order:
            await self._let_go_of_held()

    async def _let_go_before_the_next(self) -> None:
        """Let go of what is held back, so that the next can be entered. Nothing more is held back before it is."""
        self._next_is_waiting = True
        try:
            await self._let_go_of_held()
        finally:
            self._next_is_waiting = False

    async def _let_go_of_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            await self._serve_in_slices(held)

    async def _serve_in_slices(self, batch: Batch) -> int:
        """Serve everyone, giving way to other tasks now and then. Hold the order.

        Not to be cancelled: other nodes deliver the publication too. It never waits for a peer.
        """
        self._leaving = batch
        try:
            accepted = self._serve(batch, 0)
            for start in range(SLICE, len(batch.members), SLICE):
                await trio.lowlevel.cancel_shielded_checkpoint()
                accepted += self._serve(batch, start)
        finally:
            self._leaving = None
        return accepted

    def _serve(self, batch: Batch, start: int) -> int:
        self._work += min(SLICE, len(batch.members) - start)
        return batch.serve(start, start + SLICE)

    def seal(self) -> None:
        """Whoever comes now gets nothing of what was published before, but all that is published from here on."""
        if self._held is not None:
            self._held.seal()

    def serve_first(self, member: Recipient) -> None:
        """Let this socket have everything that was published to it up to now."""
        if self._leaving is not None:
            self._leaving.serve_first(member)
        if self._held is not None:
            self._held.serve_first(member)

    def leave(self, member: Recipient) -> None:
        """This socket takes nothing more."""
        if self._held is not None:
            self._held.leave(member)

    async def run_flusher(self) -> None:
        """Let go in time what is held back. As long as this runs, publications may be held back; run it once.

        Cancellation ends it, and lets go what is held back.
        """
        if self._flusher is not None:
            return
        self._flusher = trio.lowlevel.ParkingLot()
        try:
            while True:
                if self._held is None:
                    await self._flusher.park()
                # A publisher that has more to say is running or about to run. Where everybody waits for something else,
                # there is nothing to wait for here. (That this lives in `trio.testing` is history; it is how Trio
                # tells that it is idle.)
                with trio.move_on_after(HOLD_SECONDS):
                    await wait_all_tasks_blocked()
                await self._flush()
        finally:
            self._flusher = None
            with trio.CancelScope(shield=True):  # waits for no peer, and so needs no deadline
                await self._flush()


def _enter(
    key: Hashable,
    members: Callable[[], Collection[Recipient]],
    frame: Frame,
    excluded: Recipient | None,
    post: Callable[[], None] | None,
) -> Batch:
    """Give a publication its place in the order, here and on the other nodes: synchronous, and the only place."""
    batch = Batch(key, members, excluded)
    batch.add(frame)
    if post is not None:
        post()
    return batch
