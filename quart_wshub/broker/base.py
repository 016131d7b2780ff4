"""The broker seam: what moves messages between the nodes of one hub.

A broker knows channels and bytes. What is in them, and which channels there are, is the hub's affair; the hub never
knows which broker it has. One contract suite runs on every implementation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import trio

__all__ = ["Broker", "BrokerListener", "BrokerStatistics", "Position", "Receipt"]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a channel's history: the `offset` counts up within one `epoch`, the life of that history."""

    offset: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the backend said of one message.

    Attributes:
        nodes: how many nodes it was handed to, the publisher's own included where that listens too; `None` where the
            backend cannot tell.
        position: where it stands in the channel's history; `None` where none is kept.
    """

    nodes: int | None = None
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class BrokerStatistics:
    """A snapshot of one node's broker.

    Attributes:
        ready: whether messages go out and come in at the moment.
        channels: channels this node listens to.
        waiting: messages that wait to be sent.
        published, received: messages so far.
        lost: messages that were taken for sending, and may not have arrived anywhere.
        gaps: times at which messages for this node may have been missed.
        reconnects: times the backend was lost and found again.
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
    """The hub's end of the seam."""

    async def deliver(self, channel: str, message: bytes) -> None:
        """Take one message. Awaited, one at a time, so order is kept and a slow hub slows the broker down.

        Never raises for what is in the message. A channel that was ignored meanwhile may still come up.
        """

    def gap(self, channels: frozenset[str]) -> None:
        """Messages in these channels may have been missed: tell those who listen. Synchronous."""


class Broker(Protocol):
    """Moves messages between nodes.

    Guarantees, of every implementation:
      - What one node publishes to one channel arrives in that order, at most once, on every node that listens.
      - A node gets its own messages too, where it listens; the hub tells them apart.
      - Nothing hangs: while the backend is away every call returns or raises within `timeout` seconds, and the broker
        keeps trying, with jittered backoff that is reset by success.
      - Nothing is lost in silence: after a node may have missed messages of a channel it listens to, through its own
        fault, the backend's or the publisher's, its listener is told with `gap`; `lost` counts what the publisher
        knows of.
      - What is wanted outlives the backend: channels are listened to again after every reconnect.
      - Nothing leaks, neither connections nor tasks nor memory: what waits to be sent is bounded.
    """

    @property
    def node_id(self) -> str:
        """This node's name among the others: 12 hexadecimal digits, new with every process."""

    async def run(self, listener: BrokerListener, *, task_status: trio.TaskStatus[None] = ...) -> None:
        """Serve until cancelled; run it once. Reports as started at once, also while the backend is away.

        Never ends by itself and never raises but for being cancelled (or `ConfigurationError`, before it starts).
        Cancelled, it sends what waits within a second, leaves the backend in order, and fails the calls that wait.
        """

    def post(self, channel: str, message: bytes) -> None:
        """Take a message for sending, without waiting; in order with what `publish` sends.

        Raises:
            BrokerUnavailableError: as much as may wait is waiting, or the broker does not run.
        """

    async def publish(self, channel: str, message: bytes) -> Receipt:
        """Send a message and wait until the backend has it.

        Cancelled, the message may go out or not.

        Raises:
            BrokerUnavailableError: the backend did not confirm it in time; it may have arrived all the same.
        """

    def subscribe(self, channel: str) -> None:
        """Want this channel's messages from now on. Idempotent; the broker sees to it as soon as it can."""

    def unsubscribe(self, channel: str) -> None:
        """Want them no more. Idempotent. What came before may still be delivered."""

    async def subscribed(self, channel: str) -> bool:
        """Wait until the backend has confirmed `listen`: what is published from then on arrives.

        Returns `False` where that took longer than `timeout`; `gap` follows once it is confirmed. `False` at once
        for a channel that nobody listens to.
        """

    async def nodes(self) -> frozenset[str]:
        """The `node_id` of every node that runs; one that died without a word is in it for some seconds more.

        Raises:
            BrokerUnavailableError: the backend does not answer in time.
        """

    def statistics(self) -> BrokerStatistics:
        """How it goes."""
