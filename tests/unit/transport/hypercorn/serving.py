"""Hypercorn's per-connection class as the hub has it, on a socket pair, with its client's end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app
from trio.testing import wait_all_tasks_blocked

from quart_wshub.transport.hypercorn.server import HubTCPServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["KEEP_ALIVE", "READ_TIMEOUT", "REQUEST", "App", "Connection", "make_server", "served"]

App = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
KEEP_ALIVE, READ_TIMEOUT = 5, 60


class Connection:
    """A connection of the server's, from the client's end.

    Attributes:
        nursery: hypercorn's, in which the connection's task runs.
        ended_after: the seconds it took, once it has ended.
    """

    def __init__(self, server: HubTCPServer, client: trio.SocketStream, nursery: trio.Nursery) -> None:
        self.server = server
        self.client = client
        self.nursery = nursery
        self.ended_after: float | None = None

    async def ask(self, request: bytes = REQUEST) -> bytes:
        await self.client.send_all(request)
        answer = b""
        while not answer.endswith(b"ok") and (more := await self.client.receive_some()):
            answer += more
        return answer

    async def run(self) -> None:
        started = trio.current_time()
        try:
            await self.server.run()
            self.ended_after = trio.current_time() - started
        finally:
            await trio.aclose_forcefully(self.server.stream)  # as `trio.serve_listeners` does


def make_server(app: App, stream: Any, **config: Any) -> HubTCPServer:
    """What hypercorn makes for a connection that comes in."""
    settings = Config.from_mapping(keep_alive_timeout=KEEP_ALIVE, read_timeout=READ_TIMEOUT, **config)
    return HubTCPServer(wrap_app(app, 0, "asgi"), settings, WorkerContext(max_requests=100), {}, stream)


@asynccontextmanager
async def served(app: App, **config: Any) -> AsyncIterator[Connection]:
    """Leaving the block ends the server, but not before two minutes have gone."""
    ours, theirs = trio.socket.socketpair()
    async with trio.open_nursery() as nursery:
        server = make_server(app, trio.SocketStream(theirs), **config)
        connection = Connection(server, trio.SocketStream(ours), nursery)
        nursery.start_soon(connection.run)
        await wait_all_tasks_blocked()
        try:
            yield connection
            await trio.sleep(2 * READ_TIMEOUT)
        finally:
            nursery.cancel_scope.cancel()
            connection.client.socket.close()
