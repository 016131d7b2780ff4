"""One node of a hub of many: what it publishes, how it handles what arrives, and its lifetime."""

from __future__ import annotations

import logging
import math
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from quart_wshub.cluster.channel_subscriptions import ChannelSubscriptions
from quart_wshub.cluster.channels import ALL, channel_of, node_channel, topic_channel, user_channel, user_key
from quart_wshub.cluster.gaps import GapNotices
from quart_wshub.cluster.limit import ClusterLimit
from quart_wshub.cluster.node_ids import is_node_id, node_of
from quart_wshub.cluster.node_requests import RESPONSE_SECONDS, BackgroundRequest, NodeRequests, Responses
from quart_wshub.cluster.pending_subscriptions import PendingSubscriptions
from quart_wshub.cluster.rate_limited_log import RateLimitedLog
from quart_wshub.cluster.responder import Responder
from quart_wshub.cluster.wire import (
    CancelRequest,
    CloseConnection,
    CloseUser,
    Publication,
    RequestClient,
    Response,
    RevokeUser,
    UnreadableError,
    decode,
    encode_control,
    encode_publication,
    own_publication_prefixes,
)
from quart_wshub.connection.requests import check_timeout, no_reply
from quart_wshub.protocol.errors import BrokerUnavailableError, ConfigurationError, UnknownConnectionError, UsageError
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from quart_wshub.auth.identity import UserId
    from quart_wshub.auth.revocations import Revocations
    from quart_wshub.broker.base import Broker, BrokerStatistics
    from quart_wshub.cluster.wire import Control, Request
    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.audience import Audience
    from quart_wshub.delivery.fan_out import FanOut
    from quart_wshub.delivery.registry import Registry
    from quart_wshub.protocol.envelope import WSEnvelope

__all__ = ["Cluster"]

log: logging.Logger = logging.getLogger("quart_wshub")


@dataclass(slots=True)
class OutgoingPublication:
    """A publication for the other nodes.

    Attributes:
        failure: why it could not be posted, if so.
    """

    cluster: Cluster
    channel: str
    message: bytes
    failure: BrokerUnavailableError | None = None

    def post(self) -> None:
        """Post it without waiting. Never raises."""
        try:
            self.cluster.post(self.channel, self.message)
        except BrokerUnavailableError as error:
            self.failure = error


