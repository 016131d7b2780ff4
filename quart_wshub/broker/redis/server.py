"""One Redis server: its way out and its way in, each kept connected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from quart_wshub.broker.redis.supervisor import keep_connected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from quart_wshub.broker.redis.backoff import Backoff
    from quart_wshub.broker.redis.connection import RedisConnection, RedisDialer
    from quart_wshub.broker.redis.publisher import Publisher
    from quart_wshub.broker.redis.subscriber import Subscriber
    from quart_wshub.broker.redis.url import RedisAddress

__all__ = ["RedisServer", "SingleServer"]


class RedisServer:
    """A server, and two connections to it.

    Args:
        changed: called after a connection was made, was lost, or could not be made.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        dialer: RedisDialer,
        publisher: Publisher,
        subscriber: Subscriber,
        backoff: Callable[[], Backoff],
        changed: Callable[[], None],
    ) -> None:
        self.address = address
        self.publisher = publisher
        self.subscriber = subscriber
        self._dialer = dialer
        self._backoff = backoff
        self._changed = changed

    @property
    def connected(self) -> bool:
        """Whether messages go out and come in."""
        return self.publisher.connected and self.subscriber.connected

    async def listen(self) -> None:
        """Hear what is wanted, until cancelled."""
        await self._keep(self.subscriber, self.subscriber.serve, self.not_listening)

    async def send(self) -> None:
        """Send what waits, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.publisher.expire)
            nursery.start_soon(self._keep, self.publisher, self.publisher.serve, self._changed)

    async def _keep(
        self,
        part: Publisher | Subscriber,
        serve: Callable[[RedisConnection], Awaitable[None]],
        failed: Callable[[], None],
    ) -> None:
        async def serve_it(connection: RedisConnection) -> None:
            part.connected = True
            self._changed()
            try:
                await serve(connection)
            finally:
                part.connected = False
                self._changed()

        await keep_connected(self._dialer, self.address, serve_it, self._backoff(), failed)

    def not_listening(self) -> None:
        """An attempt to connect failed: also what was never connected to may have had messages."""
        self.subscriber.failing = True
        self.subscriber.lose()
        self._changed()


class SingleServer:
    """All channels are on one server."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    @property
    def connected(self) -> bool:
        return self._server.connected

    def __iter__(self) -> Iterator[RedisServer]:
        yield self._server

    def server_for(self, channel: bytes) -> RedisServer:
        """The server that has a channel (or key)."""
        return self._server

    def moved(self) -> None:
        """Nothing moves."""

    async def run(self, listening: trio.CancelScope) -> None:
        """Keep connected until cancelled; listening ends with its own scope."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._server.send)
            with listening:
                await self._server.listen()
