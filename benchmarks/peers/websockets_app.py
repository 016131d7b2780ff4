"""Peer `websockets`: the websockets library and its `broadcast`, on uvloop, with a dict for a hub."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from benchmarks.peers.common import (
    HEARTBEAT_SECONDS,
    TIMEOUT_SECONDS,
    Envelope,
    burst_texts,
    encoded,
    longest_stall,
    user_of_path,
)
from benchmarks.protocol import ACK_EVERY, message

if TYPE_CHECKING:
    from websockets.http11 import Request, Response

topics: defaultdict[str, set[ServerConnection]] = defaultdict(set)
users: dict[str, ServerConnection] = {}


def authenticate(connection: ServerConnection, request: Request) -> Response | None:
    """Check the token before the upgrade."""
    user = user_of_path(request.path)
    if user is None:
        return connection.respond(HTTPStatus.UNAUTHORIZED, "bad token\n")
    users[user] = connection
    return None


async def fanout(topic: str, count: int, text: str) -> None:
    """`count` broadcasts. Without a turn for the event loop uvloop would join them all into one write per socket."""
    for seq in range(count):
        broadcast(topics[topic], encoded("bench.message", message(seq, text)))
        await asyncio.sleep(0)


async def send_each(names: list[str], count: int, text: str) -> None:
    """`count` messages to every user, each encoded when it is sent."""
    envelopes = [Envelope(type="bench.message", data=message(seq, text)) for seq in range(count)]
    for name in names:
        for envelope in envelopes:
            await users[name].send(envelope.model_dump_json())
        await asyncio.sleep(0)


async def respond(ws: ServerConnection, envelope: Envelope) -> None:
    """All requests but the counted one."""
    data: dict[str, Any] = envelope.data
    match envelope.type:
        case "bench.echo":
            await ws.send(envelope.model_dump_json())
        case "subscribe":
            topics[data["topic"]].add(ws)
            await ws.send(encoded("bench.subscribed", data))
        case "bench.fanout":
            await fanout(**data)
            await ws.send(encoded("bench.done", {}))
        case "bench.burst":
            for text in burst_texts(**data):
                await ws.send(text)
        case "bench.each":
            await send_each(data["users"], data["count"], data["text"])
            await ws.send(encoded("bench.done", {}))
        case "bench.stall":
            stall = await longest_stall(asyncio.sleep, data["seconds"])
            await ws.send(encoded("bench.stalled", stall))


async def handler(ws: ServerConnection) -> None:
    """The bench protocol over one connection."""
    sunk = 0
    try:
        async for text in ws:
            envelope = Envelope.model_validate_json(text)
            if envelope.type == "bench.sink":
                sunk += 1
                if sunk % ACK_EVERY == 0:
                    await ws.send(encoded("bench.ack", {"count": sunk}))
            else:
                await respond(ws, envelope)
    finally:
        for members in topics.values():
            members.discard(ws)


async def main(port: int) -> None:
    """Serve until killed."""
    async with serve(
        handler,
        "127.0.0.1",
        port,
        process_request=authenticate,
        ping_interval=HEARTBEAT_SECONDS,
        ping_timeout=TIMEOUT_SECONDS,
        max_size=65536,
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
