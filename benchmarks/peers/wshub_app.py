"""Peer `wshub`: this project, on Quart-Trio under `hypercorn -k trio`, with the public API only."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import trio
from quart_trio import QuartTrio

from benchmarks.peers.common import burst_texts, longest_stall, user_of_token
from benchmarks.protocol import ACK_EVERY, REDIS_VARIABLE, message
from quart_wshub import (
    WebSocketConnection,
    WebSocketHub,
    WebSocketSettings,
    WSEnvelope,
    make_websocket_blueprint,
)

if TYPE_CHECKING:
    from quart_wshub.broker.base import Broker


def broker() -> Broker | None:
    """None, unless this shall be one node of several."""
    url = os.environ.get(REDIS_VARIABLE)
    if not url:
        return None
    from quart_wshub.broker.redis import RedisBroker  # needs hiredis, which a single node does without

    return RedisBroker(url)


settings = WebSocketSettings()
hub = WebSocketHub(max_per_user=settings.WS_MAX_CONNECTIONS_PER_USER, broker=broker())


async def bearer_resolver(token: str) -> UUID | None:
    """The same check as in every Python peer."""
    user = user_of_token(token)
    return UUID(user) if user is not None else None


async def fanout(topic: str, count: int, text: str) -> None:
    """`count` broadcasts; the event loop gets a turn after each, as in every peer."""
    for seq in range(count):
        await hub.broadcast(WSEnvelope(type="bench.message", data=message(seq, text)), topic=topic)
        await trio.lowlevel.checkpoint()


async def send_each(users: list[str], count: int, text: str) -> None:
    """`count` messages to every user, one `send_to` per message."""
    envelopes = [WSEnvelope(type="bench.message", data=message(seq, text)) for seq in range(count)]
    for user in map(UUID, users):
        for envelope in envelopes:
            await hub.send_to(user, envelope)


async def handler(ws: Any, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """The bench protocol over one connection."""
    sunk = 0
    while True:
        envelope = await ws.receive_envelope()
        data = envelope.data
        match envelope.type:
            case "bench.sink":
                sunk += 1
                if sunk % ACK_EVERY == 0:
                    await ws.send_envelope(WSEnvelope(type="bench.ack", data={"count": sunk}))
            case "bench.echo":
                await ws.send_envelope(envelope)
            case "subscribe":
                await hub.subscribe(connection.connection_id, data["topic"])
                await ws.send_envelope(WSEnvelope(type="bench.subscribed", data=data))
            case "bench.where":
                await ws.send_envelope(WSEnvelope(type="bench.here", data={"pid": os.getpid()}))
            case "bench.fanout":
                await fanout(**data)
                await ws.send_envelope(WSEnvelope(type="bench.done"))
            case "bench.stamp":
                stamped = WSEnvelope(type="bench.stamped", data={"at": time.perf_counter_ns(), "text": data["text"]})
                await hub.broadcast(stamped, topic=data["topic"])
                await ws.send_envelope(WSEnvelope(type="bench.done"))
            case "bench.burst":
                for text in burst_texts(**data):
                    await ws.send(text)
            case "bench.each":
                await send_each(**data)
                await ws.send_envelope(WSEnvelope(type="bench.done"))
            case "bench.stall":
                stall = await longest_stall(trio.sleep, data["seconds"])
                await ws.send_envelope(WSEnvelope(type="bench.stalled", data=stall))


def make_app(path: str = "/ws") -> QuartTrio:
    """The peer, at a path that may have variable parts."""
    app = QuartTrio(__name__)
    app.register_blueprint(
        make_websocket_blueprint(handler, hub=hub, bearer_resolver=bearer_resolver, settings=settings, path=path)
    )
    return app


def copying_the_scope(app: Any) -> Any:
    """Around an app: middleware of the usual kind, which gives it a copy of the scope."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await app(dict(scope), receive, send)

    return wrapped
