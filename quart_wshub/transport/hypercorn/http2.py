"""WebSockets over HTTP/2 (RFC 8441): one stream is claimed, the connection stays hypercorn's."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.events import RawData
from hypercorn.protocol.events import Body, Data, EndBody, EndData, StreamClosed

from quart_wshub.transport.hypercorn.intercepted_upgrade import InterceptedUpgrade

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.protocol.ws_stream import WSStream
    from hypercorn.trio.task_group import TaskGroup

    from quart_wshub.transport.hypercorn.served_connection import ServedConnection
    from quart_wshub.transport.pipes import Pipe

__all__ = ["ForgivingStreams", "Http2Pipe", "UpgradeOverHttp2"]

MAX_UNREAD_BYTES = 256 * 1024


class Http2Pipe:
    """A `Pipe` over one stream, fed by the reader of the HTTP/2 connection.

    That reader serves all streams of the connection, so it never waits for this one: a stream that is sent more than
    is read from it is ended.
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


class UpgradeOverHttp2(InterceptedUpgrade):
    """One stream is claimed. Hypercorn answers the handshake, and does the framing and flow control of HTTP/2."""

    __slots__ = ("_pipe",)

    def __init__(self, connection: ServedConnection, stream: WSStream, task_group: TaskGroup) -> None:
        super().__init__(connection, stream, task_group)
        self._pipe = Http2Pipe(self._write, self._end_stream)

    async def _accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        event: Any = {"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers}
        await self._send_in_hypercorn(event)
        await trio.lowlevel.checkpoint()
        return self._pipe, self._take_early(), b""

    @property
    def _protocol(self) -> Any:
        """Hypercorn's `H2Protocol`."""
        return self._stream.send.__self__  # type: ignore[attr-defined]

    async def _write(self, data: bytes) -> None:
        stream_id = self._stream.stream_id
        await self._stream.send(Data(stream_id=stream_id, data=data))
        # Hypercorn takes everything, also for a peer that grants no window: wait until it has got rid of this.
        buffer = self._protocol.stream_buffers.get(stream_id)
        if buffer is not None:
            await buffer.drain()

    async def _end_stream(self) -> None:
        if not self._stream.closed:
            await self._stream.send(EndData(stream_id=self._stream.stream_id))

    async def _end(self) -> None:
        if not self._stream.closed:
            if self._pipe.aborted:
                await self._reset()
            await self._stream.send(StreamClosed(stream_id=self._stream.stream_id))

    async def _reset(self) -> None:
        """Tell the peer that the stream is over, and have hypercorn drop what waits for it."""
        protocol = self._protocol
        with suppress(ProtocolError):
            protocol.connection.reset_stream(self._stream.stream_id, ErrorCodes.CANCEL)
            protocol.priority.unblock(self._stream.stream_id)
            await protocol.has_data.set()
            await protocol.send(RawData(data=protocol.connection.data_to_send()))

    async def _handle(self, event: Any) -> None:
        if isinstance(event, (EndBody, EndData, StreamClosed)):
            self._pipe.feed_eof()
        await super()._handle(event)

    async def _handle_claimed(self, event: Any) -> None:
        if isinstance(event, (Body, Data)):
            self._pipe.feed(event.data)
        elif isinstance(event, StreamClosed):
            await self._handle_in_hypercorn(event)


class ForgivingStreams(dict[int, Any]):
    """The streams of one HTTP/2 connection. What still comes for one that is over is dropped.

    Hypercorn looks every one up, and where there is none the whole connection fails with a `KeyError`: also where a
    client answers the server's close frame, or goes on with a request body after the response.
    """

    @classmethod
    def install_in(cls, protocol: Any) -> None:
        """Give these to an `H2Protocol`. Idempotent."""
        if not isinstance(protocol.streams, cls):
            protocol.streams = cls(protocol.streams)

    def __missing__(self, stream_id: int) -> _Gone:
        return _Gone()


class _Gone:
    async def handle(self, event: Any) -> None:
        await trio.lowlevel.checkpoint()
