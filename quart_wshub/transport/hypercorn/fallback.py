"""Hypercorn's HTTP for a handshake whose app runs already, because that app answers it through ASGI after all."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE
from quart_wshub.protocol.errors import WebSocketDisconnect
from quart_wshub.transport.hypercorn.intercepted_upgrade import UpgradeOverHttp1
from quart_wshub.transport.hypercorn.task_group import UpgradingTaskGroup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart_wshub.transport.hypercorn.served_connection import ServedConnection
    from quart_wshub.transport.pipes import Pipe

__all__ = ["Fallback"]

END_SECONDS = 1.0
"""How long hypercorn may take, once the app has returned, to write what it is writing."""


class Fallback(UpgradingTaskGroup):
    """Hypercorn's task group for one such connection: instead of starting an app it adopts the one that runs.

    Its HTTP protocol and its reading run in a task of their own, in the server's nursery: the app asks for them from
    somewhere inside its own nurseries, where none can be opened around it.
    """

    def __init__(self, connection: ServedConnection, scope: Any, start_time: float) -> None:
        super().__init__(connection)
        self._scope = scope
        self._start_time = start_time
        self._upgrade: UpgradeOverHttp1 | None = None
        self._adopted = trio.Event()
        self._ended = trio.Event()
        self._running = trio.CancelScope()
        size = connection.config.max_app_queue_size
        self._to_app, self._events = trio.open_memory_channel[Any](size)

    def start(self, head: bytes) -> None:
        """Give hypercorn the request with this head."""
        self._connection.nursery.start_soon(self._run, head)

    async def _run(self, head: bytes) -> None:
        try:
            with self._running:
                await self._connection.serve_http(self, "http/1.1", head)
        except BaseException as error:
            self._connection.drop(error)
        finally:
            if not self._connection.handed_over:  # else there is nothing to be told, as in hypercorn
                self._to_app.close()
            self._adopted.set()
            self._ended.set()

    async def spawn_app(
        self, app: Any, config: Any, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        stream: Any = send.__self__  # type: ignore[attr-defined]  # a method of the stream's
        # Tokens are masked in the scope that the app has, and hypercorn logs that one.
        stream.scope, stream.start_time = self._scope, self._start_time
        self._upgrade = UpgradeOverHttp1(self._connection, stream, self)
        self._adopted.set()
        return self._tell_app

    async def _tell_app(self, event: Any) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the app has returned, or all is over
            await self._to_app.send(event)

    async def receive(self) -> Any:
        """The app's ASGI `receive`. Cancelled, it loses no event."""
        try:
            return await self._events.receive()
        except trio.EndOfChannel:
            return {"type": "websocket.disconnect", "code": ABNORMAL_CLOSURE}

    async def send(self, message: Any) -> None:
        """The app's ASGI `send`. Hypercorn calls it with `None` when the app has returned."""
        if message is None:
            self._events.close()
        await self._adopted.wait()
        if self._upgrade is not None:
            await self._upgrade.app_send(message)

    async def accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        """`Upgrade.accept`."""
        await self._adopted.wait()
        if self._upgrade is None:
            raise WebSocketDisconnect(ABNORMAL_CLOSURE)
        return await self._upgrade.accept(subprotocol, headers)

    async def end(self) -> None:
        """The app has returned, and hypercorn knows: end its task, and wait for that.

        Shielded. Takes `END_SECONDS` at most, since closing the socket frees a write that is stuck.
        """
        self._running.cancel()
        with trio.move_on_after(END_SECONDS, shield=True):
            await self._ended.wait()
        if not self._ended.is_set():
            self._connection.abort()
            with trio.CancelScope(shield=True):
                await self._ended.wait()
