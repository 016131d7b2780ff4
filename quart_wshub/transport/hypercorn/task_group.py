"""Hypercorn's task group for one connection, in which every WebSocket handshake can be claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypercorn.trio.task_group import TaskGroup

from quart_wshub.transport.hypercorn.http2 import ForgivingStreams, UpgradeOverHttp2
from quart_wshub.transport.hypercorn.intercepted_upgrade import UpgradeOverHttp1
from quart_wshub.transport.upgrade import UPGRADE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart_wshub.transport.hypercorn.served_connection import ServedConnection

__all__ = ["UpgradingTaskGroup"]


class UpgradingTaskGroup(TaskGroup):
    """Puts an `Upgrade` into the scope of every WebSocket handshake.

    Hypercorn calls `spawn_app` before it looks at anything behind the request, which is the last moment to get in
    between: a frame behind the request in the same packet makes it fail (hypercorn#225).
    """

    def __init__(self, connection: ServedConnection) -> None:
        super().__init__()
        self._connection = connection

    async def spawn_app(
        self, app: Any, config: Any, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        stream: Any = send.__self__  # type: ignore[attr-defined]  # a method of the stream's
        over_http2 = scope["http_version"] == "2"
        if over_http2:
            ForgivingStreams.install_in(stream.send.__self__)
        if scope["type"] == "websocket":
            kind = UpgradeOverHttp2 if over_http2 else UpgradeOverHttp1
            upgrade = kind(self._connection, stream, self)
            scope["extensions"][UPGRADE] = upgrade
            send = upgrade.app_send
        return await super().spawn_app(app, config, scope, send)
