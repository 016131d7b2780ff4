"""Connections without a socket, and a transport that misbehaves on demand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from quart_wshub.auth.identity import Identity, UserId
from quart_wshub.connection.session import Session
from quart_wshub.connection.websocket import WebSocket
from quart_wshub.connection.websocket_connection import WebSocketConnection
from quart_wshub.hub.websocket_hub import runtime_of
from quart_wshub.protocol.errors import WebSocketDisconnect
from tests.unit.memory import make_settings, websocket_scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart_wshub.hub.websocket_hub import WebSocketHub
    from quart_wshub.protocol.frame import Frame
    from quart_wshub.settings import WebSocketSettings
    from quart_wshub.transport.base import Transport

__all__ = ["FakeTransport", "PeerLeavesWhileSending", "delivered", "join", "make_session", "public", "texts", "ws_of"]


def make_session(
    hub: WebSocketHub,
    user_id: UserId = "ann",
    *,
    identity: Identity | None = None,
    transport: Transport | None = None,
    settings: WebSocketSettings | None = None,
) -> Session:
    """A session that is not registered yet, and that nothing runs."""
    runtime = runtime_of(hub)
    return Session(
        runtime.new_connection_id(),
        identity or Identity(user_id),
        registry=runtime.registry,
        fan_out=runtime.fan_out,
        closed=runtime.closed,
        transport=transport or FakeTransport(),
        settings=settings or make_settings(WS_SEND_QUEUE_MESSAGES=65536),
    )


def ws_of(session: Session) -> WebSocket:
    """The socket as a handler has it."""
    return WebSocket(session, websocket_scope(), {}, None)


def public(session: Session) -> WebSocketConnection:
    """The connection as an app sees it."""
    return WebSocketConnection(session, ws_of(session))


def join(hub: WebSocketHub, user_id: UserId = "ann", *, settings: WebSocketSettings | None = None) -> Session:
    """A registered session that nothing runs: what is delivered to it stays in its outbox."""
    session = make_session(hub, user_id, settings=settings)
    runtime_of(hub).register(session)
    return session


async def delivered(session: Session) -> list[Frame]:
    """Take what waits in a session's outbox, which may be nothing."""
    frames: list[Frame] = []
    while session.outbox.queued_messages:
        frames += session.outbox.take()
    return frames


def texts(frames: Sequence[Frame]) -> list[str]:
    """What the frames say."""
    return [frame.payload for frame in frames if isinstance(frame.payload, str)]


class FakeTransport:
    """A `Transport` whose peer does only what the test makes it do.

    Attributes:
        sent: what went out.
        closes: the close frames that went out, as (code, reason).
        aborted: whether `abort` was called.
        takes_frames: `False`: the peer does not read; `send` is stuck until `abort` or cancellation.
        answers_close: `False`: the peer never answers the close frame.
    """

    def __init__(self) -> None:
        self.sent: list[Frame] = []
        self.closes: list[tuple[int, str]] = []
        self.aborted = False
        self.takes_frames = True
        self.answers_close = True
        self._peer_sends, self._incoming = trio.open_memory_channel[str | bytes | Exception](math.inf)

    def peer_sends(self, *messages: str | bytes) -> None:
        """Let these arrive."""
        for message in messages:
            self._peer_sends.send_nowait(message)

    def fail(self, error: Exception) -> None:
        """Let the next `receive` raise this."""
        self._peer_sends.send_nowait(error)

    def try_send(self, frame: Frame) -> Frame | None:
        return frame

    async def send(self, frames: Sequence[Frame]) -> None:
        await trio.lowlevel.checkpoint()
        if not self.takes_frames:
            await trio.sleep_forever()
        self.sent += frames

    async def receive(self) -> Sequence[str | bytes]:
        message = await self._incoming.receive()
        if isinstance(message, Exception):
            raise message
        return (message,)

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.closes.append((code, reason))
        if not self.answers_close:
            await trio.sleep_forever()

    def abort(self) -> None:
        self.aborted = True


class PeerLeavesWhileSending(FakeTransport):
    """The peer's departure shows when something is sent."""

    async def send(self, frames: Sequence[Frame]) -> None:
        await trio.lowlevel.checkpoint()
        raise WebSocketDisconnect(1006)
