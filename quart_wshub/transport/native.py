"""The native transport: a WebSocket over a pipe, with nothing of the server's per-message machinery in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from quart_wshub.close_codes import ABNORMAL_CLOSURE
from quart_wshub.errors import WebSocketDisconnect
from quart_wshub.frame import CLOSE, Frame, encode_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart_wshub.transport.parser import MessageParser
    from quart_wshub.transport.pipes import Pipe

__all__ = ["NativeTransport"]


class NativeTransport:
    """A `Transport` over a `Pipe`, after the handshake.

    Args:
        pipe: where the bytes go.
        parser: fresh, or one that was fed what came right behind the handshake.
        early: messages the parser gave for those bytes.
    """

    __slots__ = ("_broken", "_early", "_lock", "_parser", "_pipe", "_replies")

    def __init__(self, pipe: Pipe, parser: MessageParser, early: Sequence[str | bytes] = ()) -> None:
        self._pipe = pipe
        self._parser = parser
        self._early = early
        self._replies = parser.replies()
        self._lock: trio.Lock | None = None
        self._broken = False

    def try_send(self, frame: Frame) -> Frame | None:
        if self._broken or isinstance(self._parser.ended, WebSocketDisconnect):
            raise self._gone()
        if self._replies or self._is_writing():
            return frame
        wire = frame.wire
        try:
            written = self._pipe.try_write(wire)
        except trio.BrokenResourceError:
            self._broken = True
            raise self._gone() from None
        if written == len(wire):
            return None
        return Frame.rest(wire[written:]) if written else frame

    def _write_lock(self) -> trio.Lock:
        if self._lock is None:
            self._lock = trio.Lock()
        return self._lock

    def _is_writing(self) -> bool:
        return self._lock is not None and self._lock.locked()

    async def send(self, frames: Sequence[Frame]) -> None:
        async with self._write_lock():
            await self._write(b"".join([frame.wire for frame in frames]))

    async def receive(self) -> Sequence[str | bytes]:
        if self._early:
            early, self._early = self._early, ()
            await trio.lowlevel.checkpoint()
            return early
        if self._parser.ended is not None:
            await trio.lowlevel.checkpoint()
            raise self._parser.ended
        messages = await self._read()
        if self._replies:
            await self._flush_replies()
        return messages

    async def _read(self) -> Sequence[str | bytes]:
        """Read until at least one frame is whole: bytes that make none prove nothing."""
        frames = self._parser.frames
        while True:
            data = await self._pipe.read()
            if not data:
                self._parser.feed_eof()
                return ()
            messages = self._parser.feed(data)
            if self._parser.frames != frames or self._parser.ended is not None:
                self._replies += self._parser.replies()
                return messages

    async def _flush_replies(self) -> None:
        """Send pongs and the echo of a close frame: now where nobody is writing, else behind what is being written."""
        if self._is_writing():
            return
        try:
            written = self._pipe.try_write(self._replies)
            self._replies = self._replies[written:]
            if self._replies:
                # A peer that asks for pongs and does not take them is not read from until it does.
                async with self._write_lock():
                    await self._write(b"")
        except (trio.BrokenResourceError, WebSocketDisconnect):
            self._broken = True

    async def _write(self, data: bytes) -> None:
        """Write, and the replies that came up meanwhile. Hold the lock."""
        try:
            while data or self._replies:
                replies, self._replies = self._replies, b""
                await self._pipe.write(data + replies)
                data = b""
        except trio.BrokenResourceError:
            self._broken = True
            raise self._gone() from None

    def _gone(self) -> WebSocketDisconnect:
        ended = self._parser.ended
        if isinstance(ended, WebSocketDisconnect):
            return WebSocketDisconnect(ended.code, ended.reason)
        return WebSocketDisconnect(ABNORMAL_CLOSURE)

    async def close(self, code: int, reason: str) -> None:
        peer_closed = isinstance(self._parser.ended, WebSocketDisconnect)
        if not self._broken:
            goodbye = b"" if peer_closed else encode_frame(CLOSE, code.to_bytes(2, "big") + reason.encode())
            try:
                async with self._write_lock():
                    await self._write(goodbye)
                if not peer_closed:
                    await self._drain()
            except WebSocketDisconnect:
                pass
        await self._pipe.finish()

    async def _drain(self) -> None:
        """Read until the peer has answered the close frame.

        Closing TCP with input unread makes the kernel send a reset, which overtakes the close frame.
        """
        if self._parser.ended is not None:
            # The peer broke the protocol, so its answer could not be told from the rest; the end of ours tells it
            # that nothing follows the close frame, and the end of its stream is awaited.
            await self._pipe.send_eof()
        while not isinstance(self._parser.ended, WebSocketDisconnect):
            data = await self._pipe.read()
            if not data:
                return
            self._parser.feed(data)

    def abort(self) -> None:
        self._pipe.abort()
