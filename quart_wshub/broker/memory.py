"""A broker for the hubs of one process, mostly for tests. The simplest implementation of the contract.

Messages are lost only if a hub is too slow: its queue is bounded.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from quart_wshub.broker.base import BrokerStatistics, Receipt
from quart_wshub.broker.node import BrokerNode
from quart_wshub.protocol.errors import BrokerUnavailableError, ConfigurationError

if TYPE_CHECKING:
    from quart_wshub.broker.base import BrokerListener

__all__ = ["MemoryBroker", "MemoryExchange"]


class MemoryExchange:
    """Connects the brokers of one process."""

    def __init__(self) -> None:
        self._brokers: dict[str, MemoryBroker] = {}

    @property
    def nodes(self) -> frozenset[str]:
        """The `node_id` of every running broker."""
        return frozenset(self._brokers)

    @property
    def brokers(self) -> tuple[MemoryBroker, ...]:
        """The running brokers."""
        return tuple(self._brokers.values())

    def join(self, broker: MemoryBroker) -> None:
        """Connect a broker."""
        self._brokers[broker.node_id] = broker

    def leave(self, broker: MemoryBroker) -> None:
        """Disconnect it."""
        self._brokers.pop(broker.node_id, None)

    def send(self, channel: str, message: bytes) -> int:
        """Hand a message to every subscribed broker; returns how many that were. Synchronous, hence in order."""
        return sum([broker.take(channel, message) for broker in self._brokers.values()])


class MemoryBroker(BrokerNode):
    """One node of several in one process.

    Args:
        exchange: shared with the other brokers; a new one if not given.
        max_waiting: how many messages are queued for a slow hub. Further ones are lost, and a gap is reported.

    Raises:
        ConfigurationError: `max_waiting` is not a positive whole number.
    """

    def __init__(self, exchange: MemoryExchange | None = None, *, max_waiting: int = 50_000) -> None:
        if not isinstance(max_waiting, int) or isinstance(max_waiting, bool) or max_waiting < 1:
            raise ConfigurationError(f"MemoryBroker: max_waiting is {max_waiting!r}; give it a positive whole number")
        super().__init__()
        self._exchange = MemoryExchange() if exchange is None else exchange
        self._max_waiting = max_waiting
        self._channels: set[str] = set()
        self._incoming: deque[tuple[str, bytes]] = deque()
        self._missed: set[str] = set()
        self._arrived = trio.Event()
        self._published = 0

    def __repr__(self) -> str:
        return f"MemoryBroker(node_id={self._node_id!r})"

    async def run(
        self, listener: BrokerListener, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; see `Broker.run`.

        Raises:
            UsageError: it was run before.
        """
        self._start(listener)
        self._exchange.join(self)
        try:
            task_status.started()
            while True:
                await self._arrived.wait()
                self._arrived = trio.Event()
                await self._deliver_waiting()
        finally:
            self._running = False
            self._exchange.leave(self)
            self._incoming.clear()

    async def _deliver_waiting(self) -> None:
        """Deliver what is queued now. A gap is reported as soon as half of the queue is free."""
        for _ in range(len(self._incoming)):
            await self._deliver(*self._incoming.popleft())
            if len(self._incoming) <= self._max_waiting // 2:
                self._report_missed()
        self._report_missed()

    def _report_missed(self) -> None:
        if self._missed:
            missed, self._missed = self._missed, set()
            self._report_gap(frozenset(missed & self._channels))

    def take(self, channel: str, message: bytes) -> bool:
        """Called by the exchange: queue a message if this node is subscribed. Returns whether it is."""
        if channel not in self._channels:
            return False
        if len(self._incoming) < self._max_waiting:
            self._incoming.append((channel, message))
        else:
            self._missed.add(channel)
        self._arrived.set()
        return True

    def miss(self) -> None:
        """Called by the exchange: report a gap in all channels to the hub."""
        self._missed |= self._channels
        self._arrived.set()

    def post(self, channel: str, message: bytes) -> None:
        """Hand a message to every subscribed node.

        Raises:
            BrokerUnavailableError: the broker is not running.
        """
        self._send(channel, message)

    async def publish(self, channel: str, message: bytes) -> Receipt:
        """Hand a message to every subscribed node, and count them.

        Raises:
            BrokerUnavailableError: the broker is not running.
        """
        await trio.lowlevel.checkpoint()
        return Receipt(nodes=self._send(channel, message))

    def _send(self, channel: str, message: bytes) -> int:
        if not self._running:
            raise BrokerUnavailableError("the broker is not running")
        nodes = self._exchange.send(channel, message)
        self._published += 1
        return nodes

    def subscribe(self, channel: str) -> None:
        """Receive this channel's messages from now on. Idempotent, and effective at once."""
        self._channels.add(channel)

    def unsubscribe(self, channel: str) -> None:
        """Stop receiving them. Idempotent."""
        self._channels.discard(channel)

    async def subscribed(self, channel: str) -> bool:
        """Whether this channel is subscribed to and the broker is running."""
        await trio.lowlevel.checkpoint()
        return self._running and channel in self._channels

    async def nodes(self) -> frozenset[str]:
        """The `node_id` of every running node."""
        await trio.lowlevel.checkpoint()
        return self._exchange.nodes

    def statistics(self) -> BrokerStatistics:
        """A snapshot of this node's broker counters."""
        return BrokerStatistics(
            ready=self._running,
            channels=len(self._channels),
            waiting=0,
            published=self._published,
            received=self._received,
            lost=0,
            gaps=self._gaps,
            reconnects=0,
        )
