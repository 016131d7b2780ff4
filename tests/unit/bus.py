"""Brokers on one bus in memory, whose faults a test controls; and hubs on them."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from quart_wshub import BrokerUnavailableError, WebSocketHub
from quart_wshub.broker.base import BrokerStatistics, Receipt
from quart_wshub.hub.websocket_hub import runtime_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_wshub.broker.base import Broker, BrokerListener
    from quart_wshub.cluster.cluster import Cluster

__all__ = ["Bus", "BusBroker", "cluster_of", "hubs_on"]

TIMEOUT = 5.0


class Bus:
    """What connects the brokers.

    Attributes:
        down: the backend is away.
        tells_nodes: receipts say how many got a message.
        by_hand: nothing arrives, and no channel is confirmed, before the test says so.
        also_alive: nodes that `nodes` names besides those that run.
    """

    def __init__(self, *, by_hand: bool = False) -> None:
        self.brokers: list[BusBroker] = []
        self.down = False
        self.tells_nodes = True
        self.by_hand = by_hand
        self.also_alive: frozenset[str] = frozenset()

    def broker(self) -> BusBroker:
        """One more node."""
        broker = BusBroker(self, f"{len(self.brokers) + 1:012x}")
        self.brokers.append(broker)
        return broker

    def send(self, channel: str, message: bytes) -> int:
        """Hand a message to every subscribed node; returns how many."""
        listeners = [broker for broker in self.brokers if channel in broker.confirmed and broker.connected]
        for broker in listeners:
            broker.arrive(channel, message)
        return len(listeners)


class BusBroker:
    """A `Broker`.

    Attributes:
        wanted, confirmed: channels.
        calls: every `subscribe` and `unsubscribe` that changed something, in order.
        sent: every message that was posted or published.
        connected: `False`: nothing comes in any more, as after the death of the node.
        deaf: what comes in stays where it is, as with a node that hangs.
    """

    def __init__(self, bus: Bus, node_id: str) -> None:
        self.bus = bus
        self._node_id = node_id
        self.wanted: set[str] = set()
        self.confirmed: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.sent: list[tuple[str, bytes]] = []
        self.connected = False
        self.deaf = False
        self.waiting: deque[tuple[str, bytes]] = deque()
        self.listener: BrokerListener | None = None
        self._news = trio.Event()
        self._confirmation = trio.Event()
        self._let_in = 0
        self._gaps = 0

    @property
    def node_id(self) -> str:
        return self._node_id

    async def run(
        self, listener: BrokerListener, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self.listener = listener
        self.connected = True
        task_status.started()
        try:
            while True:
                while self._may_deliver():
                    await listener.deliver(*self.waiting.popleft())
                self._news = trio.Event()
                if not self._may_deliver():
                    await self._news.wait()
        finally:
            self.connected = False
            self.listener = None

    def _may_deliver(self) -> bool:
        if self.deaf or not self.waiting:
            return False
        if self.bus.by_hand:
            if not self._let_in:
                return False
            self._let_in -= 1
        return True

    def let_in(self, count: int = 1) -> None:
        """By hand: deliver so many of what waits."""
        self._let_in = min(len(self.waiting), self._let_in + count)
        self._news.set()

    def wake(self) -> None:
        """Look again whether something may be delivered."""
        self._news.set()

    def arrive(self, channel: str, message: bytes) -> None:
        self.waiting.append((channel, message))
        self._news.set()

    def post(self, channel: str, message: bytes) -> None:
        self._check()
        self.sent.append((channel, message))
        self.bus.send(channel, message)

    async def publish(self, channel: str, message: bytes) -> Receipt:
        await trio.lowlevel.checkpoint()
        self._check()
        self.sent.append((channel, message))
        nodes = self.bus.send(channel, message)
        return Receipt(nodes=nodes if self.bus.tells_nodes else None)

    def _check(self) -> None:
        if self.bus.down or not self.connected:
            raise BrokerUnavailableError("the bus is down")

    def subscribe(self, channel: str) -> None:
        assert channel.encode(), "a channel's name can be sent"
        if channel not in self.wanted:
            self.calls.append(("subscribe", channel))
            self.wanted.add(channel)
            if not self.bus.by_hand and not self.bus.down:
                self.confirmed.add(channel)

    def unsubscribe(self, channel: str) -> None:
        if channel in self.wanted:
            self.calls.append(("unsubscribe", channel))
            self.wanted.discard(channel)
            self.confirmed.discard(channel)
            self._wake_those_who_wait()

    def confirm(self) -> None:
        """Confirm all that is wanted."""
        self.confirmed |= self.wanted
        self._wake_those_who_wait()

    def _wake_those_who_wait(self) -> None:
        self._confirmation.set()
        self._confirmation = trio.Event()

    async def subscribed(self, channel: str) -> bool:
        with trio.move_on_after(TIMEOUT):
            while channel in self.wanted and channel not in self.confirmed:
                await self._confirmation.wait()
            await trio.lowlevel.checkpoint()
        return channel in self.confirmed

    async def nodes(self) -> frozenset[str]:
        await trio.lowlevel.checkpoint()
        self._check()
        return self.bus.also_alive | {broker.node_id for broker in self.bus.brokers if broker.connected}

    def lose(self, *channels: str) -> None:
        """Messages in these channels were missed; in all, if none is named."""
        self._gaps += 1
        if self.listener is not None:
            self.listener.gap(frozenset(channels or self.wanted))

    def statistics(self) -> BrokerStatistics:
        return BrokerStatistics(
            ready=self.connected and not self.bus.down,
            channels=len(self.wanted),
            waiting=0,
            published=len(self.sent),
            received=0,
            lost=0,
            gaps=self._gaps,
            reconnects=0,
        )


def cluster_of(hub: WebSocketHub) -> Cluster:
    """What connects a hub to its broker."""
    cluster = runtime_of(hub).cluster
    assert cluster is not None
    return cluster


@asynccontextmanager
async def hubs_on(*brokers: Broker, max_per_user: int = 5) -> AsyncIterator[list[WebSocketHub]]:
    """A hub on each of these brokers, which run inside the block."""
    hubs = [WebSocketHub(max_per_user=max_per_user, broker=broker) for broker in brokers]
    async with trio.open_nursery() as nursery:
        for hub in hubs:
            await nursery.start(cluster_of(hub).run)
        yield hubs
        for hub in hubs:
            await cluster_of(hub).stop()
