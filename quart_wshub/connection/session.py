"""One authenticated connection: who it is, its queues and its end. It owns no task; `lifecycle` runs it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from time import perf_counter
from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.connection.inbox import Inbox
from quart_wshub.connection.outbox import Outbox
from quart_wshub.connection.pacing import Pacer
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.errors import UsageError, WebSocketDisconnect
from quart_wshub.protocol.frame import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from quart_wshub.auth.identity import Identity, UserId
    from quart_wshub.connection.memberships import Holds
    from quart_wshub.connection.requests import Requests
    from quart_wshub.connection.websocket import WebSocket
    from quart_wshub.hub.websocket_hub import WebSocketHub
    from quart_wshub.protocol.frame import Frame
    from quart_wshub.settings import WebSocketSettings
    from quart_wshub.transport.base import Transport

__all__ = ["ConnectionStatistics", "Ending", "EndingKind", "WebSocketConnection"]


BURST_SECONDS = 50e-6
"""A handler that sends faster than this is not written for one by one: the rest of its burst goes out in one piece."""


class EndingKind(Enum):
    """Why a connection ends, as far as it changes how."""

    PEER_LEFT = auto()
    """Nothing can be sent any more; the handler may finish what was received."""

    HANDLER_CLOSED = auto()
    """`ws.close()`: the handler may go on with its own cleanup."""

    SERVER_CLOSED = auto()
    """A policy, a timeout, `hub.disconnect`, or the handler is done: it is cancelled, what is queued still goes out."""

    OVERFLOWED = auto()
    """The peer does not take what it is sent: what is queued is dropped."""

    CANCELLED = auto()
    """The server is going down and will not wait."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a connection.

    Attributes:
        code, reason: what was sent or received in the close frame.
        kind: how it ends.
        deadline: Trio time at which it has to be over, whatever the peer does.
    """

    code: int
    reason: str
    kind: EndingKind
    deadline: float = math.inf


@dataclass(frozen=True, slots=True)
class ConnectionStatistics:
    """A snapshot of one connection. Sizes are in bytes of payload, without framing.

    Attributes:
        messages_received, bytes_received: from the peer, heartbeats included.
        messages_sent, bytes_sent: accepted for sending, heartbeats included.
        queued_messages, queued_bytes: of those, waiting for the socket.
        unread_messages: received, waiting for the handler.
        round_trip_seconds: from the last heartbeat ping to its pong; `None` before the first.
    """

    messages_received: int
    bytes_received: int
    messages_sent: int
    bytes_sent: int
    queued_messages: int
    queued_bytes: int
    unread_messages: int
    round_trip_seconds: float | None


class WebSocketConnection:
    """One socket of one user. Read-only for the app; act on it through the hub or the handler's `ws`."""

    __slots__ = (
        "_bytes_received",
        "_bytes_sent",
        "_connected_at",
        "_connection_id",
        "_fan_out",
        "_identity",
        "_messages_received",
        "_messages_sent",
        "_pacer",
        "_pinged_at",
        "_posted_at",
        "_registry",
        "_round_trip",
        "_transport",
        "_ws",
        "ending",
        "holds",
        "inbox",
        "last_seen",
        "max_topics",
        "on_closing",
        "on_refresh",
        "outbox",
        "requests",
    )

    def __init__(
        self,
        identity: Identity,
        *,
        hub: WebSocketHub,
        transport: Transport,
        settings: WebSocketSettings,
    ) -> None:
        self._connection_id = hub.new_connection_id()
        self._identity = identity
        self._connected_at = datetime.now(UTC)
        self._registry = hub.registry
        self._fan_out = hub.fan_out
        self._transport = transport
        self._pacer = Pacer()
        self._ws: WebSocket | None = None
        self._messages_received = self._bytes_received = self._messages_sent = self._bytes_sent = 0
        self._pinged_at: float | None = None
        self._posted_at = 0.0
        self._round_trip: float | None = None
        self.max_topics: int = settings.WS_MAX_TOPICS_PER_CONNECTION
        self.inbox: Inbox = Inbox()
        self.outbox: Outbox = Outbox(settings.WS_SEND_QUEUE_MESSAGES, settings.WS_SEND_QUEUE_BYTES)
        self.last_seen: float = trio.current_time()
        self.ending: Ending | None = None
        self.on_closing: list[Callable[[WebSocketConnection], None]] = []
        self.on_refresh: Callable[[], None] | None = None
        self.requests: Requests | None = None
        self.holds: Holds | None = None

    @property
    def connection_id(self) -> UUID:
        """Identifies this socket; the client knows it from `hello`."""
        return self._connection_id

    @property
    def user_id(self) -> UserId:
        """Who authenticated."""
        return self._identity.user_id

    @property
    def identity(self) -> Identity:
        """Who authenticated, until when, and what else the token said."""
        return self._identity

    @property
    def claims(self) -> Mapping[str, Any]:
        """What the resolver knew besides the user; empty where it returned a bare id."""
        return self._identity.claims

    @property
    def connected_at(self) -> datetime:
        """When the connection was made, in UTC."""
        return self._connected_at

    @property
    def topics(self) -> frozenset[str]:
        """The topics this connection is subscribed to; empty once it is closed."""
        return self._registry.topics_of(self)

    @property
    def ws(self) -> WebSocket:
        """The socket, as the handler has it."""
        if self._ws is None:  # pragma: no cover - set before anyone can see the connection
            msg = "the connection is not running"
            raise RuntimeError(msg)
        return self._ws

    def attach(self, ws: WebSocket) -> None:
        """Give the connection its `ws`. For the runtime."""
        self._ws = ws

    def refresh(self, identity: Identity) -> None:
        """Take a newer token's identity in place of the present one: its expiry, sooner or later, and its claims.

        Synchronous; from here on the new expiry counts. One that is past closes the socket with 4401.

        Raises:
            UsageError: it is another user's.
            WebSocketDisconnect: the socket is closed, for instance because the user was revoked.
        """
        if identity.user_id != self.user_id:
            msg = "refresh() takes an identity of the connection's own user"
            raise UsageError(msg)
        if self.ending is not None:
            raise WebSocketDisconnect(self.ending.code, self.ending.reason)
        self._identity = identity
        if self.on_refresh is not None:
            self.on_refresh()

    def statistics(self) -> ConnectionStatistics:
        """What went through this connection and what waits."""
        return ConnectionStatistics(
            messages_received=self._messages_received,
            bytes_received=self._bytes_received,
            messages_sent=self._messages_sent,
            bytes_sent=self._bytes_sent,
            queued_messages=self.outbox.queued_messages,
            queued_bytes=self.outbox.queued_bytes,
            unread_messages=len(self.inbox),
            round_trip_seconds=self._round_trip,
        )

    def received(self, messages: Sequence[str | bytes]) -> None:
        """Note that the peer sent something, which proves that it lives. For the runtime."""
        self.last_seen = trio.current_time()
        self._messages_received += len(messages)
        self._bytes_received += sum(map(size_of, messages))

    def ping_sent(self) -> None:
        """Note when the heartbeat asked. For the runtime."""
        self._pinged_at = trio.current_time()

    def pong_received(self) -> None:
        """Note when the peer answered; a pong nobody asked for says nothing of the way. For the runtime."""
        if self._pinged_at is not None:
            self._round_trip = trio.current_time() - self._pinged_at
            self._pinged_at = None

    def offer(self, frame: Frame) -> bool:
        """Queue a frame without waiting. Says whether it was accepted. For the hub.

        A peer so slow that its queue is full is closed with 1013, so that it costs neither the caller nor others.
        """
        if self.ending is not None:
            return False
        try:
            rest = self._transport.try_send(frame) if self.outbox.idle else frame
        except WebSocketDisconnect:
            return False  # the receive task is about to find out, and may have messages to take before that
        if rest is not None and not self.outbox.offer(rest):
            self.begin_close(CloseCode.TRY_AGAIN_LATER, kind=EndingKind.OVERFLOWED)
            return False
        self._messages_sent += len(frame.parts)
        self._bytes_sent += frame.size
        return True

    async def send(self, frame: Frame) -> None:
        """Send a frame, or queue it, waiting for room: the handler's own sends are slowed down, unlike a fan-out.

        Every call can be cancelled; one that need not wait gives way to other tasks every 64th time.

        Raises:
            WebSocketDisconnect: the socket is closed.
        """
        await self._pacer.before()
        if not self._post(frame):
            await self.outbox.put(frame)
        self._messages_sent += 1
        self._bytes_sent += frame.size

    def _post(self, frame: Frame) -> bool:
        """Send or queue a frame at once; `False` where others are queued before it."""
        if self.ending is not None:
            raise WebSocketDisconnect(self.ending.code, self.ending.reason)
        self._fan_out.serve_first(self)  # what this handler has published before
        if not self.outbox.idle:
            return False  # `put` leaves room for what cannot wait
        now = perf_counter()
        in_a_burst, self._posted_at = now - self._posted_at < BURST_SECONDS, now
        rest = frame if in_a_burst else self._transport.try_send(frame)
        # An idle outbox has room, so half a frame cannot be lost here.
        return rest is None or self.outbox.offer(rest)

    def begin_close(
        self, code: int, reason: str | None = None, *, kind: EndingKind, deadline: float = math.inf
    ) -> bool:
        """Start to close, at once and without waiting; the connection's nursery does the rest.

        Only the first call counts; says whether this was it. When it returns, the connection is out of the registry.
        `reason` defaults to the code's own.
        """
        if self.ending is not None:
            return False
        if kind not in {EndingKind.PEER_LEFT, EndingKind.OVERFLOWED}:
            self._fan_out.serve_first(self)  # what was published before this, unless it would not be taken
            if self.ending is not None:
                return False
        if reason is None:
            reason = code.reason if isinstance(code, CloseCode) else ""
        self.ending = Ending(int(code), reason, kind, deadline)
        self._fan_out.leave(self)
        self._registry.remove(self)
        self.outbox.close(self.ending.code, reason)
        if kind is not EndingKind.PEER_LEFT:
            self.inbox.discard()
        if kind in {EndingKind.PEER_LEFT, EndingKind.OVERFLOWED}:
            self.outbox.discard()
        self.inbox.close(self.ending.code, reason)
        if self.requests is not None:
            self.requests.close(self.ending.code, reason)
        for callback in self.on_closing:
            callback(self)
        return True

    def peer_left(self, gone: WebSocketDisconnect) -> bool:
        """Start to close because the peer has gone."""
        return self.begin_close(gone.code, gone.reason, kind=EndingKind.PEER_LEFT)

    def __repr__(self) -> str:
        return f"<WebSocketConnection {self._connection_id} user={self.user_id!r}>"
