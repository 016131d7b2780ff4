"""Frames that wait for a slow socket: a Trio memory channel, which bounds messages, with a bound in bytes added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from quart_wshub.protocol.errors import WebSocketDisconnect

if TYPE_CHECKING:
    from quart_wshub.protocol.frame import Frame

__all__ = ["Outbox"]

MAX_BATCH_BYTES = 128 * 1024
"""What the writer takes at a time, unless a single frame is larger: few system calls, and none that takes long."""


class WriterStarter(Protocol):
    """Starts a writer: a `Lifecycle`."""

    def start_writer(self) -> None:
        """Start a task that takes what waits, and writes it."""


class Outbox:
    """The send queue of one connection. Any number of writers, one reader: the connection's writer task.

    Hardly any connection needs it, so the channel is made for the first frame that has to wait, and so is the writer
    task, by `starter`.

    Attributes:
        queued_bytes: payload bytes that wait.
        idle: nothing waits and nothing is being written, so that a frame may bypass the queue.
        starter: starts the writer, which must `take` until empty, when a frame has to wait and nobody is writing.
    """

    __slots__ = ("_channel", "_closed", "_max_bytes", "_max_messages", "_room", "idle", "queued_bytes", "starter")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._channel: tuple[trio.MemorySendChannel[Frame], trio.MemoryReceiveChannel[Frame]] | None = None
        self._room: trio.lowlevel.ParkingLot | None = None
        self._closed: tuple[int, str] | None = None
        self.starter: WriterStarter | None = None
        self.queued_bytes: int = 0
        self.idle: bool = True

    @property
    def queued_messages(self) -> int:
        return 0 if self._channel is None else self._channel[0].statistics().current_buffer_used

    def offer(self, frame: Frame) -> bool:
        """Queue a frame if there is room, without waiting.

        A frame larger than the byte bound is accepted when nothing else waits: the bound limits the backlog, not the
        size of a message.

        Raises:
            WebSocketDisconnect: the outbox is closed.
        """
        if self._closed is not None:
            raise WebSocketDisconnect(*self._closed)
        if self.queued_bytes and self.queued_bytes + frame.size > self._max_bytes:
            return False
        if self._channel is None:
            self._channel = trio.open_memory_channel(self._max_messages)
        try:
            self._channel[0].send_nowait(frame)
        except trio.WouldBlock:
            return False
        self.queued_bytes += frame.size
        if self.idle:
            self.idle = False
            if self.starter is not None:
                self.starter.start_writer()
        return True

    async def put(self, frame: Frame) -> None:
        """Queue a frame, waiting for room. Cancelled, it has not queued the frame. A checkpoint only where it waits.

        Half of the bounds is kept for fan-outs and heartbeats, which cannot wait, so that the peer of a handler that
        always has more to send is not closed as a slow consumer.

        Raises:
            WebSocketDisconnect: the outbox is closed, or was while this waited.
        """
        while self._is_half_full() or not self.offer(frame):
            if self._room is None:
                self._room = trio.lowlevel.ParkingLot()
            await self._room.park()

    def _is_half_full(self) -> bool:
        half_full = self.queued_messages * 2 >= self._max_messages or self.queued_bytes * 2 >= self._max_bytes
        return half_full and self._closed is None

    def take(self) -> list[Frame]:
        """Take what is there, up to a batch. After an empty one the outbox is idle again, and the writer may end.

        Call this only when the previous batch has been written.
        """
        batch: list[Frame] = []
        size = 0
        while size < MAX_BATCH_BYTES and self._channel is not None:
            try:
                frame = self._channel[1].receive_nowait()
            except trio.WouldBlock:
                break
            batch.append(frame)
            size += frame.size
        self.queued_bytes -= size
        self.idle = not batch
        if self.idle and self._closed is not None:
            self._drop_channel()
        self._unpark_writers()
        return batch

    def close(self, code: int, reason: str) -> None:
        """Accept no more frames; what is queued can still be taken. Only the first call counts."""
        if self._closed is None:
            self._closed = (code, reason)
            if self.idle:
                self._drop_channel()
            self._unpark_writers()

    def discard(self) -> None:
        """Drop what is queued."""
        self._drop_channel()
        self.queued_bytes = 0
        self.idle = True

    def _drop_channel(self) -> None:
        if self._channel is not None:
            for end in self._channel:
                end.close()
            self._channel = None

    def _unpark_writers(self) -> None:
        if self._room is not None:
            self._room.unpark_all()
