"""One Redis server: a connection for sending and one for receiving, each with its own reconnects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_wshub.broker.redis.connection import RedisDialer
    from quart_wshub.broker.redis.publisher import Publisher
    from quart_wshub.broker.redis.retry import Retry
    from quart_wshub.broker.redis.subscriber import Subscriber
    from quart_wshub.broker.redis.target import RedisAddress

__all__ = ["RedisServer"]


class RedisServer:
    """A server, and two connections to it.

    Args:
        changed: called when a connection is made, ends, or could not be made.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        dialer: RedisDialer,
        publisher: Publisher,
        subscriber: Subscriber,
        make_retry: Callable[[], Retry],
        changed: Callable[[], None],
    ) -> None:
        self.address = address
        self.publisher = publisher
        self.subscriber = subscriber
        self._dialer = dialer
        self._make_retry = make_retry
        self._changed = changed
        self._sending, self._receiving = trio.CancelScope(), trio.CancelScope()

    @property
    def connected(self) -> bool:
        """Whether messages are sent and received."""
        return self.publisher.connected and self.subscriber.connected

    async def receive(self) -> None:
        """Receive what this node is subscribed to, until cancelled or stopped."""
        with self._receiving:
            await self._keep_connected(self.subscriber, self.receiving_failed)

    async def send(self) -> None:
        """Send what waits, until cancelled or stopped."""
        with self._sending:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.publisher.expire)
                nursery.start_soon(self._keep_connected, self.publisher, self._changed)

    def stop(self) -> None:
        """End `send` and `receive`, for good."""
        self._sending.cancel()
        self._receiving.cancel()

    async def _keep_connected(self, part: Publisher | Subscriber, failed: Callable[[], None]) -> None:
        retry = self._make_retry()

        async def attempt() -> None:
            async with self._dialer.open(self.address) as connection:
                retry.succeeded()
                part.connected = True
                self._changed()
                try:
                    await part.serve(connection)
                finally:
                    part.connected = False
                    self._changed()

        await retry.run(attempt, f"Redis at {self.address}", failed)

    def receiving_failed(self) -> None:
        """There is no connection for receiving, perhaps never was, so messages may be missed."""
        self.subscriber.failing = True
        self.subscriber.lose()
        self._changed()
