"""`ClusterView`: what is connected to all nodes together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from quart_wshub.cluster.channels import ALL, parse_user_key, topic_channel
from quart_wshub.cluster.node_requests import RESPONSE_SECONDS, Responses
from quart_wshub.cluster.wire import CountConnections, CountTopic, ListUsers

if TYPE_CHECKING:
    from quart_wshub.auth.identity import UserId
    from quart_wshub.cluster.cluster import Cluster
    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.registry import Registry

__all__ = ["ClusterAnswer", "ClusterView"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClusterAnswer(Generic[T]):
    """The nodes' answers, each about itself, within a second or two of each other.

    Attributes:
        value: of all nodes that answered, this one included.
        missing: nodes that were asked and did not answer in time: `value` is without theirs. `None` if the broker
            cannot tell how many were asked.
    """

    value: T
    missing: int | None

    @property
    def complete(self) -> bool:
        """Whether every node is known to have answered."""
        return self.missing == 0


class ClusterView:
    """Asks all nodes of the hub, anew each time: a node that died is not counted any more.

    Every method takes a `timeout` in seconds for the answers, and raises `BrokerUnavailableError` if the other nodes
    cannot be asked at the moment. Without a broker, or while it does not run, this node is the only one.
    """

    def __init__(self, registry: Registry[Session], cluster: Cluster | None) -> None:
        self._registry = registry
        self._cluster = cluster

    async def online_users(self, *, timeout: float = RESPONSE_SECONDS) -> ClusterAnswer[frozenset[UserId]]:
        """The users with at least one open socket on any node."""
        responses = await self._ask(ALL, ListUsers, timeout)
        elsewhere = {
            parse_user_key(key) for parts in responses.by_node.values() for part in parts for key in part.users
        }
        return ClusterAnswer(frozenset(elsewhere | self._registry.users()), responses.missing)

    async def connection_count(self, *, timeout: float = RESPONSE_SECONDS) -> ClusterAnswer[int]:
        """Open sockets on all nodes."""
        responses = await self._ask(ALL, CountConnections, timeout)
        return ClusterAnswer(responses.total + len(self._registry), responses.missing)

    async def topic_count(self, topic: str, *, timeout: float = RESPONSE_SECONDS) -> ClusterAnswer[int]:
        """Subscribers of a topic on all nodes."""
        responses = await self._ask(topic_channel(topic), CountTopic, timeout)
        return ClusterAnswer(responses.total + len(self._registry.of_topic(topic)), responses.missing)

    async def _ask(
        self, channel: str, request_type: type[CountConnections | CountTopic | ListUsers], timeout: float
    ) -> Responses:
        await trio.lowlevel.checkpoint()
        if self._cluster is None:
            return Responses()
        return await self._cluster.send(channel, request_type(ref=self._cluster.requests.new_ref()), timeout)