class Cluster:
    """Connects a hub's registry and deliveries to a broker. It is the broker's `BrokerListener`.

    While `run` does not run, the hub serves only its own sockets (logged once).

    Attributes:
        node_id: this node's id.
        requests: this node's requests to other nodes.
    """

    def __init__(
        self,
        broker: Broker,
        registry: Registry[Session],
        fan_out: FanOut,
        revocations: Revocations,
        max_per_user: int,
    ) -> None:
        if not is_node_id(getattr(broker, "node_id", None)):
            msg = f"broker= must be a Broker, such as RedisBroker(url), not {type(broker).__name__}"
            raise ConfigurationError(msg)
        self.node_id: str = broker.node_id
        self.requests: NodeRequests = NodeRequests(broker)
        self._broker = broker
        self._registry = registry
        self._fan_out = fan_out
        self._subscriptions = registry.watcher = ChannelSubscriptions(broker)
        self._own_publications = own_publication_prefixes(self.node_id)
        self._responder = Responder(broker, registry, revocations)
        self._gaps = GapNotices(registry, fan_out)
        self._pending_subscriptions = PendingSubscriptions(broker, self.gap)
        self._limit = ClusterLimit(broker, self.requests, registry, max_per_user)
        self._unreadable_log = RateLimitedLog()
        self._nursery: trio.Nursery | None = None
        self._ended = trio.Event()
        self._warned_not_running = False

    # Sending

    def outgoing(self, audience: Audience, frame: Frame, exclude: UUID | None) -> OutgoingPublication:
        """A publication for the other nodes, whose `post` is to be called when it gets its place in the order."""
        if exclude is not None and node_of(exclude) == self.node_id:
            exclude = None  # no other node has this connection
        assert isinstance(frame.payload, str), "an envelope is text"
        message = encode_publication(self.node_id, frame.payload, exclude)
        return OutgoingPublication(self, channel_of(audience), message)

    def post(self, channel: str, message: bytes) -> None:
        """Queue a message to the other nodes. Does not wait.

        Raises:
            BrokerUnavailableError: the broker's queue is full.
        """
        if self.reaches_others():
            self._broker.post(channel, message)

    async def send(self, channel: str, request: Request, timeout: float = RESPONSE_SECONDS) -> Responses:
        """Send a request to the other nodes subscribed to a channel. While the broker does not run there are none.

        Raises:
            BrokerUnavailableError: the request could not be sent.
        """
        return await self.requests.send(channel, request, timeout) if self.reaches_others() else Responses()

    def close_user(self, user_id: UserId, code: int, reason: str) -> BackgroundRequest | None:
        """Begin to close a user's sockets on the other nodes. The responses' total is how many there are."""
        request = CloseUser(ref=self.requests.new_ref(), code=code, reason=reason)
        return self._start(lambda: self.send(user_channel(user_id), request))

    def revoke(self, user_id: UserId, reason: str) -> BackgroundRequest | None:
        """Begin to revoke a user on the other nodes. The responses' total is how many sockets they close."""
        return self._start(lambda: self._revoke(user_key(user_id), reason))

    async def _revoke(self, user: str, reason: str) -> Responses:
        responses = await self.send(ALL, RevokeUser(ref=self.requests.new_ref(), user=user, reason=reason))
        silent = await self._broker.nodes() - responses.by_node.keys() - {self.node_id}
        if silent:
            msg = f"{len(silent)} nodes did not confirm the revocation; one that has just died is still counted"
            raise BrokerUnavailableError(msg)
        return responses

    def _start(self, send: Callable[[], Awaitable[Responses]]) -> BackgroundRequest | None:
        """Start a request in this cluster's own nursery; `None` if the broker does not run."""
        if not self.reaches_others() or self._nursery is None:
            return None
        request = BackgroundRequest()
        self._nursery.start_soon(request.run, send)
        return request

    async def close_connection(self, connection_id: UUID, code: int, reason: str) -> int:
        """Close a connection of another node. Returns 1, or 0 if there is none or its node does not respond in time.

        Raises:
            BrokerUnavailableError: the request could not be sent.
        """
        node = node_of(connection_id)
        if node is None or node == self.node_id:
            return 0
        ref = self.requests.new_ref()
        request = CloseConnection(ref=ref, connection_id=connection_id, code=code, reason=reason)
        return (await self.send(node_channel(node), request)).total

    async def request(self, connection_id: UUID, envelope: WSEnvelope, timeout: float) -> WSEnvelope:
        """Send a request to a client of another node. Returns and raises as `WebSocketHub.request`."""
        check_timeout(timeout)
        text = envelope.encode()
        node = node_of(connection_id)
        if node is None or node == self.node_id:
            raise UnknownConnectionError(f"there is no connection {connection_id}")
        seconds = None if timeout == math.inf else timeout
        request = RequestClient(ref=self.requests.new_ref(), connection_id=connection_id, text=text, timeout=seconds)
        responses: Responses | None = None
        try:
            responses = await self.send(node_channel(node), request, timeout)
        finally:
            if responses is None or node not in responses.by_node:
                with suppress(BrokerUnavailableError):  # then its own timeout ends it, or the end of the connection
                    self._broker.post(node_channel(node), encode_control(self.node_id, CancelRequest(ref=request.ref)))
        for part in responses.by_node.get(node, ()):
            if part.outcome is not None:
                return part.outcome.unwrap()
        if responses.missing == 0:
            raise UnknownConnectionError(f"there is no connection {connection_id}")
        raise no_reply(envelope.type, timeout)

    # Subscribing

    @asynccontextmanager
    async def expecting(self, user_id: UserId) -> AsyncIterator[None]:
        """Wait until messages from other nodes to a user arrive here. Register the user's socket inside the block."""
        with self._subscriptions.expecting(user_id) as channel:
            await self._subscribed(channel)
            yield

    async def subscribed(self, topic: str) -> None:
        """Wait until other nodes' publications to a topic arrive here. If that takes too long, a gap follows."""
        await self._subscribed(topic_channel(topic))

    async def _subscribed(self, channel: str) -> None:
        if self._nursery is not None:
            await self._pending_subscriptions.wait(channel)

    def joined(self, user_id: UserId) -> None:
        """A user's socket was registered here: check the limit over all nodes."""
        if self._nursery is not None:
            self._limit.check([user_id])

    # Receiving

    async def deliver(self, channel: str, message: bytes) -> None:
        """Handle one message from the broker, whatever its content."""
        if message.startswith(self._own_publications):
            return  # it was delivered here before it was posted
        try:
            origin, content = decode(message)
        except UnreadableError as error:
            self._unreadable_log.warning("a message of another node cannot be read", str(error))
            return
        await self._gaps.flush()
        audiences = self._subscriptions.audiences
        if not isinstance(content, Publication):
            self._handle_control(origin, content, audiences.get(channel))
        elif channel in audiences:  # else its last local member has left
            await self._fan_out.deliver(audiences[channel], Frame(content.text), content.exclude)

    def _handle_control(self, origin: str, content: Control, audience: Audience) -> None:
        if isinstance(content, Response):
            self.requests.receive(origin, content)
        elif isinstance(content, CancelRequest):
            self._responder.cancel(origin, content.ref)
        elif origin == self.node_id:
            self.requests.receive_own(content.ref)
        else:
            self._responder.respond(origin, content, audience)

    def gap(self, channels: frozenset[str]) -> None:
        """Messages may have been missed: notify the sockets, and check again who is connected to other nodes."""
        self._pending_subscriptions.discard(channels)
        subscribed = self._subscriptions.audiences
        audiences = [subscribed[channel] for channel in channels if channel in subscribed]
        if audiences:
            self._gaps.add(audiences)
        if node_channel(self.node_id) in channels:
            self._limit.check(self._registry.users())
        else:
            self._limit.check(audience[0] for audience in audiences if isinstance(audience, tuple))

    # Running

    def reaches_others(self) -> bool:
        """Whether the broker runs. If not, that is logged once."""
        if self._nursery is not None:
            return True
        if not self._warned_not_running:
            self._warned_not_running = True
            log.warning("the hub's broker does not run, so other nodes are not reached: it runs in the app's lifespan")
        return False

    @property
    def ready(self) -> bool:
        """Whether the other nodes can be reached at the moment."""
        return self._nursery is not None and self._broker.statistics().ready

    def statistics(self) -> BrokerStatistics:
        """A snapshot of the broker's counters."""
        return self._broker.statistics()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the broker and the tasks around it until `stop`. A second call meanwhile returns at once.

        Raises:
            ConfigurationError: the broker cannot work.
            UsageError: it ran before and has ended.
        """
        if self._nursery is not None:
            task_status.started()
            return
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._ended = trio.Event()
                self._limit.check(self._registry.users())
                for task in (self._gaps.run, self._pending_subscriptions.run, self._limit.run, self._responder.run):
                    nursery.start_soon(task)
                try:
                    await self._broker.run(self, task_status=task_status)
                except Exception as error:
                    failure = error  # raised or logged below, outside the nursery, which would wrap it in a group
                nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._ended.set()
        if isinstance(failure, UsageError):
            raise failure
        if failure is not None:
            # Raised, it would end the app's lifespan while the server goes on.
            log.error("the hub's broker has failed: other nodes are not reached any more", exc_info=failure)

    async def connected(self, seconds: float) -> None:
        """Wait until messages from other nodes arrive here, at most this long."""
        with trio.move_on_after(seconds):
            await self._broker.subscribed(ALL)

    async def stop(self) -> None:
        """Cancel `run` and wait until it has ended. Idempotent."""
        if self._nursery is not None:
            self._warned_not_running = True
            self._nursery.cancel_scope.cancel()
            await self._ended.wait()
