"""A Redis Cluster: which server has which slot, found out again whenever it seems to have changed.

Sharded pub/sub: a channel lives on the server that has its slot, so a cluster of twice the servers carries twice the
messages. That needs Redis 7.0.
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.broker.redis.connection import RedisLostError
from quart_wshub.broker.redis.supervisor import EXPECTED_FAILURES, keep_trying
from quart_wshub.broker.redis.url import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quart_wshub.broker.redis.backoff import Backoff
    from quart_wshub.broker.redis.connection import RedisDialer
    from quart_wshub.broker.redis.publisher import Publisher
    from quart_wshub.broker.redis.server import RedisServer

__all__ = ["ClusterServers", "slot_of"]

SLOTS = 16_384

Layout = dict[range, RedisAddress]
"""Ranges of slots, and the primary server of each."""

ASK_SECONDS = 2.0

REFRESH_SECONDS = 0.1
"""The layout is asked for no more often than this."""


def slot_of(key: bytes) -> int:
    """The slot of a key, or of a channel: only what stands in its first braces counts, where there is something."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    if 0 <= start < end - 1:
        key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


class ClusterServers:
    """The servers that have slots.

    Args:
        seeds: where to ask for the layout, after the servers that are known.
        make_server: makes the connections to one server, which is told what channels are its own.
    """

    def __init__(
        self,
        seeds: tuple[RedisAddress, ...],
        dialer: RedisDialer,
        make_server: Callable[[RedisAddress, Callable[[bytes], bool]], RedisServer],
        backoff: Callable[[], Backoff],
    ) -> None:
        self._seeds = seeds
        self._dialer = dialer
        self._make_server = make_server
        self._backoff = backoff
        self._servers: dict[RedisAddress, RedisServer] = {}
        self._scopes: dict[RedisAddress, tuple[trio.CancelScope, trio.CancelScope]] = {}
        # What nobody is known to have waits here. Nothing is connected to it.
        self._lobby = make_server(seeds[0], lambda channel: self.server_for(channel) is self._lobby)
        self._slots: list[RedisServer] = [self._lobby] * SLOTS
        self._stale = trio.Event()
        self._stale.set()

    @property
    def connected(self) -> bool:
        return bool(self._servers) and all(server.connected for server in self._servers.values())

    def __iter__(self) -> Iterator[RedisServer]:
        return iter([self._lobby, *self._servers.values()])

    def server_for(self, channel: bytes) -> RedisServer:
        """The server that has a channel (or key), as far as is known."""
        return self._slots[slot_of(channel)]

    def moved(self) -> None:
        """The layout is not what it was."""
        self._stale.set()

    async def run(self, listening: trio.CancelScope) -> None:
        """Find the servers and keep connected to them, until cancelled; what listens ends with its own scope."""
        async with trio.open_nursery() as sending:
            sending.start_soon(self._lobby.publisher.expire)
            with listening:
                async with trio.open_nursery() as hearing:
                    follow = partial(self._follow, sending, hearing)
                    await keep_trying(follow, "the layout of the Redis Cluster", self._backoff(), self._not_found)

    def _not_found(self) -> None:
        self._stale.set()
        self._lobby.not_listening()

    async def _follow(self, sending: trio.Nursery, hearing: trio.Nursery) -> None:
        while True:
            await self._stale.wait()
            self._stale = trio.Event()
            self._apply(await self._ask(), sending, hearing)
            await trio.sleep(REFRESH_SECONDS)

    async def _ask(self) -> Layout:
        """Ask one after the other, until one tells."""
        failure: Exception = RedisLostError("no server is known")
        for address in dict.fromkeys([*self._servers, *self._seeds]):
            try:
                async with self._dialer.open(address) as connection:
                    with trio.fail_after(ASK_SECONDS):
                        reply = await connection.ask(b"CLUSTER", b"SLOTS")
                    if layout := _layout(reply, address):
                        return layout
            except EXPECTED_FAILURES as error:
                failure = error
        raise failure

    def _apply(self, layout: Layout, sending: trio.Nursery, hearing: trio.Nursery) -> None:
        """Channels go where they belong by now, and what waits for them goes with them. Synchronous."""
        self._lobby.subscriber.failing = False
        known = set(layout.values())
        new = [self._add(address) for address in known - self._servers.keys()]
        gone = [self._servers.pop(address) for address in self._servers.keys() - known]
        self._slots = [self._lobby] * SLOTS
        for slots, address in layout.items():
            self._slots[slots.start : slots.stop] = [self._servers[address]] * len(slots)
        for server in [*gone, *self]:
            server.publisher.hand_over(self._publisher_for)
            server.subscriber.adopt()
        for server in gone:
            for scope in self._scopes.pop(server.address):
                scope.cancel()
        for server in new:
            scopes = self._scopes[server.address] = trio.CancelScope(), trio.CancelScope()
            sending.start_soon(self._send, server, scopes[0])
            hearing.start_soon(_listen, server, scopes[1])

    def _add(self, address: RedisAddress) -> RedisServer:
        server = self._make_server(address, lambda channel: self.server_for(channel) is server)
        self._servers[address] = server
        return server

    def _publisher_for(self, channel: bytes) -> Publisher:
        return self.server_for(channel).publisher

    async def _send(self, server: RedisServer, gone: trio.CancelScope) -> None:
        """Send, until the server has no slots any more; then others have to tell of what was lost on its way."""
        with gone:
            await server.send()
        server.publisher.hand_over(self._publisher_for)
        server.publisher.close()


async def _listen(server: RedisServer, gone: trio.CancelScope) -> None:
    with gone:
        await server.listen()


def _layout(reply: Any, asked: RedisAddress) -> Layout:
    """Which slots are where. A server that does not know its own name is where it was asked."""
    layout = {}
    for start, end, (host, port, *_), *_replicas in reply:
        name = host.decode() if host and host != b"?" else asked.host
        layout[range(int(start), int(end) + 1)] = RedisAddress(name, int(port))
    return layout
