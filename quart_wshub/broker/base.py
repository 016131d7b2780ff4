"""The interface of brokers, which move messages between the nodes of one hub.

A broker knows channels and bytes. Which channels there are, and what the bytes mean, is the hub's business; the hub
never knows which broker it has. One contract suite runs on every implementation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import trio

__all__ = ["Broker", "BrokerListener", "BrokerStatistics", "Position", "Receipt"]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a channel's history: the `offset` counts up within one `epoch`, the lifetime of that history."""

    offset: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the backend reported about one message.

    Attributes:
        nodes: how many nodes it was sent to, including the publisher's own if it is subscribed; `None` if the backend
            cannot tell.
        position: its place in the channel's history; `None` if no history is kept.
    """

    nodes: int | None = None
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class BrokerStatistics:
    """A snapshot of one node's broker.

    Attributes:
        ready: whether messages are being sent and received at the moment.
        channels: how many channels this node is subscribed to.
        waiting: messages that wait to be sent.
        published, received: messages so far.
        lost: messages that were accepted for sending, and may not have arrived anywhere.
        gaps: how often a gap was reported to the hub.
        reconnects: how often the connection to the backend was lost and restored.
    """

    ready: bool
    channels: int
    waiting: int
    published: int
    received: int
    lost: int
    gaps: int
    reconnects: int


class BrokerListener(Protocol):
    """What a hub gives its broker to call."""

    async def deliver(self, channel: str, message: bytes) -> None:
        """Take one message. Awaited, one at a time: order is kept, and a slow hub slows the broker down.

        Never raises because of a message's content. A message may still arrive shortly after `unsubscribe`.
        """

    def gap(self, channels: frozenset[str]) -> None:
        """Messages in these channels may have been missed: tell their subscribers. Synchronous."""


class Broker(Protocol):
    """Moves messages between nodes.

    Guarantees, of every implementation:
      - Messages from one node to one channel arrive in order, and at most once, on every subscribed node.
      - A node receives its own messages too if it is subscribed; the hub tells them apart.
      - Nothing hangs: while the backend is away every call returns or raises within `timeout` seconds, and the broker
        keeps reconnecting, with jittered backoff that is reset by success.
      - Nothing is lost silently: if a node may have missed messages of a channel it is subscribed to, whether by its
        own fault, the backend's or the publisher's, its listener's `gap` is called; `lost` counts what the publisher
        knows of.
      - Subscriptions are restored after every reconnect.
      - Nothing leaks, neither connections nor tasks nor memory: what waits to be sent is bounded.
    """

    @property
    def node_id(self) -> str:
        """This node's id: 12 hexadecimal digits, new with every process."""

    async def run(self, listener: BrokerListener, *, task_status: trio.TaskStatus[None] = ...) -> None:
        """Serve until cancelled; run it once. Reports as started at once, even while the backend is away.

        Never returns, and never raises anything but `Cancelled` (or, before it starts, `ConfigurationError` or
        `UsageError`). When cancelled it sends what waits within a second, disconnects, and fails the calls that wait.
        """

    def post(self, channel: str, message: bytes) -> None:
        """Queue a message for sending, without waiting; in order with what `publish` sends.

        Raises:
            BrokerUnavailableError: the queue is full, or the broker is not running.
        """

    async def publish(self, channel: str, message: bytes) -> Receipt:
        """Send a message and wait until the backend has it.

        If cancelled, the message may or may not be sent.

        Raises:
            BrokerUnavailableError: the backend did not confirm it in time; it may have arrived all the same.
        """

    def subscribe(self, channel: str) -> None:
        """Receive this channel's messages from now on. Idempotent; the broker tells the backend as soon as it can."""

    def unsubscribe(self, channel: str) -> None:
        """Stop receiving them. Idempotent. Messages that arrived before may still be delivered."""

    async def subscribed(self, channel: str) -> bool:
        """Wait until the backend has confirmed `subscribe`: everything published from then on arrives.

        Returns `False` if that took longer than `timeout`; `gap` follows once it is confirmed. Returns `False` at once
        for a channel that this node is not subscribed to. Cancelling it changes nothing.
        """

    async def nodes(self) -> frozenset[str]:
        """The `node_id` of every running node; a crashed node stays listed for some seconds.

        Raises:
            BrokerUnavailableError: the backend does not answer in time.
        """

    def statistics(self) -> BrokerStatistics:
        """A snapshot of this node's broker counters. Cheap: it copies nothing."""
