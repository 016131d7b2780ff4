"""`WebSocketHub`: what apps do with a hub. What is behind it is the `HubRuntime`."""

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
    """The registry of one process and the delivery to what is in it. Make one per app, at import if you like.

    With a broker it is one node of many: deliveries and disconnections reach the sockets of all. Deliveries count those
    of this node; what the broker cannot take raises `BrokerUnavailableError`, once all is done here.

    Delivery never waits for a socket: each has a queue, and a peer whose queue is full is closed with 1013. All
    fan-outs of one hub have one order, the same on every connection, also when they overlap.

    Every method that awaits can be cancelled, and a loop over it gives way to other tasks. A publication that is
    cancelled has either not happened or reaches every socket; no index is ever left half changed.

    Args:
        max_per_user: sockets a user may have open at a time, on all nodes together, at least 1; one more evicts the
            oldest with 4429.
        broker: what connects this node with the others. It runs with the app's lifespan.

    Raises:
        ConfigurationError: `max_per_user` is no integer of at least 1, or `broker` is no broker.
    """

    def __init__(self, *, max_per_user: int = 5, broker: Broker | None = None) -> None:
        if isinstance(max_per_user, bool) or not isinstance(max_per_user, int) or max_per_user < 1:
            msg = f"max_per_user={max_per_user!r} must be an integer of at least 1"
            raise ConfigurationError(msg)
        self._runtime = HubRuntime(max_per_user, broker)
        self._cluster_view = ClusterView(self._runtime.registry, self._runtime.cluster)

    # Delivery

    async def send_to(self, user_id: UserId, envelope: WSEnvelope) -> int:
        """Deliver to every socket of a user. Returns how many of this node accepted it.

        Raises:
            BrokerUnavailableError: it may not reach the sockets of other nodes.
        """
        return await self._runtime.deliver((user_id,), envelope)

    async def send_many(self, envelopes: Mapping[UserId, WSEnvelope]) -> int:
        """Deliver a different envelope to each user. Returns how many sockets of this node accepted one.

        Raises:
            BrokerUnavailableError: some may not reach the sockets of other nodes; to those of this one all were sent.
        """
        await trio.lowlevel.checkpoint()  # also where there is nobody to send to
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
        """Deliver to a topic's subscribers, or without `topic` to everyone, but not to the connection `exclude`.

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
        """Subscribe a connection of this node to a topic. Idempotent. `False` where there is no such connection.

        With a broker, what any node publishes after this has returned arrives; a `gap` tells where that took too long.

        Raises:
            InvalidTopicError: `topic` is not a non-empty string.
            TopicLimitError: the connection has `WS_MAX_TOPICS_PER_CONNECTION` topics already. Leaving a handler,
                either closes the socket with 1008.
        """
        await trio.lowlevel.checkpoint()
        _check_topic(topic)
        session = self._runtime.registry.get(connection_id)
        if session is None:
            return False
        if self._runtime.cluster is None:
            session.subscribe(topic)
            return True
        with session.membership(topic):  # which ends with the block, if this is cancelled
            await self._runtime.cluster.subscribed(topic)
            session.subscribe(topic)
        return session.ending is None

    async def unsubscribe(self, connection_id: UUID, topic: str) -> bool:
        """Unsubscribe a connection of this node from a topic. Idempotent. `False` where there is no such connection.

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

        `subscribed` is `False` where there is no such connection (any more). However the block ends, the membership
        has ended when it has, unless it was there before, or `subscribe` was called meanwhile. Of several blocks for
        the same topic, also of different tasks, the last one to end counts. `unsubscribe` ends it at once, whatever
        blocks there are.

        Entering is a checkpoint, and cancelled there nothing has happened; leaving is none.

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
        """Ask a client on any node: send a copy of the envelope with a fresh `request_id`, and return the reply.

        The reply is the envelope of type ``<type>.reply`` with that `request_id`. It is taken before the handler's
        messages, so this may be called from the connection's own handler, which never sees it. It does wait behind
        messages that a handler which has fallen behind leaves in the network.

        Cancelled or timed out, the client may have got the request or not; a reply that comes late is dropped.

        Args:
            timeout: seconds to wait for room in the send queue and for the reply; `math.inf` for as long as it takes.

        Raises:
            UnknownConnectionError: there is no such connection (any more).
            WebSocketDisconnect: the connection ended before the client had answered.
            RequestTimeoutError: the client did not answer in time.
            RequestFailedError: the client answered with an `error` envelope.
            RequestLimitError: 64 requests wait for this client already.
            BrokerUnavailableError: the client is on another node, which cannot be reached at the moment.
            UsageError: `timeout` is negative or not a number.
        """
        await trio.lowlevel.checkpoint()
        session = self._runtime.registry.get(connection_id)
        if session is not None:
            return await session.request(envelope, timeout)
        if self._runtime.cluster is not None:
            return await self._runtime.cluster.request(connection_id, envelope, timeout)
        msg = f"there is no connection {connection_id}"
        raise UnknownConnectionError(msg)

    # Ending connections

    async def disconnect(
        self,
        *,
        user_id: UserId | None = None,
        connection_id: UUID | None = None,
        code: int = CloseCode.NORMAL,
        reason: str | None = None,
    ) -> int:
        """Close a user's sockets, or one connection, on whichever nodes. Returns how many; does not wait for the peers.

        With a broker the other nodes have two seconds to say how many they close.

        Raises:
            BrokerUnavailableError: sockets of other nodes may not be closed.
            UsageError: not exactly one of `user_id` and `connection_id` was given.
            ValueError: the code may not be sent, or the reason is over 123 bytes.
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
        """Close all the user's sockets with 4401, and let in none whose token was resolved before.

        A handshake that is under way when this is called, resolver and all, is refused with 4401 where it turns out
        to be this user's; a `WebSocketConnection.refresh` under way finds its socket closed. Nothing is remembered
        longer than those handshakes take: that the token is refused from then on is the bearer resolver's duty, so
        make it know before you call this.

        Returns how many sockets are being closed; does not wait for the peers. With a broker it holds on every node,
        and each has two seconds to confirm it.

        Raises:
            ValueError: the reason is over 123 bytes.
            BrokerUnavailableError: here it is done, but not every node has confirmed it: call it again.
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
        """The same questions to all nodes together."""
        return self._cluster_view

    def statistics(self) -> HubStatistics:
        """What this node did so far, and what it holds."""
        return self._runtime.statistics()

    def __repr__(self) -> str:
        return f"<WebSocketHub connections={len(self._runtime.registry)}>"

    # Shutdown

    async def drain(self, timeout: float = 10.0) -> int:
        """Close every connection with 1012, in batches spread over half of `timeout` (seconds), and wait for the end.

        From here on new handshakes get HTTP 503. What is queued still goes out; handlers are cancelled; peers that do
        not answer are dropped at the end. Returns how many connections were open. Under the native transport this
        runs by itself when the server shuts down. A second call joins the first.

        Cancellation leaves the hub draining, and the connections that were not yet told open.
        """
        return await self._runtime.drain.run(timeout)

    @property
    def draining(self) -> bool:
        """Whether `drain` was called, and new handshakes are refused."""
        return self._runtime.drain.has_begun

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send new clients here: not draining, and other nodes, if any, are reached."""
        return self._runtime.ready


def runtime_of(hub: WebSocketHub) -> HubRuntime:
    """What the rest of the library uses of a hub."""
    return hub._runtime


def _check_topic(topic: object) -> None:
    if not isinstance(topic, str) or not topic:
        msg = f"a topic is a non-empty string, not {type(topic).__name__ if not isinstance(topic, str) else 'empty'}"
        raise InvalidTopicError(msg)
