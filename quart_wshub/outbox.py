"""Frames that wait for a slow socket: a trio memory channel, bounded in messages by itself and in bytes here."""

from __future__ import annotations

import trio

from quart_wshub.errors import WebSocketDisconnect
from quart_wshub.frame import Frame

__all__ = ["Outbox"]

MAX_BATCH = 64
"""Frames the writer takes at a time."""


class Outbox:
    """The send queue of one connection. Any number of writers, one reader: the connection's writer task.

    Attributes:
        queued_bytes: payload bytes that wait.
        idle: nothing waits and nothing is being written, so that a frame may bypass the queue.
    """

    __slots__ = ("_closed", "_max_bytes", "_max_messages", "_receive", "_room", "_send", "idle", "queued_bytes")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._send, self._receive = trio.open_memory_channel[Frame](max_messages)
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._room = trio.lowlevel.ParkingLot()
        self._closed: tuple[int, str] | None = None
        self.queued_bytes = 0
        self.idle = True

    @property
    def queued_messages(self) -> int:
        return self._send.statistics().current_buffer_used

    def offer(self, frame: Frame) -> bool:
        """Queue a frame if there is room, without waiting.

        A frame larger than the byte bound is taken when nothing else waits, so that the bound limits a backlog and
        not what can be said.

        Raises:
            WebSocketDisconnect: the outbox is closed.
        """
        if self._closed is not None:
            raise WebSocketDisconnect(*self._closed)
        if self.queued_bytes and self.queued_bytes + frame.size > self._max_bytes:
            return False
        try:
            self._send.send_nowait(frame)
        except trio.WouldBlock:
            return False
        self.queued_bytes += frame.size
        self.idle = False
        return True

    async def put(self, frame: Frame) -> None:
        """Queue a frame, waiting for room. A checkpoint, also when it raises. Cancelled, it has not queued the frame.

        Room is half of the bounds: the other half is for fan-outs and heartbeats, which cannot wait, so that a handler
        that always has more to send does not make a slow consumer of its peer.

        Raises:
            WebSocketDisconnect: the outbox is closed, or was while this waited.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            while self._is_half_full() or not self.offer(frame):
                await self._room.park()
        finally:  # also when it raises: a handler that catches the disconnect and sends on must not stop the rest
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _is_half_full(self) -> bool:
        half_full = self.queued_messages * 2 >= self._max_messages or self.queued_bytes * 2 >= self._max_bytes
        return half_full and self._closed is None

    async def take(self) -> list[Frame]:
        """Wait for frames and take what is there, up to a batch; empty once the outbox is closed and empty.

        Calling this says that the previous batch is out. Cancellation loses nothing.
        """
        try:
            batch = [self._receive.receive_nowait()]
        except trio.WouldBlock:
            self.idle = True
            try:
                batch = [await self._receive.receive()]
            except trio.EndOfChannel:
                return []
        except trio.EndOfChannel:
            return []
        while len(batch) < MAX_BATCH:
            try:
                batch.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        # Not below zero: a frame handed to this task just before `discard` is no longer counted.
        self.queued_bytes = max(0, self.queued_bytes - sum(frame.size for frame in batch))
        self._room.unpark_all()
        return batch

    def close(self, code: int, reason: str) -> None:
        """Take no more frames; what is queued can still be taken. Only the first call counts."""
        if self._closed is None:
            self._closed = (code, reason)
            self._send.close()
            self._room.unpark_all()

    def discard(self) -> None:
        """Drop what is queued."""
        try:
            while True:
                self._receive.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            self.queued_bytes = 0
