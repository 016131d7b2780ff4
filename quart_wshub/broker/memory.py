"""The broker of one process: its hubs become one hub. Also the contract at its simplest, for tests.

Nothing fails here but a hub that is too slow: what it would have to catch up with is bounded, as with a real backend.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from typing import TYPE_CHECKING

import trio

from quart_wshub.broker.base import BrokerStatistics, Receipt
from quart_wshub.protocol.errors import BrokerUnavailableError, ConfigurationError, UsageError

if TYPE_CHECKING:
    from quart_wshub.broker.base import BrokerListener

__all__ = ["MemoryBroker", "MemoryExchange"]

log: logging.Logger = logging.getLogger("quart_wshub")


class MemoryExchange:
    """What the brokers of one process have in common."""

    def __init__(self) -> None:
        self._brokers: dict[str, MemoryBroker] = {}

    @property
    def nodes(self) -> frozenset[str]:
        """The `node_id` of every broker that runs."""
        return frozenset(self._brokers)

    @property
    def brokers(self) -> tuple[MemoryBroker, ...]:
        """Those that run."""
        return tuple(self._brokers.values())

    def join(self, broker: MemoryBroker) -> None:
        """Have this broker's messages from now on."""
        self._brokers[broker.node_id] = broker

    def leave(self, broker: MemoryBroker) -> None:
        """Have them no more."""
        self._brokers.pop(broker.node_id, None)

    def send(self, channel: str, message: bytes) -> int:
        """Hand a message to everyone who listens; returns how many that were. Synchronous, hence in order."""
        return sum([broker.take(channel, message) for broker in self._brokers.values()])


class MemoryBroker:
    """One node of several in one process.

    Args:
        exchange: shared with the other brokers; one of its own if not given.
        max_waiting: how many messages wait for a slow hub. When it falls behind further, it misses some, and is told.
    """

    def __init__(self, exchange: MemoryExchange | None = None, *, max_waiting: int = 50_000) -> None:
        if not isinstance(max_waiting, int) or isinstance(max_waiting, bool) or max_waiting < 1:
            raise ConfigurationError(f"MemoryBroker: max_waiting is {max_waiting!r}; give it a positive whole number")
        self._exchange = MemoryExchange() if exchange is None else exchange
        self._max_waiting = max_waiting
        self._node_id = secrets.token_hex(6)
        self._listener: BrokerListener | None = None
        self._running = False
        self._wanted: set[str] = set()
        self._incoming: deque[tuple[str, bytes]] = deque()
        self._missed: set[str] = set()
        self._arrived = trio.Event()
        self._published = 0
        self._received = 0
        self._gaps = 0

    def __repr__(self) -> str:
        return f"MemoryBroker(node_id={self._node_id!r})"

    @property
    def node_id(self) -> str:
        """This node's name among the others."""
        return self._node_id

    async def run(
        self, listener: BrokerListener, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; see `Broker.run`.

        Raises:
            UsageError: it was run before.
        """
        if self._listener is not None:
            raise UsageError("this MemoryBroker was run before; make a new one")
        self._listener = listener
        self._exchange.join(self)
        self._running = True
        try:
            task_status.started()
            while True:
                await self._arrived.wait()
                self._arrived = trio.Event()
                await self._hand_over(listener)
        finally:
            self._running = False
            self._exchange.leave(self)
            self._incoming.clear()

    async def _hand_over(self, listener: BrokerListener) -> None:
        """Hand over what is there by now. A gap is told as soon as the hub has caught up by half."""
        for _ in range(len(self._incoming)):
            channel, message = self._incoming.popleft()
            self._received += 1
            try:
                await listener.deliver(channel, message)
            except Exception:
                log.exception("broker: the hub failed to take a message, which is lost")
            if self._missed and len(self._incoming) <= self._max_waiting // 2:
                self._tell_gap(listener)
        if self._missed:
            self._tell_gap(listener)

    def _tell_gap(self, listener: BrokerListener) -> None:
        channels, self._missed = frozenset(self._missed), set()
        if channels := channels & self._wanted:
            self._gaps += 1
            try:
                listener.gap(channels)
            except Exception:
                log.exception("broker: the hub failed to take a gap")

    def take(self, channel: str, message: bytes) -> bool:
        """For the exchange: have a message, if it is wanted. Returns whether it was."""
        if channel not in self._wanted:
            return False
        if len(self._incoming) < self._max_waiting:
            self._incoming.append((channel, message))
        else:
            self._missed.add(channel)
        self._arrived.set()
        return True

    def miss(self) -> None:
        """For the exchange: have the hub told that it may have missed something in all its channels."""
        self._missed |= self._wanted
        self._arrived.set()

    def post(self, channel: str, message: bytes) -> None:
        """Hand a message to everyone who listens.

        Raises:
            BrokerUnavailableError: the broker does not run.
        """
        self._send(channel, message)

    async def publish(self, channel: str, message: bytes) -> Receipt:
        """The same, with a count of who it was handed to."""
        await trio.lowlevel.checkpoint()
        return Receipt(nodes=self._send(channel, message))

    def _send(self, channel: str, message: bytes) -> int:
        if not self._running:
            raise BrokerUnavailableError("the broker does not run")
        taken = self._exchange.send(channel, message)
        self._published += 1
        return taken

    def subscribe(self, channel: str) -> None:
        """Want this channel's messages from now on. Idempotent, and effective at once."""
        self._wanted.add(channel)

    def unsubscribe(self, channel: str) -> None:
        """Want them no more. Idempotent."""
        self._wanted.discard(channel)

    async def subscribed(self, channel: str) -> bool:
        """Whether this channel's messages arrive."""
        await trio.lowlevel.checkpoint()
        return self._running and channel in self._wanted

    async def nodes(self) -> frozenset[str]:
        """The `node_id` of every node that runs."""
        await trio.lowlevel.checkpoint()
        return self._exchange.nodes

    def statistics(self) -> BrokerStatistics:
        """How it goes."""
        return BrokerStatistics(
            ready=self._running,
            channels=len(self._wanted),
            waiting=0,
            published=self._published,
            received=self._received,
            lost=0,
            gaps=self._gaps,
            reconnects=0,
        )
