"""What all connections of one server process share: the orderly shutdown.

Hypercorn tells its connections nothing until it cancels them at the end of `graceful_timeout`, and then waits for
writes that cannot be cancelled. Here a task watches for the shutdown from the first connection on: it runs what was
registered to drain, and shortly before the end drops every socket that is still open.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart_wshub.transport.upgrade import Drain

__all__ = ["Worker", "worker_of"]

log: logging.Logger = logging.getLogger("quart_wshub")

DRAIN_SHARE = 0.8
"""Of `graceful_timeout`, how much draining may take; the rest is for the app's own requests and for ending."""


class Connection(Protocol):
    """What the shutdown needs of a server's connection."""

    def stop_waiting(self) -> None:
        """End, if nothing was asked for yet."""

    def abort(self) -> None:
        """Close the socket now. Idempotent."""


class Worker:
    """The shutdown of one process."""

    def __init__(self, context: Any, graceful_timeout: float) -> None:
        self._terminated = context.terminated
        self._terminate = context.terminate
        self._graceful_timeout = graceful_timeout
        self._connections: set[Connection] = set()
        self._drains: list[Drain] = []
        self._tasks: list[Callable[[], Awaitable[None]]] = []
        self._watching = False
        self._nursery: trio.Nursery | None = None
        self._empty = trio.Event()

    def on_shutdown(self, drain: Drain) -> None:
        """Have something drained at shutdown. Idempotent."""
        if drain not in self._drains:
            self._drains.append(drain)

    def keep_running(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task until the server has shut down. Idempotent."""
        if task not in self._tasks:
            self._tasks.append(task)
            if self._nursery is not None:
                self._nursery.start_soon(task)

    def enter(self, connection: Connection) -> None:
        """A connection begins. The first one brings the watching tasks to life, in hypercorn's own nursery."""
        self._connections.add(connection)
        if self._empty.is_set():
            self._empty = trio.Event()
        if not self._watching:
            self._watching = True
            server_nursery = trio.lowlevel.current_task().parent_nursery
            assert server_nursery is not None, "a connection is served by a task of a nursery"
            server_nursery.start_soon(self._watch)

    def leave(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def _watch(self) -> None:
        async with trio.open_nursery() as self._nursery:
            for task in (self._watch_signals, *self._tasks):
                self._nursery.start_soon(task)
            await self._terminated.wait()
            log.info("shutting down: draining %d connections", len(self._connections))
            deadline = trio.current_time() + self._graceful_timeout
            for connection in list(self._connections):
                connection.stop_waiting()
            try:
                await self._drain(self._graceful_timeout * DRAIN_SHARE)
                await self._wait_for_the_rest(deadline)
            finally:
                self._abort_all()
                self._nursery.cancel_scope.cancel()

    async def _drain(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for drain in self._drains:
                    nursery.start_soon(drain, seconds)

    async def _wait_for_the_rest(self, deadline: float) -> None:
        """Give ordinary requests what is left of the time, but leave some to end in."""
        margin = min(0.2, self._graceful_timeout / 10)
        with trio.move_on_at(deadline - margin):
            await self._empty.wait()

    def _abort_all(self) -> None:
        """Drop what is still open: only that frees a write to a peer that does not read."""
        for connection in list(self._connections):
            connection.abort()

    async def _watch_signals(self) -> None:
        """Shut down in order when this process itself gets SIGTERM, as under systemd's default KillMode.

        Hypercorn's workers leave the default action in place, which ends them at once. Where the program that embeds
        the server has a handler of its own, it is left alone.
        """
        is_worker = multiprocessing.parent_process() is not None
        if threading.current_thread() is not threading.main_thread():
            return
        if not is_worker and signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return
        with suppress(ValueError), trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                await self._terminate.set()


_workers: WeakKeyDictionary[Any, Worker] = WeakKeyDictionary()
"""By hypercorn's `WorkerContext`, of which a running server has exactly one."""


def worker_of(context: Any, config: Any) -> Worker:
    """The worker that a connection belongs to."""
    worker = _workers.get(context)
    if worker is None:
        worker = _workers[context] = Worker(context, config.graceful_timeout)
    return worker
