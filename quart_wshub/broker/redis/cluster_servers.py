"""The servers of a Redis Cluster: which has which slot, asked for again whenever that seems to have changed.

Sharded pub/sub: a channel lives on the server that has its slot, so a cluster of twice the servers carries twice the
messages. That needs Redis 7.0.
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.broker.redis.connection import CONNECTION_FAILURES
from quart_wshub.broker.redis.target import RedisAddress
from quart_wshub.broker.redis.wire import RedisLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from quart_wshub.broker.redis.connection import RedisDialer
    from quart_wshub.broker.redis.publisher import Publisher
    from quart_wshub.broker.redis.retry import Retry
    from quart_wshub.broker.redis.server import RedisServer

__all__ = ["ClusterServers", "slot_of"]

SLOTS = 16_384

Layout = dict[range, RedisAddress]
"""Ranges of slots, and the primary server of each."""

ASK_SECONDS = 2.0

REFRESH_SECONDS = 0.1
"""The layout is asked for no more often than this."""


def slot_of(key: bytes) -> int:
    """The slot of a key or channel. If its first pair of braces encloses anything, only that counts."""
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
        make_retry: Callable[[], Retry],
    ) -> None:
        self._seeds = seeds
        self._dialer = dialer
        self._make_server = make_server
        self._make_retry = make_retry
        self._servers: dict[RedisAddress, RedisServer] = {}
        self._scopes: dict[RedisAddress, tuple[trio.CancelScope, trio.CancelScope]] = {}
        # Never connected: channels whose server is not known belong to it, and their messages wait there.
        self._unplaced = self._new_server(seeds[0])
        self._slots: list[RedisServer] = [self._unplaced] * SLOTS
        self._stale = trio.Event()
        self._stale.set()

    def _new_server(self, address: RedisAddress) -> RedisServer:
        server = self._make_server(address, lambda channel: self.server_for(channel) is server)
        return server

    @property
    def connected(self) -> bool:
        return bool(self._servers) and all(server.connected for server in self._servers.values())

    def __iter__(self) -> Iterator[RedisServer]:
        return iter([self._unplaced, *self._servers.values()])

    def server_for(self, channel: bytes) -> RedisServer:
        return self._slots[slot_of(channel)]

    def moved(self) -> None:
        self._stale.set()

    async def run(self, receiving: trio.CancelScope) -> None:
        """Find the servers and keep connected to them; see `Servers.run`."""
        retry = self._make_retry()
        async with trio.open_nursery() as senders:
            senders.start_soon(self._unplaced.publisher.expire)
            with receiving:
                async with trio.open_nursery() as receivers:
                    follow = partial(self._follow_layout, retry, senders, receivers)
                    await retry.run(follow, "the layout of the Redis Cluster", self._layout_unknown)

    def _layout_unknown(self) -> None:
        self._stale.set()
        self._unplaced.receiving_failed()

    async def _follow_layout(self, retry: Retry, senders: trio.Nursery, receivers: trio.Nursery) -> None:
        while True:
            await self._stale.wait()
            self._stale = trio.Event()
            self._apply(await self._ask(), senders, receivers)
            retry.succeeded()
            await trio.sleep(REFRESH_SECONDS)

    async def _ask(self) -> Layout:
        """Ask one server after the other, until one answers with a layout."""
        failure: Exception = RedisLostError("no server is known")
        for address in dict.fromkeys([*self._servers, *self._seeds]):
            try:
                async with self._dialer.open(address) as connection:
                    with trio.fail_after(ASK_SECONDS):
                        reply = await connection.ask(b"CLUSTER", b"SLOTS")
                    if layout := _layout(reply, address):
                        return layout
            except CONNECTION_FAILURES as error:
                failure = error
        raise failure

    def _apply(self, layout: Layout, senders: trio.Nursery, receivers: trio.Nursery) -> None:
        """Move channels to the servers they are on by now, and what waits for them with them. Synchronous."""
        self._unplaced.subscriber.failing = False
        known = set(layout.values())
        new = {address: self._new_server(address) for address in known - self._servers.keys()}
        gone = [self._servers.pop(address) for address in self._servers.keys() - known]
        self._servers |= new
        self._slots = [self._unplaced] * SLOTS
        for slots, address in layout.items():
            self._slots[slots.start : slots.stop] = [self._servers[address]] * len(slots)
        for server in [*gone, *self]:
            server.publisher.hand_over(self._publisher_for)
            server.subscriber.slots_moved()
        for server in gone:
            for scope in self._scopes.pop(server.address):
                scope.cancel()
        for address, server in new.items():
            sending, receiving = self._scopes[address] = trio.CancelScope(), trio.CancelScope()
            senders.start_soon(self._send, server, sending)
            receivers.start_soon(_run_in, receiving, server.receive)

    def _publisher_for(self, channel: bytes) -> Publisher:
        return self.server_for(channel).publisher

    async def _send(self, server: RedisServer, scope: trio.CancelScope) -> None:
        """Send until the server has no slots any more; then other servers report what was lost in flight."""
        await _run_in(scope, server.send)
        server.publisher.hand_over(self._publisher_for)
        server.publisher.close()


async def _run_in(scope: trio.CancelScope, run: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await run()


def _layout(reply: Any, asked: RedisAddress) -> Layout:
    """Which slots are where. A server that does not know its own name is where it was asked."""
    layout = {}
    for start, end, (host, port, *_), *_replicas in reply:
        name = host.decode() if host and host != b"?" else asked.host
        layout[range(int(start), int(end) + 1)] = RedisAddress(name, int(port))
    return layout
