"""Which server has which channel: the seam between one server and a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quart_wshub.broker.redis.server import RedisServer

__all__ = ["Servers", "SingleServer"]


class Servers(Protocol):
    """All servers of one broker."""

    @property
    def connected(self) -> bool:
        """Whether messages of all channels are sent and received."""

    def __iter__(self) -> Iterator[RedisServer]:
        """The servers of the moment."""

    def server_for(self, channel: bytes) -> RedisServer:
        """The server of a channel or key. While that is unknown, one at which messages can wait."""

    def moved(self) -> None:
        """A channel or key may have moved to another server: find out."""

    async def run(self, receiving: trio.CancelScope) -> None:
        """Keep connected until cancelled; `receiving` ends receiving alone, so that what waits can still be sent."""


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
        return self._server

    def moved(self) -> None:
        """Nothing can move."""

    async def run(self, receiving: trio.CancelScope) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._server.send)
            with receiving:
                await self._server.receive()
