"""The portable transport: any ASGI server on Trio, and Quart's test client.

Uses the ASGI interface and nothing else, so it has its limits: it does not see protocol pings, it learns the peer's
close code only where the server tells it, and it cannot evict a peer that stops reading, because hypercorn shields
its socket writes from cancellation (`hypercorn/trio/tcp_server.py`, `protocol_send`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any

import trio

from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE
from quart_wshub.protocol.errors import MessageTooBigError, WebSocketDisconnect
from quart_wshub.protocol.frame import Frame, size_of

__all__ = ["AsgiTransport"]

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

_CONNECT = "websocket.connect"
_RECEIVE = "websocket.receive"


class AsgiTransport:
    """A `Transport` over the `receive` and `send` of an ASGI WebSocket scope."""

    def __init__(self, receive: Receive, send: Send, *, max_message_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._max_message_bytes = max_message_bytes
        self._disconnect: WebSocketDisconnect | None = None
        self._broken = False

    async def accept(self, subprotocol: str | None) -> None:
        """Complete the handshake. Call it once, before anything else."""
        await self._shielded_send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})

    def try_send(self, frame: Frame) -> Frame | None:
        """Nothing is sent at once: an ASGI `send` has to be awaited."""
        return frame

    async def send(self, frames: Sequence[Frame]) -> None:
        await trio.lowlevel.checkpoint()
        for frame in chain.from_iterable(frame.parts for frame in frames):
            await trio.lowlevel.checkpoint_if_cancelled()
            self._raise_if_closed()
            if self._broken:
                raise WebSocketDisconnect(ABNORMAL_CLOSURE)
            key = "text" if isinstance(frame.payload, str) else "bytes"
            await self._shielded_send({"type": "websocket.send", key: frame.payload})

    async def receive(self) -> Sequence[str | bytes]:
        if self._disconnect is not None:
            await trio.lowlevel.checkpoint()
            self._raise_if_closed()
        while True:
            event = await self._next_event()
            if event["type"] != _CONNECT:
                return (self._message(event),)

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        if self._disconnect is not None or self._broken:
            return
        try:
            await self._shielded_send({"type": "websocket.close", "code": int(code), "reason": reason})
        except WebSocketDisconnect:
            return
        # Returning from the app ends the TCP connection. With input unread the kernel would answer it with a reset,
        # and the peer would never see the close frame; so read until the peer has answered.
        while self._disconnect is None:
            await self._next_event()

    def abort(self) -> None:
        """Nothing: ASGI has no way to drop a connection. It ends when the app returns and the peer's TCP does."""

    async def _next_event(self) -> Event:
        """The next ASGI event; a disconnect is remembered and returned like any other."""
        try:
            event = await self._receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            # Quart's test client closes its channel where a server would send a disconnect.
            event = {"type": "websocket.disconnect", "code": ABNORMAL_CLOSURE}
        if event["type"] not in {_CONNECT, _RECEIVE}:
            code = event.get("code")
            self._disconnect = WebSocketDisconnect(
                code if isinstance(code, int) else ABNORMAL_CLOSURE, event.get("reason") or ""
            )
        return event

    def _message(self, event: Event) -> str | bytes:
        self._raise_if_closed()
        text = event.get("text")
        # Not `event["bytes"] or event["text"]`: an empty binary message is a message.
        message = text if text is not None else bytes(event.get("bytes") or b"")
        if size_of(message) > self._max_message_bytes:
            msg = f"message is over {self._max_message_bytes} bytes"
            raise MessageTooBigError(msg)
        return message

    def _raise_if_closed(self) -> None:
        if self._disconnect is not None:
            raise WebSocketDisconnect(self._disconnect.code, self._disconnect.reason)

    async def _shielded_send(self, event: Event) -> None:
        # Hypercorn's send shields the write itself but not the wait for its lock, and by then it has already moved
        # its compression state on: cancelled there, the stream would be corrupt.
        try:
            with trio.CancelScope(shield=True):
                await self._send(event)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # Reading goes on: what the peer sent before it left may still be on its way.
            self._broken = True
            raise WebSocketDisconnect(ABNORMAL_CLOSURE) from None
