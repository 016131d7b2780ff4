"""The heartbeat's frames, and `hello`, which tells the client of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from uuid import UUID

    from quart_wshub.settings import WebSocketSettings

__all__ = ["PING", "hello_frame", "pong_frame"]

PING = Frame(WSEnvelope(type="ping").encode())


def hello_frame(connection_id: UUID, settings: WebSocketSettings) -> Frame:
    """The first message on a socket: what a client needs for a watchdog of its own."""
    data = {
        "connection_id": str(connection_id),
        "heartbeat_seconds": settings.WS_HEARTBEAT_SECONDS,
        "heartbeat_timeout_seconds": settings.WS_HEARTBEAT_TIMEOUT_SECONDS,
    }
    return Frame(WSEnvelope(type="hello", data=data).encode())


def pong_frame(request_id: str | None) -> Frame:
    """The answer to a client's ping."""
    return Frame(WSEnvelope(type="pong", request_id=request_id).encode())
