"""`Session`: one connection as the rest of the library uses it. It owns no task; `Lifecycle` runs it.

Apps get a `WebSocketConnection` and a `WebSocket` that wrap it.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from datetime import UTC, datetime
from secrets import token_hex
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import trio

from quart_wshub.connection.ending import Ending, EndingKind
from quart_wshub.connection.inbox import Inbox
from quart_wshub.connection.membership import Membership
from quart_wshub.connection.outbox import Outbox
from quart_wshub.connection.pacer import Pacer
from quart_wshub.connection.requests import MARK, Requests, check_timeout, no_reply
from quart_wshub.connection.statistics import ConnectionStatistics
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.errors import TopicLimitError, UsageError, WebSocketDisconnect, WSHubError
from quart_wshub.protocol.frame import Frame, size_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from quart_wshub.auth.identity import Identity, UserId
    from quart_wshub.delivery.fan_out import FanOut
    from quart_wshub.delivery.registry import Registry
    from quart_wshub.protocol.envelope import WSEnvelope
    from quart_wshub.settings import WebSocketSettings
    from quart_wshub.transport.base import Transport

__all__ = ["Session"]


BURST_SECONDS = 50e-6
"""Messages of a handler that sends faster than this are not written one by one: the rest of the burst is one write."""


class Runner(Protocol):
    """What runs a session: a `Lifecycle`."""

    def watch_token(self) -> None:
        """Called when there is a newer identity."""

    def begin_closing(self) -> None:
        """Called in the middle of `Session.begin_close`."""


class Session:
    """One socket of one user.

    Args:
        closed: counts the sessions that have begun to close, by code.

    Attributes:
        connection_id: identifies this socket; the client knows it from `hello`.
        identity: who authenticated, until when, and with which claims.
        connected_at: when the connection was made, in UTC.
        ending: how it closes; `None` while it is open.
        last_seen: Trio time at which something last arrived from the peer.
        runner: what runs it.
        requests: the server's requests to this client; `None` while there are none.
        memberships: the open `membership` blocks, by topic.
    """

    __slots__ = (
        "_bytes_received",
        "_bytes_sent",
        "_closed",
        "_fan_out",
        "_max_topics",
        "_messages_received",
        "_messages_sent",
        "_pacer",
        "_pinged_at",
        "_registry",
        "_round_trip",
        "_sent_at",
        "_transport",
        "connected_at",
        "connection_id",
        "ending",
        "identity",
        "inbox",
        "last_seen",
        "memberships",
        "outbox",
        "requests",
        "runner",
    )

    def __init__(
        self,
        connection_id: UUID,
        identity: Identity,
        *,
        registry: Registry[Session],
        fan_out: FanOut,
        closed: Counter[int],
        transport: Transport,
        settings: WebSocketSettings,
    ) -> None:
        self.connection_id: UUID = connection_id
        self.identity: Identity = identity
        self.connected_at: datetime = datetime.now(UTC)
        self.outbox: Outbox = Outbox(settings.WS_SEND_QUEUE_MESSAGES, settings.WS_SEND_QUEUE_BYTES)
        self.last_seen: float = trio.current_time()
        self.ending: Ending | None = None
        self.runner: Runner | None = None
        self.requests: Requests | None = None
        self.memberships: dict[str, Membership] = {}
        self._registry = registry
        self._fan_out = fan_out
        self._closed = closed
        self._transport = transport
        self._max_topics = settings.WS_MAX_TOPICS_PER_CONNECTION
        self._pacer = Pacer()
        self.inbox: Inbox = Inbox(self._pacer)
        self._messages_received = self._bytes_received = self._messages_sent = self._bytes_sent = 0
        self._pinged_at: float | None = None
        self._sent_at = 0.0
        self._round_trip: float | None = None

    @property
    def user_id(self) -> UserId:
        return self.identity.user_id

    def refresh(self, identity: Identity) -> None:
        """See `WebSocketConnection.refresh`."""
        if identity.user_id != self.user_id:
            msg = "refresh() takes an identity of the connection's own user"
            raise UsageError(msg)
        self._raise_if_closed()
        self.identity = identity
        if self.runner is not None:
            self.runner.watch_token()

    def _raise_if_closed(self) -> None:
        if self.ending is not None:
            raise WebSocketDisconnect(self.ending.code, self.ending.reason)

    def statistics(self) -> ConnectionStatistics:
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

    # Receiving

    def received(self, messages: Sequence[str | bytes]) -> None:
        """Count what the peer sent, which also proves that it is alive."""
        self.last_seen = trio.current_time()
        self._messages_received += len(messages)
        self._bytes_received += sum(map(size_of, messages))

    def take(self, message: str | bytes) -> None:
        """Pass a message to the server's request that it answers, else to the handler's inbox."""
        if self.requests is None or not isinstance(message, str) or not self.requests.take(message):
            self.inbox.put(message)

    def ping_sent(self) -> None:
        """Start to measure the round trip of a heartbeat."""
        self._pinged_at = trio.current_time()

    def pong_received(self) -> None:
        """Measure the round trip; an unsolicited pong says nothing of it."""
        if self._pinged_at is not None:
            self._round_trip = trio.current_time() - self._pinged_at
            self._pinged_at = None

    # Sending

    def offer(self, frame: Frame) -> bool:
        """Send or queue a frame without waiting. Returns whether it was accepted.

        A peer so slow that its queue is full is closed with 1013, so that it delays neither the caller nor others.
        """
        if self.ending is not None:
            return False
        try:
            rest = self._transport.try_send(frame) if self.outbox.idle else frame
        except WebSocketDisconnect:
            return False  # the receiver is about to notice, and may have messages to read before that
        if rest is not None and not self.outbox.offer(rest):
            self.begin_close(CloseCode.TRY_AGAIN_LATER, kind=EndingKind.OVERFLOWED)
            return False
        self._messages_sent += len(frame.parts)
        self._bytes_sent += frame.size
        return True

    async def send(self, frame: Frame) -> None:
        """Send a frame, or queue it, waiting for room: backpressure for the handler's own sends, unlike a fan-out.

        Every call can be cancelled; one that need not wait yields to other tasks every 64th time.

        Raises:
            WebSocketDisconnect: the socket is closed.
        """
        await self._pacer.checkpoint()
        self._raise_if_closed()
        self._fan_out.serve_first(self)  # what was published before this
        if self.outbox.idle:
            now = perf_counter()
            in_a_burst, self._sent_at = now - self._sent_at < BURST_SECONDS, now
            rest = frame if in_a_burst else self._transport.try_send(frame)
            if rest is not None:
                self.outbox.offer(rest)  # an idle outbox has room, so no half of a frame is lost here
        else:
            await self.outbox.put(frame)
        self._messages_sent += 1
        self._bytes_sent += frame.size

    async def request(self, envelope: WSEnvelope, timeout: float) -> WSEnvelope:
        """Send a copy of the envelope with a `request_id` of its own, and wait for the client's reply.

        Errors and cancellation: see `WebSocketHub.request`.
        """
        check_timeout(timeout)
        request_id = f"{MARK}{token_hex(16)}"
        frame = Frame(envelope.model_copy(update={"request_id": request_id}).encode())
        requests = self.requests = self.requests or Requests()
        request = requests.begin(request_id, envelope.type)
        try:
            with trio.move_on_after(timeout):
                await self.send(frame)
                await request.answered.wait()
        finally:
            requests.end(request_id)
            if not requests:
                self.requests = None
        if request.outcome is None:
            raise no_reply(envelope.type, timeout)
        if isinstance(request.outcome, WSHubError):
            raise request.outcome
        return request.outcome

    # Topics

    @property
    def topics(self) -> frozenset[str]:
        """The topics this connection is subscribed to; empty once it is closed."""
        return self._registry.topics_of(self)

    def subscribe(self, topic: str) -> None:
        """Subscribe; idempotent. Raises `TopicLimitError` beyond `WS_MAX_TOPICS_PER_CONNECTION`."""
        self._join(topic)
        if (membership := self.memberships.get(topic)) is not None:
            membership.outlasts_blocks = True

    def unsubscribe(self, topic: str) -> None:
        """Unsubscribe, whatever `membership` blocks are open; idempotent."""
        self._leave(topic)
        self.memberships.pop(topic, None)

    @contextmanager
    def membership(self, topic: str) -> Iterator[None]:
        """Subscribe for the length of the block; see `WebSocketHub.subscription`. Raises as `subscribe` does."""
        was_subscribed = topic in self.topics
        self._join(topic)
        membership = self.memberships.setdefault(topic, Membership(outlasts_blocks=was_subscribed))
        membership.blocks += 1
        try:
            yield
        finally:
            membership.blocks -= 1
            if not membership.blocks and self.memberships.get(topic) is membership:  # not after `unsubscribe`
                del self.memberships[topic]
                if not membership.outlasts_blocks:
                    self._leave(topic)

    def _join(self, topic: str) -> None:
        topics = self.topics
        if topic not in topics and len(topics) >= self._max_topics:
            msg = f"a connection may have at most {self._max_topics} topics"
            raise TopicLimitError(msg)
        self._fan_out.seal()
        self._registry.subscribe(self, topic)

    def _leave(self, topic: str) -> None:
        self._fan_out.serve_first(self)  # what was published before this
        self._registry.unsubscribe(self, topic)

    # Closing

    def begin_close(
        self, code: int, reason: str | None = None, *, kind: EndingKind, deadline: float = math.inf
    ) -> bool:
        """Begin to close without waiting; the connection's nursery does the rest. Returns whether this call began it.

        Only the first call counts. When it returns, the session is out of the registry. `reason` defaults to the
        code's own.
        """
        if self.ending is not None:
            return False
        cannot_send = kind in {EndingKind.PEER_LEFT, EndingKind.OVERFLOWED}
        if not cannot_send:
            self._fan_out.serve_first(self)  # what was published before this
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
        if cannot_send:
            self.outbox.discard()
        self.inbox.close(self.ending.code, reason)
        if self.requests is not None:
            self.requests.close(self.ending.code, reason)
        self._closed[self.ending.code] += 1
        if self.runner is not None:
            self.runner.begin_closing()
        return True

    def close(self, code: int, reason: str | None = None) -> bool:
        """Begin to close because the server wants to. Returns whether this call began it."""
        return self.begin_close(code, reason, kind=EndingKind.SERVER_CLOSED)

    def peer_left(self, gone: WebSocketDisconnect) -> bool:
        """Begin to close because the peer has gone."""
        return self.begin_close(gone.code, gone.reason, kind=EndingKind.PEER_LEFT)

    def __repr__(self) -> str:
        return f"<Session {self.connection_id} user={self.user_id!r}>"
