"""The heartbeat's wire form: which messages belong to it, and what is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_core import from_json

from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from uuid import UUID

    from quart_wshub.settings import WebSocketSettings

__all__ = ["PING", "classify", "hello_frame", "pong_frame"]

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


def classify(text: str) -> tuple[str, str | None] | None:
    """`("ping" or "pong", request_id)` for a heartbeat message, `None` for any other."""
    # Three substring searches spare nearly every other message a second parse. The third lets through text that may
    # spell "ping" with JSON escapes for ASCII letters, which no one does, but which is the same JSON.
    if '"ping"' not in text and '"pong"' not in text and "\\u00" not in text:
        return None
    try:
        message = from_json(text, allow_inf_nan=False)
    except ValueError:
        return None
    if not isinstance(message, dict) or message.get("type") not in ("ping", "pong"):
        return None
    request_id = message.get("request_id")
    return message["type"], request_id if isinstance(request_id, str) else None
