"""`WebSocketHub`: who is connected, and delivery to them."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING
from uuid import uuid4

import trio

from quart_wshub.auth.revocations import Revocations
from quart_wshub.cluster.cluster import Cluster
from quart_wshub.cluster.node_ids import make_connection_id
from quart_wshub.cluster.view import ClusterView
from quart_wshub.connection.memberships import Holds
from quart_wshub.connection.requests import ask
from quart_wshub.connection.session import EndingKind, WebSocketConnection
from quart_wshub.delivery.fan_out import FanOut
from quart_wshub.delivery.registry import Registry
from quart_wshub.frozen import FrozenMapping
from quart_wshub.hub.drain import Drain
from quart_wshub.hub.grace import Farewells
from quart_wshub.hub.statistics import HubStatistics
from quart_wshub.protocol.close_codes import CloseCode, validate_close
from quart_wshub.protocol.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    InvalidTopicError,
    TopicLimitError,
    UnknownConnectionError,
    UsageError,
)
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from quart_wshub.auth.identity import UserId
    from quart_wshub.broker.base import Broker
    from quart_wshub.cluster.channels import Audience
    from quart_wshub.cluster.inquiries import Asked
    from quart_wshub.protocol.envelope import WSEnvelope

__all__ = ["WebSocketHub"]


class WebSocketHub:
    """The registry of one process and the delivery to what is in it. Make one per app, at import if you like.

    With a broker it is one node of many: deliveries and disconnections reach the sockets of all. Deliveries count those
    of this node; what the broker cannot take raises `BrokerUnavailableError`, once all is done here.

    Delivery never waits for a socket: each has a queue, and a peer whose queue is full is closed with 1013. All
    fan-outs of one hub have one order, the same on every connection, also when they overlap.

    Every method that awaits can be cancelled, and a loop over it gives way to other tasks. One that is cancelled has
    either done nothing or, for a fan-out to many sockets, served some of them; no index is ever left half changed.

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
        self._max_per_user = max_per_user
        self._fan_out = FanOut()
        self._revocations = Revocations()
        self._cluster = None if broker is None else Cluster(broker, self._fan_out, self._revocations, max_per_user)
        self._registry: Registry[WebSocketConnection] = Registry() if self._cluster is None else self._cluster.registry
        self._cluster_view = ClusterView(self._registry, self._cluster)
        self._accepted = self._publications = self._deliveries = 0
        self._closed: Counter[int] = Counter()
        self._farewells = Farewells()
        self._drain = Drain(self._registry, self._farewells)

    @property
    def registry(self) -> Registry[WebSocketConnection]:
        """The indexes. For the runtime; apps use the methods of the hub."""
        return self._registry

    @property
    def fan_out(self) -> FanOut:
        """The deliveries. For the runtime; apps use the methods of the hub."""
        return self._fan_out

    @property
    def revocations(self) -> Revocations:
        """Who was revoked while a handshake is under way. For the runtime; apps use `revoke`."""
        return self._revocations

    @property
    def farewells(self) -> Farewells:
        """What still runs for connections that are over. For the runtime."""
        return self._farewells

    # Delivery

    async def send_to(self, user_id: UserId, envelope: WSEnvelope) -> int:
        """Deliver to every socket of a user. Returns how many of this node accepted it.

        Raises:
            BrokerUnavailableError: it may not reach the sockets of other nodes.
        """
        return await self._deliver((user_id,), Frame(envelope.encode()))

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
        return await self._deliver(topic, Frame(envelope.encode()), exclude)

    async def _deliver(self, audience: Audience, frame: Frame, exclude: UUID | None = None) -> int:
        excluded = None if exclude is None else self._registry.get(exclude)
        accepted = await self._fan_out.deliver(audience, self._registry.members_of(audience), frame, excluded)
        self._publications += 1
        self._deliveries += accepted
        if self._cluster is not None:
            # Without a checkpoint in between, so the other nodes see the order of this one.
            self._cluster.publish(audience, frame, exclude, accepted)
        return accepted

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
        connection = self._registry.get(connection_id)
        if connection is None:
            return False
        if self._cluster is None:
            self._join(connection, topic)
            if connection.holds is not None:
                connection.holds.subscribed(topic)
            return True
        with self._membership(connection, topic) as holds:  # which ends with it, if this is cancelled
            await self._cluster.subscribed(topic)
            holds.subscribed(topic)
        return connection.ending is None

    async def unsubscribe(self, connection_id: UUID, topic: str) -> bool:
        """Unsubscribe a connection of this node from a topic. Idempotent. `False` where there is no such connection.

        Raises:
            InvalidTopicError: `topic` is not a non-empty string.
        """
        await trio.lowlevel.checkpoint()
        _check_topic(topic)
        connection = self._registry.get(connection_id)
        if connection is None:
            return False
        self._leave(connection, topic)
        if connection.holds is not None:
            connection.holds.unsubscribed(topic)
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
        connection = self._registry.get(connection_id)
        if connection is None:
            yield False
            return
        with self._membership(connection, topic):
            if self._cluster is not None:
                await self._cluster.subscribed(topic)
            yield True

    @contextmanager
    def _membership(self, connection: WebSocketConnection, topic: str) -> Iterator[Holds]:
        was_member = topic in connection.topics
        self._join(connection, topic)
        if connection.holds is None:
            connection.holds = Holds()
        holds = connection.holds
        hold = holds.enter(topic, was_member=was_member)
        try:
            yield holds
        finally:
            if holds.leave(topic, hold):
                self._leave(connection, topic)

    def _join(self, connection: WebSocketConnection, topic: str) -> None:
        topics = connection.topics
        if topic not in topics and len(topics) >= connection.max_topics:
            msg = f"a connection may have at most {connection.max_topics} topics"
            raise TopicLimitError(msg)
        self._fan_out.seal()
        self._registry.subscribe(connection, topic)

    def _leave(self, connection: WebSocketConnection, topic: str) -> None:
        self._fan_out.serve_first(connection)  # what was published before this
        self._registry.unsubscribe(connection, topic)

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
        connection = self._registry.get(connection_id)
        if connection is None:
            if self._cluster is not None:
                return await self._cluster.request(connection_id, envelope, timeout)
            msg = f"there is no connection {connection_id}"
            raise UnknownConnectionError(msg)
        return await ask(connection, envelope, timeout)

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
            return await self._disconnect_connection(connection_id, code, reason)
        assert user_id is not None
        # First the other nodes are asked: what is closed here may be the caller's own connection.
        elsewhere = None if self._cluster is None else self._cluster.close_user(user_id, code, reason)
        return await self._close_all(user_id, code, reason, elsewhere)

    async def _disconnect_connection(self, connection_id: UUID, code: int, reason: str) -> int:
        connection = self._registry.get(connection_id)
        if connection is not None:
            return int(connection.begin_close(code, reason, kind=EndingKind.SERVER_CLOSED))
        return 0 if self._cluster is None else await self._cluster.close_connection(connection_id, code, reason)

    async def _close_all(self, user_id: UserId, code: int, reason: str, elsewhere: Asked | None) -> int:
        targets = list(self._registry.of_user(user_id))
        closed = sum(target.begin_close(code, reason, kind=EndingKind.SERVER_CLOSED) for target in targets)
        if elsewhere is None:
            return closed
        try:
            return closed + (await elsewhere.answers()).total
        except BrokerUnavailableError as error:
            error.delivered = closed
            raise

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
        self._revocations.revoke(user_id)
        elsewhere = None if self._cluster is None else self._cluster.revoke(user_id, reason)
        return await self._close_all(user_id, CloseCode.UNAUTHORIZED, reason, elsewhere)

    # Introspection

    def online_users(self) -> frozenset[UserId]:
        """The users with at least one open socket on this node."""
        return self._registry.users()  # type: ignore[return-value]  # the registry takes any hashable

    def connection_count(self) -> int:
        """Open sockets on this node."""
        return len(self._registry)

    def topic_count(self, topic: str) -> int:
        """Subscribers of a topic on this node."""
        return len(self._registry.of_topic(topic))

    @property
    def cluster(self) -> ClusterView:
        """The same questions to all nodes together."""
        return self._cluster_view

    def statistics(self) -> HubStatistics:
        """What this node did so far, and what it holds."""
        return HubStatistics(
            connections=len(self._registry),
            users=len(self._registry.users()),
            topics=len(self._registry.topics()),
            accepted=self._accepted,
            publications=self._publications,
            deliveries=self._deliveries + (0 if self._cluster is None else self._cluster.deliveries),
            closed=FrozenMapping(self._closed),
            broker=None if self._cluster is None else self._cluster.statistics(),
        )

    def __repr__(self) -> str:
        return f"<WebSocketHub connections={len(self._registry)}>"

    # Shutdown

    async def drain(self, timeout: float = 10.0) -> int:
        """Close every connection with 1012, in batches spread over half of `timeout` (seconds), and wait for the end.

        From here on new handshakes get HTTP 503. What is queued still goes out; handlers are cancelled; peers that do
        not answer are dropped at the end. Returns how many connections were open. Under the native transport this
        runs by itself when the server shuts down. A second call joins the first.

        Cancellation leaves the hub draining, and the connections that were not yet told open.
        """
        return await self._drain.run(timeout)

    @property
    def draining(self) -> bool:
        """Whether `drain` was called, and new handshakes are refused."""
        return self._drain.has_begun

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send new clients here: not draining, and other nodes, if any, are reached."""
        return not self.draining and (self._cluster is None or self._cluster.ready)

    # For the runtime

    async def run_broker(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the broker, if there is one, until `stop_broker`. The blueprint does it, in the app's lifespan.

        Raises:
            ConfigurationError: the broker cannot work.
        """
        if self._cluster is None:
            task_status.started()
        else:
            await self._cluster.run(task_status=task_status)

    async def broker_connected(self, seconds: float) -> None:
        """Wait for the broker that `run_broker` runs, but no longer than this. Without a broker it returns at once."""
        if self._cluster is not None:
            await self._cluster.connected(seconds)

    async def stop_broker(self) -> None:
        """End `run_broker`, and wait for its end. Idempotent."""
        if self._cluster is not None:
            await self._cluster.stop()

    def new_connection_id(self) -> UUID:
        """An id for a connection of this node. With a broker it tells which node that is."""
        return uuid4() if self._cluster is None else make_connection_id(self._cluster.node_id)

    def expecting(self, user_id: UserId) -> AbstractAsyncContextManager[None]:
        """Register a user's connection inside this block: what other nodes send arrives from its beginning on."""
        return nullcontext() if self._cluster is None else self._cluster.expecting(user_id)

    def take_slot(self, limit: int | None) -> bool:
        """Count one more socket, from the start of its handshake to its very end; `False` when there is no room."""
        return self._drain.take_slot(limit)

    def free_slot(self) -> None:
        """Give back what `take_slot` took."""
        self._drain.free_slot()

    def register(self, connection: WebSocketConnection) -> None:
        """Enter a connection, and evict the user's oldest where there are too many; waits for nobody."""
        self._fan_out.seal()
        self._registry.add(connection)
        self._accepted += 1
        connection.on_closing.append(self._count_closed)
        siblings = list(self._registry.of_user(connection.user_id))
        for oldest in siblings[: -self._max_per_user]:
            oldest.begin_close(CloseCode.TOO_MANY_CONNECTIONS, kind=EndingKind.SERVER_CLOSED)
        if self._cluster is not None:
            self._cluster.joined(connection.user_id)
        if self.draining:
            self._drain.send_away(connection)

    def _count_closed(self, connection: WebSocketConnection) -> None:
        assert connection.ending is not None
        self._closed[connection.ending.code] += 1


def _check_topic(topic: object) -> None:
    if not isinstance(topic, str) or not topic:
        msg = f"a topic is a non-empty string, not {type(topic).__name__ if not isinstance(topic, str) else 'empty'}"
        raise InvalidTopicError(msg)
