"""The served app, with handlers that note how their sockets end, and with busy ones."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import trio

from quart_wshub import WebSocket, WebSocketConnection, WebSocketDisconnect, WebSocketHub, make_websocket_blueprint
from tests.server.apps import resolvers
from tests.server.apps.handlers import GATES
from tests.server.native.apps.served import app, hub, settings

__all__ = ["app"]

ENDS: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
"""Code and reason of every `WebSocketDisconnect`, by the `key` argument of the handshake."""


@app.get("/ends/<key>")
async def ends(key: str) -> dict[str, Any]:
    return {"ends": ENDS[key]}


async def note(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """Read to the end, and note what it was."""
    try:
        while True:
            await ws.receive()
    except WebSocketDisconnect as gone:
        ENDS[ws.args["key"]].append((gone.code, gone.reason))


async def talk(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """As `note`, and meanwhile send without a pause, to the end of that."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, ws, connection, hub)
        try:
            while True:
                await ws.send("x" * 1000)
        except WebSocketDisconnect as gone:
            ENDS[ws.args["key"]].append((gone.code, gone.reason))


async def start_late(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """Read nothing before `/release`; then answer every message with its first eight characters."""
    await GATES[ws.args["key"]].wait()
    async for message in ws:
        await ws.send(message[:8])


async def count(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """For every message, as many as it says, numbered, in one go."""
    async for message in ws:
        for number in range(int(message)):
            await ws.send(str(number))


for handler in (note, talk, start_late, count):
    app.register_blueprint(
        make_websocket_blueprint(
            handler,
            hub=hub,
            bearer_resolver=resolvers.resolve,
            settings=settings,
            path=f"/{handler.__name__.replace('_', '-')}",
            name=handler.__name__,
        )
    )
