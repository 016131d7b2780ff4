"""What is connected to all nodes together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from quart_wshub.cluster.channels import ALL, parse_user_key, topic_channel
from quart_wshub.cluster.inquiries import ANSWER_SECONDS, Answers
from quart_wshub.cluster.wire import CountConnections, CountTopic, ListUsers

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_wshub.auth.identity import UserId
    from quart_wshub.cluster.cluster import Cluster
    from quart_wshub.cluster.wire import Question
    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.registry import Registry

__all__ = ["ClusterAnswer", "ClusterView"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClusterAnswer(Generic[T]):
    """What the nodes said, each about itself, within a second or two of each other.

    Attributes:
        value: of all nodes that answered, this one included.
        missing: nodes that were asked and did not answer in time: `value` is without theirs. `None` where the broker
            cannot tell how many were asked.
    """

    value: T
    missing: int | None

    @property
    def complete(self) -> bool:
        """Whether every node answered, for certain."""
        return self.missing == 0


class ClusterView:
    """Questions to all nodes of the hub, asked afresh each time: a node that died is not counted any more.

    Every method takes a `timeout` in seconds for the answers. Without a broker, or where it does not run, this node is
    all there is.
    """

    def __init__(self, registry: Registry[Session], cluster: Cluster | None) -> None:
        self._registry = registry
        self._cluster = cluster

    async def online_users(self, *, timeout: float = ANSWER_SECONDS) -> ClusterAnswer[frozenset[UserId]]:
        """The users with at least one open socket on any node.

        Raises:
            BrokerUnavailableError: the other nodes cannot be asked at the moment.
        """
        answers = await self._ask(ALL, lambda ref: ListUsers(ref=ref), timeout)
        elsewhere = {parse_user_key(key) for parts in answers.by_node.values() for part in parts for key in part.users}
        return ClusterAnswer(frozenset(elsewhere.union(self._registry.users())), answers.missing)

    async def connection_count(self, *, timeout: float = ANSWER_SECONDS) -> ClusterAnswer[int]:
        """Open sockets on all nodes.

        Raises:
            BrokerUnavailableError: the other nodes cannot be asked at the moment.
        """
        answers = await self._ask(ALL, lambda ref: CountConnections(ref=ref), timeout)
        return ClusterAnswer(answers.total + len(self._registry), answers.missing)

    async def topic_count(self, topic: str, *, timeout: float = ANSWER_SECONDS) -> ClusterAnswer[int]:
        """Subscribers of a topic on all nodes.

        Raises:
            BrokerUnavailableError: the other nodes cannot be asked at the moment.
        """
        answers = await self._ask(topic_channel(topic), lambda ref: CountTopic(ref=ref), timeout)
        return ClusterAnswer(answers.total + len(self._registry.of_topic(topic)), answers.missing)

    async def _ask(self, channel: str, question: Callable[[int], Question], timeout: float) -> Answers:
        await trio.lowlevel.checkpoint()
        return Answers({}, 0) if self._cluster is None else await self._cluster.ask(channel, question, timeout)
