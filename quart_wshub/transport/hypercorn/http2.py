"""A byte stream over one HTTP/2 stream of hypercorn's, and what becomes of events for streams that are over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["ForgivingStreams", "Http2Pipe"]

MAX_UNREAD_BYTES = 256 * 1024


class Http2Pipe:
    """A `Pipe` that is fed by the HTTP/2 connection's reader.

    That reader serves all streams of the connection and so is never made to wait for this one: a stream that sends
    more than is read from it is ended.
    """

    def __init__(self, write: Callable[[bytes], Awaitable[None]], end: Callable[[], Awaitable[None]]) -> None:
        self._write = write
        self._end = end
        self._unread = bytearray()
        self._eof = False
        self._closed = False
        self.aborted: bool = False
        self._writing: trio.CancelScope | None = None
        self._readable = trio.lowlevel.ParkingLot()

    def feed(self, data: bytes) -> None:
        """Bytes came in."""
        if len(self._unread) + len(data) > MAX_UNREAD_BYTES:
            self.feed_eof()
        else:
            self._unread += data
            self._readable.unpark_all()

    def feed_eof(self) -> None:
        """No more will come in, and nothing can go out."""
        self._eof = True
        self._readable.unpark_all()
        if self._writing is not None:
            self._writing.cancel()

    def try_write(self, data: bytes) -> int:
        return 0

    async def write(self, data: bytes) -> None:
        if self._closed or self._eof:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError
        with trio.CancelScope() as self._writing:
            await self._write(data)
        if self._writing.cancelled_caught:
            raise trio.BrokenResourceError
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._unread and not self._eof and not self._closed:
            await self._readable.park()
        data, self._unread = bytes(self._unread), bytearray()
        return data

    async def send_eof(self) -> None:
        await self._end()

    async def finish(self) -> None:
        if not self._closed:
            self._closed = True
            await self._end()

    def abort(self) -> None:
        self.aborted = self._closed = True
        self.feed_eof()


class ForgivingStreams(dict[int, Any]):
    """The streams of one HTTP/2 connection. What still comes for one that is over is dropped.

    Hypercorn looks every one up, and where there is none the whole connection fails with a `KeyError`: also where a
    client answers the server's close frame, or goes on with a request body after the response.
    """

    def __missing__(self, stream_id: int) -> _Gone:
        return _Gone()


class _Gone:
    async def handle(self, event: Any) -> None:
        await trio.lowlevel.checkpoint()
