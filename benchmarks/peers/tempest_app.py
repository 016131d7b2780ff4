"""Peer `tempest`: tempest-fastapi-sdk's hub, the same API on FastAPI, on uvicorn with uvloop and httptools."""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID

import uvicorn
from fastapi import FastAPI, WebSocket
from tempest_fastapi_sdk.settings import WebSocketSettings
from tempest_fastapi_sdk.websockets import WebSocketConnection, WebSocketHub, WSEnvelope, make_websocket_router

from benchmarks.peers.common import burst_texts, longest_stall, user_of_token
from benchmarks.protocol import ACK_EVERY, message

settings = WebSocketSettings()
hub = WebSocketHub(max_per_user=settings.WS_MAX_CONNECTIONS_PER_USER)


async def bearer_resolver(token: str) -> UUID | None:
    """The same check as in every Python peer."""
    user = user_of_token(token)
    return UUID(user) if user is not None else None


async def send_envelope(ws: WebSocket, envelope: WSEnvelope) -> None:
    """Send the way the SDK itself does."""
    await ws.send_json(envelope.model_dump())


async def fanout(topic: str, count: int, text: str) -> None:
    """`count` broadcasts, and the event loop gets its turn after each."""
    for seq in range(count):
        await hub.broadcast(WSEnvelope(type="bench.message", data=message(seq, text)), topic=topic)
        await asyncio.sleep(0)


async def send_each(users: list[str], count: int, text: str) -> None:
    """`count` messages to every user, one `send_to` per message."""
    envelopes = [WSEnvelope(type="bench.message", data=message(seq, text)) for seq in range(count)]
    for user in map(UUID, users):
        for envelope in envelopes:
            await hub.send_to(user, envelope)
        await asyncio.sleep(0)


async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """The bench protocol over one connection."""
    sunk = 0
    while True:
        envelope = WSEnvelope.model_validate(await ws.receive_json())
        data = envelope.data
        match envelope.type:
            case "bench.sink":
                sunk += 1
                if sunk % ACK_EVERY == 0:
                    await send_envelope(ws, WSEnvelope(type="bench.ack", data={"count": sunk}))
            case "bench.echo":
                await send_envelope(ws, envelope)
            case "subscribe":
                await hub.subscribe(connection.connection_id, data["topic"])
                await send_envelope(ws, WSEnvelope(type="bench.subscribed", data=data))
            case "bench.fanout":
                await fanout(**data)
                await send_envelope(ws, WSEnvelope(type="bench.done"))
            case "bench.burst":
                for text in burst_texts(**data):
                    await ws.send_text(text)
            case "bench.each":
                await send_each(**data)
                await send_envelope(ws, WSEnvelope(type="bench.done"))
            case "bench.stall":
                stall = await longest_stall(asyncio.sleep, data["seconds"])
                await send_envelope(ws, WSEnvelope(type="bench.stalled", data=stall))


app = FastAPI()
app.include_router(
    make_websocket_router(handler, hub=hub, bearer_resolver=bearer_resolver, settings=settings, path="/ws")
)

if __name__ == "__main__":
    # The hub sends its own heartbeats; a second, protocol-level one would only cost it memory and time.
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        ws_ping_interval=None,
    )
