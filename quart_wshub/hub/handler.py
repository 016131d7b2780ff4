"""`Handler`: the type of an app's connection handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from quart_wshub.connection.websocket import WebSocket
from quart_wshub.connection.websocket_connection import WebSocketConnection
from quart_wshub.hub.websocket_hub import WebSocketHub

__all__ = ["Handler"]

Handler = Callable[[WebSocket, WebSocketConnection, WebSocketHub], Awaitable[None]]
"""`async def handler(ws, connection, hub)`, called once per connection."""
