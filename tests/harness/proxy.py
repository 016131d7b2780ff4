"""A TCP proxy that misbehaves on demand, in the test's own event loop."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

__all__ = ["Proxy", "run_proxy"]


class Proxy:
    """Between a client and `target_port`.

    Attributes:
        delay: seconds by which everything is delayed, in each direction.
        swallowing: whether what clients send is dropped.
        refusing: whether new connections are closed at once.
        port: where it listens.
        accepted: how many connections it has accepted.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._connections: set[trio.CancelScope] = set()
        self.delay = 0.0
        self.swallowing = False
        self.refusing = False
        self.port = 0
        self.accepted = 0

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def cut(self) -> None:
        """End every connection at once."""
        for scope in self._connections:
            scope.cancel()

    async def serve(self, client: trio.abc.Stream) -> None:
        self.accepted += 1
        with suppress(OSError, trio.BrokenResourceError), trio.CancelScope() as scope:
            async with client:
                if self.refusing:
                    return
                async with await trio.open_tcp_stream("127.0.0.1", self._target_port) as target:
                    self._connections.add(scope)
                    try:
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(self._copy, client, target, nursery.cancel_scope, True)
                            nursery.start_soon(self._copy, target, client, nursery.cancel_scope, False)
                    finally:
                        self._connections.discard(scope)

    async def _copy(
        self, source: trio.abc.Stream, sink: trio.abc.Stream, both: trio.CancelScope, from_client: bool
    ) -> None:
        with suppress(trio.BrokenResourceError):
            async for data in source:
                if self.delay:
                    await trio.sleep(self.delay)
                if not (from_client and self.swallowing):
                    await sink.send_all(data)
        both.cancel()


@asynccontextmanager
async def run_proxy(target_port: int, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy until the block ends; with `tls`, clients speak that to it."""
    proxy = Proxy(target_port)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listener.socket.getsockname()[1]
        outer = listener if tls is None else trio.SSLListener(listener, tls)
        nursery.start_soon(trio.serve_listeners, proxy.serve, [outer])
        yield proxy
        nursery.cancel_scope.cancel()
