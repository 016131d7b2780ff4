"""Peer `wshub-router`: as `wshub`, with a `MessageRouter` in the handler's place. It does what `inbound` needs."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel
from quart_trio import QuartTrio

from benchmarks.peers.wshub_app import bearer_resolver
from benchmarks.protocol import ACK_EVERY
from quart_wshub import (
    MessageRouter,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    WebSocketSettings,
    WSEnvelope,
    make_websocket_blueprint,
)

settings = WebSocketSettings()
hub = WebSocketHub(max_per_user=settings.WS_MAX_CONNECTIONS_PER_USER)
messages = MessageRouter()
sunk: Counter[WebSocketConnection] = Counter()


class Sink(BaseModel):
    """A typical short chat line."""

    text: str
    n: int


@messages.authorize("sink")
async def anyone(connection: WebSocketConnection, topic: str) -> bool:
    """Say so in the way that all peers do: the load generator waits for it, and sends no `request_id`."""
    await connection.ws.send_envelope(WSEnvelope(type="bench.subscribed", data={"topic": topic}))
    return True


@messages.on("bench.sink")
async def sink(message: Sink, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """Count, and acknowledge every 500th."""
    sunk[connection] = count = sunk[connection] + 1
    if count % ACK_EVERY == 0:
        await connection.ws.send_envelope(WSEnvelope(type="bench.ack", data={"count": count}))


@messages.on_disconnect
async def forget(connection: WebSocketConnection, hub: WebSocketHub, close: WebSocketDisconnect) -> None:
    """Count no more."""
    del sunk[connection]


app = QuartTrio(__name__)
app.register_blueprint(
    make_websocket_blueprint(messages, hub=hub, bearer_resolver=bearer_resolver, settings=settings, path="/ws")
)
