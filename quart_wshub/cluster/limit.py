"""`max_per_user` over all nodes, by messages only.

After a socket is registered, its node, which listens to the user's channel by then, asks all that listen to it which
sockets of the user they have, and evicts the oldest beyond the limit, wherever they are. A node with an incomplete list
evicts too few, never a wrong one: who is not among the newest of some is not among the newest of all.

Of several sockets that come at the same time on several nodes, take the one whose question is published last: by then
all are registered, and all their nodes listen. So the answers to that question name them all, and what has to go, goes.

Which is older is told by the clocks of their nodes, and by their ids where these say the same.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import trio

from quart_wshub.cluster.channels import node_channel, user_channel
from quart_wshub.cluster.inquiries import ANSWER_SECONDS
from quart_wshub.cluster.wire import NO_ANSWER_WANTED, CloseConnection, ListSockets, encode_control
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from quart_wshub.auth.identity import UserId
    from quart_wshub.broker.base import Broker
    from quart_wshub.cluster.inquiries import Answers, Inquiries
    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.registry import Registry

__all__ = ["ClusterLimit", "Socket", "beyond", "sockets_of"]

log: logging.Logger = logging.getLogger("quart_wshub")

MAX_AT_ONCE = 256
"""Users that are asked about at the same time."""

RETRY_SECONDS = 1.0
"""Before a question that could not be put, or was not answered by all, is put again."""

MAX_TRIES_UNANSWERED = 3
"""A node that says nothing for so long is waited for no more."""


class Socket(NamedTuple):
    """A user's socket on some node. The greater is the newer: `connected_at` in microseconds since 1970."""

    connected_at: int
    connection_id: UUID
    node: str


def beyond(sockets: Iterable[Socket], limit: int) -> list[Socket]:
    """The oldest of these that are too many."""
    return sorted(set(sockets))[:-limit]


def sockets_of(registry: Registry[Session], user_id: UserId) -> tuple[tuple[int, UUID], ...]:
    """A user's sockets on this node."""
    return tuple(
        (round(connection.connected_at.timestamp() * 1_000_000), connection.connection_id)
        for connection in registry.of_user(user_id)
    )


class ClusterLimit:
    """Sees to it that no user has too many sockets on all nodes together."""

    def __init__(self, broker: Broker, inquiries: Inquiries, registry: Registry[Session], max_per_user: int) -> None:
        self._broker = broker
        self._inquiries = inquiries
        self._registry = registry
        self._max_per_user = max_per_user
        self._due: dict[UserId, None] = {}
        self._news = trio.Event()
        self._room = trio.Semaphore(MAX_AT_ONCE)

    def check(self, *users: UserId) -> None:
        """These users may have too many sockets. Returns at once."""
        if users:
            self._due.update(dict.fromkeys(users))
            self._news.set()

    async def run(self) -> None:
        """Do what `check` asked for."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._news.wait()
                await self._room.acquire()
                nursery.start_soon(self._enforce, self._next())

    def _next(self) -> UserId:
        user_id = next(iter(self._due))
        del self._due[user_id]
        if not self._due:
            self._news = trio.Event()
        return user_id

    async def _enforce(self, user_id: UserId) -> None:
        unanswered = 0
        try:
            while self._registry.of_user(user_id) and unanswered < MAX_TRIES_UNANSWERED:
                answers = await self._ask(user_id)
                if answers is not None:
                    self._evict(user_id, answers)
                    if not answers.missing:
                        return
                    unanswered += 1
                await trio.sleep(RETRY_SECONDS)
        finally:
            self._room.release()

    async def _ask(self, user_id: UserId) -> Answers | None:
        """What the other nodes have of this user; `None` where they cannot be asked at the moment."""
        channel = user_channel(user_id)
        try:
            if not await self._broker.subscribed(channel):
                return None
            return await self._inquiries.ask(channel, lambda ref: ListSockets(ref=ref), ANSWER_SECONDS)
        except BrokerUnavailableError:
            return None

    def _evict(self, user_id: UserId, answers: Answers) -> None:
        here = self._broker.node_id
        sockets = {Socket(*socket, here) for socket in sockets_of(self._registry, user_id)}
        for node, parts in answers.by_node.items():
            sockets.update(Socket(*socket, node) for part in parts for socket in part.sockets)
        for socket in beyond(sockets, self._max_per_user):
            if socket.node == here:
                self._evict_here(socket.connection_id)
            else:
                self._evict_there(socket)

    def _evict_here(self, connection_id: UUID) -> None:
        connection = self._registry.get(connection_id)
        if connection is not None:
            connection.close(CloseCode.TOO_MANY_CONNECTIONS)

    def _evict_there(self, socket: Socket) -> None:
        code = CloseCode.TOO_MANY_CONNECTIONS
        order = CloseConnection(ref=NO_ANSWER_WANTED, connection_id=socket.connection_id, code=code, reason=code.reason)
        try:
            self._broker.post(node_channel(socket.node), encode_control(self._broker.node_id, order))
        except BrokerUnavailableError:
            log.warning("one connection too many, on another node, could not be told: %s", socket.connection_id)
