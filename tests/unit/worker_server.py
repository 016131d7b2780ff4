"""What `Worker` sees of a server: hypercorn's context, a nursery, and connections in it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from hypercorn.trio.worker_context import WorkerContext

from quart_wshub.transport.hypercorn.shutdown import Worker
from quart_wshub.transport.pipes import SocketPipe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["GRACE", "Connection", "Server", "serving"]

GRACE = 10.0


class Connection:
    """A connection of the server's: a task of its nursery, that ends when its socket does."""

    def __init__(self, worker: Worker) -> None:
        server, self.client = trio.socket.socketpair()
        self.stream = trio.SocketStream(server)
        self.told_to_stop_waiting = 0
        self._worker = worker

    def stop_waiting(self) -> None:
        self.told_to_stop_waiting += 1

    def close(self) -> None:
        self.stream.socket.close()

    def abort(self) -> None:
        SocketPipe(self.stream).abort()

    @property
    def is_open(self) -> bool:
        return bool(self.stream.socket.fileno() != -1)

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._worker.enter(self)
        try:
            task_status.started()
            with trio.CancelScope(shield=True), pytest.raises(trio.ClosedResourceError):
                await trio.lowlevel.wait_readable(self.stream.socket)
        finally:
            self._worker.leave(self)
            self.client.close()


class Server:
    """Hypercorn's nursery of connections, and when it was told to shut down."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.context = WorkerContext(None)
        self.worker = Worker(self.context, GRACE)
        self._nursery = nursery

    async def connect(self) -> Connection:
        connection = Connection(self.worker)
        await self._nursery.start(connection.serve)
        return connection

    async def shut_down(self) -> None:
        await self.context.terminated.set()


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """Leaving the block takes as long as the server's end does."""
    async with trio.open_nursery() as nursery:
        yield Server(nursery)
