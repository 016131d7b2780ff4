"""`max_per_user` over all nodes, by messages only.

After a socket is registered, its node, which is subscribed to the user's channel by then, asks all subscribed nodes
for the user's sockets and evicts the oldest beyond the limit, wherever they are. A node with an incomplete list evicts
too few, never a wrong one: a socket that is not among the newest of some is not among the newest of all.

Of several sockets that connect at the same time on several nodes, take the one whose request is published last: by then
all are registered, and all their nodes are subscribed. So the responses to that request list them all, and every
excess socket is evicted.

Age is compared by the clocks of the nodes, and by connection id where these are equal.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import trio

from quart_wshub.cluster.channels import node_channel, user_channel
from quart_wshub.cluster.node_requests import RESPONSE_SECONDS
from quart_wshub.cluster.wire import NO_RESPONSE, CloseConnection, ListSockets, encode_control
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from quart_wshub.auth.identity import UserId
    from quart_wshub.broker.base import Broker
    from quart_wshub.cluster.node_requests import NodeRequests, Responses
    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.registry import Registry

__all__ = ["ClusterLimit", "Socket", "oldest_beyond", "sockets_of"]

log: logging.Logger = logging.getLogger("quart_wshub")

MAX_CONCURRENT_CHECKS = 256
"""Users that are checked at the same time."""

RETRY_SECONDS = 1.0
"""The pause before a request that could not be sent, or was not answered by all nodes, is repeated."""

MAX_INCOMPLETE = 3
"""After so many incomplete responses the silent nodes are ignored."""


class Socket(NamedTuple):
    """A user's socket on some node. The greater is the newer: `connected_at` in microseconds since 1970."""

    connected_at: int
    connection_id: UUID
    node: str


def oldest_beyond(sockets: Iterable[Socket], limit: int) -> list[Socket]:
    """The oldest of these sockets that exceed the limit."""
    return sorted(set(sockets))[:-limit]


def sockets_of(registry: Registry[Session], user_id: UserId) -> tuple[tuple[int, UUID], ...]:
    """A user's sockets on this node, as a `Response` lists them."""
    return tuple(
        (round(connection.connected_at.timestamp() * 1_000_000), connection.connection_id)
        for connection in registry.of_user(user_id)
    )


class ClusterLimit:
    """Evicts a user's oldest sockets when there are too many on all nodes together."""

    def __init__(self, broker: Broker, requests: NodeRequests, registry: Registry[Session], max_per_user: int) -> None:
        self._broker = broker
        self._requests = requests
        self._registry = registry
        self._max_per_user = max_per_user
        self._due: dict[UserId, None] = {}
        self._added = trio.Event()
        self._capacity = trio.Semaphore(MAX_CONCURRENT_CHECKS)

    def check(self, users: Iterable[UserId]) -> None:
        """Check these users soon. Does not wait."""
        self._due.update(dict.fromkeys(users))
        if self._due:
            self._added.set()

    async def run(self) -> None:
        """Carry out the checks."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._added.wait()
                await self._capacity.acquire()
                nursery.start_soon(self._enforce, self._next())

    def _next(self) -> UserId:
        user_id = next(iter(self._due))
        del self._due[user_id]
        if not self._due:
            self._added = trio.Event()
        return user_id

    async def _enforce(self, user_id: UserId) -> None:
        incomplete = 0
        try:
            while self._registry.of_user(user_id) and incomplete < MAX_INCOMPLETE:
                responses = await self._list_sockets(user_id)
                if responses is not None:
                    self._evict(user_id, responses)
                    if not responses.missing:
                        return
                    incomplete += 1
                await trio.sleep(RETRY_SECONDS)
        finally:
            self._capacity.release()

    async def _list_sockets(self, user_id: UserId) -> Responses | None:
        """The user's sockets on the other nodes; `None` if these cannot be asked at the moment."""
        channel = user_channel(user_id)
        try:
            if not await self._broker.subscribed(channel):
                return None
            return await self._requests.send(channel, ListSockets(ref=self._requests.new_ref()), RESPONSE_SECONDS)
        except BrokerUnavailableError:
            return None

    def _evict(self, user_id: UserId, responses: Responses) -> None:
        here = self._broker.node_id
        sockets = [Socket(*socket, here) for socket in sockets_of(self._registry, user_id)]
        for node, parts in responses.by_node.items():
            sockets += [Socket(*socket, node) for part in parts for socket in part.sockets]
        for socket in oldest_beyond(sockets, self._max_per_user):
            if socket.node != here:
                self._evict_remote(socket)
            elif (connection := self._registry.get(socket.connection_id)) is not None:
                connection.close(CloseCode.TOO_MANY_CONNECTIONS)

    def _evict_remote(self, socket: Socket) -> None:
        code = CloseCode.TOO_MANY_CONNECTIONS
        request = CloseConnection(ref=NO_RESPONSE, connection_id=socket.connection_id, code=code, reason=code.reason)
        try:
            self._broker.post(node_channel(socket.node), encode_control(self._broker.node_id, request))
        except BrokerUnavailableError:
            log.warning("could not evict connection %s on another node", socket.connection_id)
