"""The native transport: a WebSocket over a pipe, with nothing of the server's per-message machinery in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE
from quart_wshub.protocol.errors import WebSocketDisconnect
from quart_wshub.protocol.frame import CLOSE, Frame, encode_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart_wshub.transport.parser import MessageParser
    from quart_wshub.transport.pipes import Pipe

__all__ = ["NativeTransport"]

MAX_WAITING_REPLIES = 16 * 1024
"""Bytes of pongs that wait behind what is being written, before the peer is not read from until it takes them."""


class NativeTransport:
    """A `Transport` over a `Pipe`, after the handshake.

    Args:
        pipe: where the bytes go.
        parser: fresh, or one that was fed what came right behind the handshake.
        early: messages the parser gave for those bytes.
        greeting: bytes that go before everything else, in the same piece: the answer to the handshake.
    """

    __slots__ = ("_broken", "_early", "_greeting", "_lock", "_parser", "_pipe", "_replies", "_unfinished")

    def __init__(
        self, pipe: Pipe, parser: MessageParser, early: Sequence[str | bytes] = (), *, greeting: bytes = b""
    ) -> None:
        self._greeting = greeting
        self._pipe = pipe
        self._parser = parser
        self._early = early
        self._replies = parser.replies()
        self._lock: trio.Lock | None = None
        self._broken = False
        self._unfinished = False

    def try_send(self, frame: Frame) -> Frame | None:
        if self._broken or isinstance(self._parser.ended, WebSocketDisconnect):
            raise self._gone()
        if self._replies or self._is_writing():
            return frame
        wire = self._greeting + frame.wire if self._greeting else frame.wire
        try:
            written = self._pipe.try_write(wire)
        except trio.BrokenResourceError:
            self._broken = True
            raise self._gone() from None
        if not written:
            return frame
        self._greeting = b""
        if written == len(wire):
            return None
        self._unfinished = True
        return Frame.rest(wire[written:])

    def _write_lock(self) -> trio.Lock:
        if self._lock is None:
            self._lock = trio.Lock()
        return self._lock

    def _is_writing(self) -> bool:
        return self._unfinished or (self._lock is not None and self._lock.locked())

    async def send(self, frames: Sequence[Frame]) -> None:
        if isinstance(self._parser.ended, WebSocketDisconnect):
            await trio.lowlevel.checkpoint()
            raise self._gone()
        async with self._write_lock():
            self._unfinished = False  # the rest of that frame is the first of these
            await self._write(b"".join([frame.wire for frame in frames]))

    async def receive(self) -> Sequence[str | bytes]:
        if self._replies or self._greeting:  # to what came with the handshake, or left over where this was cancelled
            await self._flush_replies()
        if self._early:
            early, self._early = self._early, ()
            await trio.lowlevel.checkpoint()
            return early
        if self._parser.ended is not None:
            await trio.lowlevel.checkpoint()
            raise self._parser.ended
        messages = await self._read()
        if self._replies:
            self._early = messages  # where they are found again if this is cancelled
            await self._flush_replies()
            self._early = ()
        if not messages and self._parser.ended is not None:
            raise self._parser.ended
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
        try:
            if not self._is_writing():
                self._replies, self._greeting = self._greeting + self._replies, b""
                written = self._pipe.try_write(self._replies)
                self._replies = self._replies[written:]
            elif self._unfinished or len(self._replies) <= MAX_WAITING_REPLIES:
                return
            if self._replies:
                # A peer that asks for pongs and does not take them is not read from until it does.
                async with self._write_lock():
                    await trio.lowlevel.checkpoint_if_cancelled()  # later it would tear a frame
                    await self._write(b"")
        except (trio.BrokenResourceError, WebSocketDisconnect):
            self._broken = True

    async def _write(self, data: bytes) -> None:
        """Write, and the replies that came up meanwhile. Hold the lock."""
        try:
            data, self._greeting = self._greeting + data, b""
            while data or self._replies:
                replies, self._replies = self._replies, b""
                await self._pipe.write(data + replies)
                data = b""
        except trio.Cancelled:
            self._broken = True  # half a frame may be out: nothing can follow it
            raise
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
        if not self._broken and not self._unfinished:
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
            self._parser.replies()  # not sent any more, and not kept

    def abort(self) -> None:
        self._pipe.abort()
