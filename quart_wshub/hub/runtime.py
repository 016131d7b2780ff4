"""`HubRuntime`: everything a hub owns. Apps use it through `WebSocketHub`, the library through `runtime_of`."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING
from uuid import uuid4

from quart_wshub.auth.revocations import Revocations
from quart_wshub.cluster.cluster import Cluster
from quart_wshub.cluster.node_ids import make_connection_id
from quart_wshub.delivery.fan_out import FanOut
from quart_wshub.delivery.registry import Registry
from quart_wshub.hub.drain import Drain
from quart_wshub.hub.slots import Slots
from quart_wshub.hub.statistics import HubStatistics
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.errors import BrokerUnavailableError
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from quart_wshub.auth.identity import UserId
    from quart_wshub.broker.base import Broker
    from quart_wshub.cluster.node_requests import BackgroundRequest
    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.audience import Audience
    from quart_wshub.protocol.envelope import WSEnvelope

__all__ = ["HubRuntime"]


class HubRuntime:
    """The parts of one hub, and the operations that involve several of them.

    Attributes:
        registry: who is connected.
        fan_out: the deliveries, in their order.
        revocations: users revoked while a handshake is under way.
        slots: what connections and handshakes take up of the node.
        drain: ends all connections.
        cluster: the connection to the other nodes; `None` without a broker.
        closed: how many sessions have begun to close, by code.
    """

    def __init__(self, max_per_user: int, broker: Broker | None) -> None:
        self._max_per_user = max_per_user
        self.registry: Registry[Session] = Registry()
        self.fan_out: FanOut = FanOut(self.registry)
        self.revocations: Revocations = Revocations()
        self.slots: Slots = Slots()
        self.drain: Drain = Drain(self.registry, self.slots)
        self.cluster: Cluster | None = None
        if broker is not None:
            self.cluster = Cluster(broker, self.registry, self.fan_out, self.revocations, max_per_user)
        self._accepted = self._publications = 0
        self.closed: Counter[int] = Counter()

    # Delivery

    async def deliver(self, audience: Audience, envelope: WSEnvelope, exclude: UUID | None = None) -> int:
        """Deliver to the sockets of all nodes, in one order; see `WebSocketHub.broadcast`."""
        frame = Frame(envelope.encode())
        outgoing = None if self.cluster is None else self.cluster.outgoing(audience, frame, exclude)
        accepted = await self.fan_out.deliver(audience, frame, exclude, None if outgoing is None else outgoing.post)
        self._publications += 1
        if outgoing is not None and outgoing.failure is not None:
            outgoing.failure.delivered = accepted
            raise outgoing.failure
        return accepted

    # Connections

    def new_connection_id(self) -> UUID:
        """An id for a connection of this node. With a broker it contains the node's id."""
        return uuid4() if self.cluster is None else make_connection_id(self.cluster.node_id)

    def expecting(self, user_id: UserId) -> AbstractAsyncContextManager[None]:
        """Register a user's session inside this block, in which messages from other nodes already arrive."""
        return nullcontext() if self.cluster is None else self.cluster.expecting(user_id)

    def register(self, session: Session) -> None:
        """Register a session, and evict the user's oldest if there are too many. Does not wait."""
        self.fan_out.seal()
        self.registry.add(session)
        self._accepted += 1
        for oldest in list(self.registry.of_user(session.user_id))[: -self._max_per_user]:
            oldest.close(CloseCode.TOO_MANY_CONNECTIONS)
        if self.cluster is not None:
            self.cluster.joined(session.user_id)
        if self.drain.has_begun:
            self.drain.close(session)

    async def disconnect(self, connection_id: UUID, code: int, reason: str) -> int:
        """Close one connection on any node; see `WebSocketHub.disconnect`."""
        session = self.registry.get(connection_id)
        if session is not None:
            return int(session.close(code, reason))
        return 0 if self.cluster is None else await self.cluster.close_connection(connection_id, code, reason)

    async def disconnect_user(self, user_id: UserId, code: int, reason: str) -> int:
        """Close a user's connections on all nodes; see `WebSocketHub.disconnect`."""
        # The other nodes first: closing the caller's own connection cancels it.
        elsewhere = None if self.cluster is None else self.cluster.close_user(user_id, code, reason)
        return await self._close_all(user_id, code, reason, elsewhere)

    async def revoke(self, user_id: UserId, reason: str) -> int:
        """Close a user's connections and refuse handshakes under way on all nodes; see `WebSocketHub.revoke`."""
        self.revocations.revoke(user_id)
        elsewhere = None if self.cluster is None else self.cluster.revoke(user_id, reason)
        return await self._close_all(user_id, CloseCode.UNAUTHORIZED, reason, elsewhere)

    async def _close_all(self, user_id: UserId, code: int, reason: str, elsewhere: BackgroundRequest | None) -> int:
        closed = sum(session.close(code, reason) for session in list(self.registry.of_user(user_id)))
        if elsewhere is None:
            return closed
        try:
            return closed + (await elsewhere.responses()).total
        except BrokerUnavailableError as error:
            error.delivered = closed
            raise

    # Introspection

    @property
    def ready(self) -> bool:
        """See `WebSocketHub.ready`."""
        return not self.drain.has_begun and (self.cluster is None or self.cluster.ready)

    def statistics(self) -> HubStatistics:
        """A snapshot of this node's counters."""
        return HubStatistics(
            connections=len(self.registry),
            users=self.registry.user_count,
            topics=self.registry.topic_count,
            accepted=self._accepted,
            publications=self._publications,
            deliveries=self.fan_out.deliveries,
            closed=dict(self.closed),
            broker=None if self.cluster is None else self.cluster.statistics(),
        )
