"""Messages that were received and wait for the handler: bounded, and readable to the end after the peer has left.

Trio's memory channel is bounded in messages only, and closing its sending side while messages wait does not tell the
reader the close code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from quart_wshub.protocol.errors import WebSocketDisconnect

if TYPE_CHECKING:
    from quart_wshub.connection.pacer import Pacer

__all__ = ["Inbox"]

MAX_BYTES = 256 * 1024

MESSAGE_OVERHEAD_BYTES = 100
"""What a message costs besides its payload, so that empty ones are bounded too."""


class Inbox:
    """A queue with one writer, the receive task, and any number of readers, who are served in order.

    A list, because an empty `deque` keeps room for 64 messages; `pop(0)` is cheap at the few thousand that fit.
    """

    __slots__ = ("_bytes", "_closed", "_messages", "_pacer", "_readers", "_room")

    def __init__(self, pacer: Pacer) -> None:
        self._messages: list[str | bytes] = []
        self._bytes = 0
        self._pacer = pacer
        self._closed: tuple[int, str] | None = None
        self._readers = trio.lowlevel.ParkingLot()
        self._room: trio.lowlevel.ParkingLot | None = None

    def __len__(self) -> int:
        return len(self._messages)

    def has_room(self) -> bool:
        """Whether another message, of whatever size, may be put."""
        return self._bytes < MAX_BYTES

    async def wait_for_room(self) -> None:
        """Wait until a reader has made room. Cancellation loses nothing."""
        while not self.has_room():
            if self._room is None:
                self._room = trio.lowlevel.ParkingLot()
            await self._room.park()

    def put(self, message: str | bytes) -> None:
        """Add a message; dropped where the inbox is closed. Check `has_room` first: the bound is the writer's duty."""
        if self._closed is None:
            self._messages.append(message)
            self._bytes += len(message) + MESSAGE_OVERHEAD_BYTES
            if self._readers:
                self._readers.unpark()

    def close(self, code: int, reason: str) -> None:
        """Let readers take what waits, then raise `WebSocketDisconnect`. Only the first call counts."""
        if self._closed is None:
            self._closed = (code, reason)
            self._readers.unpark_all()

    def discard(self) -> None:
        """Drop what waits."""
        self._messages.clear()
        self._bytes = 0
        self._unpark_writer()

    async def get(self) -> str | bytes:
        """Take the next message. Cancellation loses nothing.

        Every call can be cancelled; a call that need not wait yields to other tasks every 64th time.

        Raises:
            WebSocketDisconnect: nothing waits, and the socket is closed.
        """
        await self._pacer.checkpoint()
        while not self._messages:
            if self._closed is not None:
                raise WebSocketDisconnect(*self._closed)
            await self._readers.park()
        message = self._messages.pop(0)
        self._bytes -= len(message) + MESSAGE_OVERHEAD_BYTES
        self._unpark_writer()
        return message

    def _unpark_writer(self) -> None:
        if self._room is not None and self.has_room():
            self._room.unpark_all()
