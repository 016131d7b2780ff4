"""The servers of a Redis Cluster and their slots, which are asked for again whenever they seem to have moved.

Sharded pub/sub, which needs Redis 7.0: a channel is on the server that has its slot, so twice the servers carry twice
the messages.
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
    from collections.abc import Callable, Iterator

    from quart_wshub.broker.redis.connection import RedisDialer
    from quart_wshub.broker.redis.publisher import Publisher
    from quart_wshub.broker.redis.retry import Retry
    from quart_wshub.broker.redis.server import RedisServer

__all__ = ["ClusterServers", "slot_of"]

SLOTS = 16_384

Layout = dict[range, RedisAddress]
"""Ranges of slots, and the address of the primary server of each."""

ASK_SECONDS = 2.0

REFRESH_SECONDS = 0.1
"""The shortest time between two requests for the layout."""


def slot_of(key: bytes) -> int:
    """The slot of a key or channel: of its hash tag, if it has one (`{tag}`, not empty)."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    if 0 <= start < end - 1:
        key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


class ClusterServers:
    """The servers that have slots.

    Args:
        seeds: where to ask for the layout if no known server answers.
        make_server: called with an address, and a function that tells whether a channel is on that server.
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
        # Never connected: the messages of channels whose server is not known wait there.
        self._unplaced = self._new_server(seeds[0])
        self._slots: list[RedisServer] = [self._unplaced] * SLOTS
        self._stale = trio.Event()
        self._stale.set()

    def _new_server(self, address: RedisAddress) -> RedisServer:
        server = self._make_server(address, lambda channel: self.server_for(channel) is server)
        return server

    @property
    def connected(self) -> bool:
        """Whether messages of all channels are sent and received."""
        return bool(self._servers) and all(server.connected for server in self._servers.values())

    def __iter__(self) -> Iterator[RedisServer]:
        return iter([self._unplaced, *self._servers.values()])

    def server_for(self, channel: bytes) -> RedisServer:
        """The server of a channel or key. While it is unknown, one at which messages can wait."""
        return self._slots[slot_of(channel)]

    def moved(self) -> None:
        """Ask for the layout: a channel or key may be on another server now."""
        self._stale.set()

    async def run(self, receiving: trio.CancelScope) -> None:
        """Stay connected until cancelled. Cancelling `receiving` ends receiving alone; what waits is still sent."""
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
        """Move channels to the servers they are on now, and what waits for them too. Synchronous."""
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
            server.stop()
        for server in new.values():
            senders.start_soon(self._send, server)
            receivers.start_soon(server.receive)

    def _publisher_for(self, channel: bytes) -> Publisher:
        return self.server_for(channel).publisher

    async def _send(self, server: RedisServer) -> None:
        """Send until the server has no slots any more; then other servers report what was lost in flight."""
        await server.send()
        server.publisher.hand_over(self._publisher_for)
        server.publisher.close()


def _layout(reply: Any, asked: RedisAddress) -> Layout:
    """Read the reply. A server that does not know its own name has the one under which it was asked."""
    layout = {}
    for start, end, (host, port, *_), *_replicas in reply:
        name = host.decode() if host and host != b"?" else asked.host
        layout[range(int(start), int(end) + 1)] = RedisAddress(name, int(port))
    return layout
