"""`WebSocketHub`: the app's interface to a hub. `HubRuntime` does the work."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from quart_wshub.cluster.view import ClusterView
from quart_wshub.hub.runtime import HubRuntime
from quart_wshub.protocol.close_codes import CloseCode, validate_close
from quart_wshub.protocol.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    InvalidTopicError,
    UnknownConnectionError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from uuid import UUID

    from quart_wshub.auth.identity import UserId
    from quart_wshub.broker.base import Broker
    from quart_wshub.hub.statistics import HubStatistics
    from quart_wshub.protocol.envelope import WSEnvelope

__all__ = ["WebSocketHub", "runtime_of"]


class WebSocketHub:
    """The registry of one process and the delivery to its connections. Make one per app, at import if you like.

    With a broker it is one node of many, and deliveries and disconnections reach the sockets of all nodes. Deliveries
    return the count of this node; if the broker is unavailable they raise `BrokerUnavailableError`, once everything is
    done here.

    Delivery never waits for a socket: each has a queue, and a peer whose queue is full is closed with 1013. All
    publications of one hub have one order, the same on every connection, also when they overlap.

    Every async method can be cancelled, and a loop over it yields to other tasks. A publication that is cancelled has
    either not happened or reaches every socket; no index is ever left half changed.

    Args:
        max_per_user: sockets a user may have open at a time on all nodes together, at least 1; one more evicts the
            oldest with 4429.
        broker: connects this node to the others. It runs in the app's lifespan.

    Raises:
        ConfigurationError: `max_per_user` is not an integer of at least 1, or `broker` is not a broker.
    """

    def __init__(self, *, max_per_user: int = 5, broker: Broker | None = None) -> None:
        if isinstance(max_per_user, bool) or not isinstance(max_per_user, int) or max_per_user < 1:
            msg = f"max_per_user={max_per_user!r} must be an integer of at least 1"
            raise ConfigurationError(msg)
        self._runtime = HubRuntime(max_per_user, broker)
        self._cluster_view = ClusterView(self._runtime.registry, self._runtime.cluster)

    # Delivery

    async def send_to(self, user_id: UserId, envelope: WSEnvelope) -> int:
        """Deliver to every socket of a user. Returns how many sockets of this node accepted it.

        Raises:
            BrokerUnavailableError: it may not reach the sockets of other nodes.
        """
        return await self._runtime.deliver((user_id,), envelope)

    async def send_many(self, envelopes: Mapping[UserId, WSEnvelope]) -> int:
        """Deliver a different envelope to each user. Returns how many sockets of this node accepted one.

        Raises:
            BrokerUnavailableError: some may not reach the sockets of other nodes; this node's got all of them.
        """
        await trio.lowlevel.checkpoint()  # even if the mapping is empty
        total = 0
        failure: BrokerUnavailableError | None = None
        for user_id, envelope in list(envelopes.items()):
            try:
                total += await self.send_to(user_id, envelope)
            except BrokerUnavailableError as error:
                total += error.delivered
                failure = error
        if failure is not None:
            failure.delivered = total
            raise failure
        return total

    async def broadcast(self, envelope: WSEnvelope, *, topic: str | None = None, exclude: UUID | None = None) -> int:
        """Deliver to a topic's subscribers, or without `topic` to everyone, except the connection `exclude`.

        Returns how many sockets of this node accepted it.

        Raises:
            InvalidTopicError: `topic` is not a non-empty string.
            BrokerUnavailableError: it may not reach the sockets of other nodes.
        """
        if topic is not None:
            _check_topic(topic)
        return await self._runtime.deliver(topic, envelope, exclude)

    # Membership

    async def subscribe(self, connection_id: UUID, topic: str) -> bool:
        """Subscribe a connection of this node to a topic. Idempotent. `False` if there is no such connection.

        With a broker, whatever any node publishes after this has returned arrives; if the broker takes too long to
        confirm that, the client gets a `gap`.

        Raises:
            InvalidTopicError: `topic` is not a non-empty string.
            TopicLimitError: the connection has `WS_MAX_TOPICS_PER_CONNECTION` topics already. If a handler raises
                either, the socket is closed with 1008.
        """
        await trio.lowlevel.checkpoint()
        _check_topic(topic)
        session = self._runtime.registry.get(connection_id)
        if session is None:
            return False
        with session.membership(topic):  # ends with the block if this is cancelled
            if self._runtime.cluster is not None:
                await self._runtime.cluster.subscribed(topic)
            session.subscribe(topic)
        return session.ending is None

    async def unsubscribe(self, connection_id: UUID, topic: str) -> bool:
        """Unsubscribe a connection of this node from a topic. Idempotent. `False` if there is no such connection.

        Raises:
            InvalidTopicError: `topic` is not a non-empty string.
        """
        await trio.lowlevel.checkpoint()
        _check_topic(topic)
        session = self._runtime.registry.get(connection_id)
        if session is None:
            return False
        session.unsubscribe(topic)
        return True

    @asynccontextmanager
    async def subscription(self, connection_id: UUID, topic: str) -> AsyncIterator[bool]:
        """Subscribe a connection for as long as the block lasts: ``async with hub.subscription(…) as subscribed:``.

        `subscribed` is `False` if there is no such connection (any more). However the block ends, the subscription
        ends with it, unless it existed before or `subscribe` was called meanwhile. Of several blocks for the same
        topic, also in different tasks, the last one to end counts. `unsubscribe` ends it at once, whatever blocks
        are open.

        Entering is a checkpoint; if it is cancelled, nothing has happened. Leaving is not a checkpoint.

        Raises:
            InvalidTopicError, TopicLimitError: as for `subscribe`.
        """
        await trio.lowlevel.checkpoint()
        _check_topic(topic)
        session = self._runtime.registry.get(connection_id)
        if session is None:
            yield False
            return
        with session.membership(topic):
            if self._runtime.cluster is not None:
                await self._runtime.cluster.subscribed(topic)
            yield True

    # Requests

    async def request(self, connection_id: UUID, envelope: WSEnvelope, timeout: float = 10.0) -> WSEnvelope:
        """Send a request to a client on any node: a copy of the envelope with a new `request_id`; return the reply.

        The reply is the envelope of type ``<type>.reply`` with that `request_id`. It does not pass through the
        handler's inbox, so this may be called from the connection's own handler, which never receives it. If the
        handler has fallen behind, the reply waits behind the messages that are still in the network.

        If this is cancelled or times out, the client may or may not have got the request; a late reply is dropped.

        Args:
            timeout: seconds to wait for room in the send queue and for the reply; `math.inf` for no limit.

        Raises:
            UnknownConnectionError: there is no such connection (any more).
            WebSocketDisconnect: the connection ended before the client had answered.
            RequestTimeoutError: the client did not answer in time.
            RequestFailedError: the client answered with an `error` envelope.
            RequestLimitError: 64 requests are waiting for this client already.
            BrokerUnavailableError: the client is on another node, which cannot be reached at the moment.
            UsageError: `timeout` is negative or not a number.
        """
        await trio.lowlevel.checkpoint()
        session = self._runtime.registry.get(connection_id)
        if session is not None:
            return await session.request(envelope, timeout)
        if self._runtime.cluster is not None:
            return await self._runtime.cluster.request(connection_id, envelope, timeout)
        raise UnknownConnectionError(f"there is no connection {connection_id}")

    # Ending connections

    async def disconnect(
        self,
        *,
        user_id: UserId | None = None,
        connection_id: UUID | None = None,
        code: int = CloseCode.NORMAL,
        reason: str | None = None,
    ) -> int:
        """Close a user's sockets or one connection, on any node. Returns how many; does not wait for the peers.

        With a broker the other nodes have two seconds to respond how many they close.

        Raises:
            BrokerUnavailableError: sockets of other nodes may not be closed.
            UsageError: not exactly one of `user_id` and `connection_id` was given.
            ValueError: the code may not be sent, or the reason is longer than 123 bytes.
        """
        if (user_id is None) == (connection_id is None):
            msg = "disconnect() takes exactly one of user_id and connection_id"
            raise UsageError(msg)
        validate_close(code, reason or "")
        await trio.lowlevel.checkpoint()
        if reason is None:
            reason = code.reason if isinstance(code, CloseCode) else ""
        if connection_id is not None:
            return await self._runtime.disconnect(connection_id, code, reason)
        assert user_id is not None
        return await self._runtime.disconnect_user(user_id, code, reason)

    async def revoke(self, user_id: UserId, *, reason: str = "token revoked") -> int:
        """Close all the user's sockets with 4401, and refuse the user's handshakes that are under way.

        A handshake whose bearer resolver is still running is refused with 4401 if it turns out to be this user's; a
        `WebSocketConnection.refresh` under way finds its socket closed. Nothing is remembered longer than those
        handshakes take: the bearer resolver must refuse the token from then on, so revoke it there first.

        Returns how many sockets are being closed; does not wait for the peers. With a broker it applies to every node,
        and each has two seconds to confirm it.

        Raises:
            ValueError: the reason is longer than 123 bytes.
            BrokerUnavailableError: it is done on this node, but not confirmed by every other: call it again.
        """
        validate_close(CloseCode.UNAUTHORIZED, reason)
        await trio.lowlevel.checkpoint()
        return await self._runtime.revoke(user_id, reason)

    # Introspection

    def online_users(self) -> frozenset[UserId]:
        """The users with at least one open socket on this node."""
        return self._runtime.registry.users()

    def connection_count(self) -> int:
        """Open sockets on this node."""
        return len(self._runtime.registry)

    def topic_count(self, topic: str) -> int:
        """Subscribers of a topic on this node."""
        return len(self._runtime.registry.of_topic(topic))

    @property
    def cluster(self) -> ClusterView:
        """The same queries over all nodes."""
        return self._cluster_view

    def statistics(self) -> HubStatistics:
        """A snapshot of this node's counters."""
        return self._runtime.statistics()

    def __repr__(self) -> str:
        return f"<WebSocketHub connections={len(self._runtime.registry)}>"

    # Shutdown

    async def drain(self, timeout: float = 10.0) -> int:
        """Close every connection with 1012, in batches spread over half of `timeout` (seconds); wait for their end.

        From here on new handshakes get HTTP 503. Queued messages still go out; handlers are cancelled; peers that do
        not answer are dropped at the end. Returns how many connections were open. The native transport calls this
        when the server shuts down. A second call joins the first.

        If cancelled, the hub keeps draining, but the connections not closed yet stay open.
        """
        return await self._runtime.drain.run(timeout)

    @property
    def draining(self) -> bool:
        """Whether `drain` was called, so that new handshakes are refused."""
        return self._runtime.drain.has_begun

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send new clients here: not draining, and the broker, if any, is ready."""
        return self._runtime.ready


def runtime_of(hub: WebSocketHub) -> HubRuntime:
    """The runtime behind a hub, for the rest of the library."""
    return hub._runtime


def _check_topic(topic: object) -> None:
    if not isinstance(topic, str) or not topic:
        kind = "empty" if isinstance(topic, str) else type(topic).__name__
        raise InvalidTopicError(f"a topic is a non-empty string, not {kind}")
