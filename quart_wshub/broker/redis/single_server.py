"""One Redis server that has all channels, with the methods of `ClusterServers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quart_wshub.broker.redis.server import RedisServer

__all__ = ["SingleServer"]


class SingleServer:
    """All channels are on one server, and none ever moves."""

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
        pass

    async def run(self, receiving: trio.CancelScope) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._server.send)
            with receiving:
                await self._server.receive()
