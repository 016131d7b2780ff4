"""Quart's own WebSocket routes, which have nothing to do with the hub."""

from __future__ import annotations

from contextlib import suppress

import quart.wrappers
import trio
from quart import Blueprint, Response, abort, websocket

__all__ = ["make_plain_blueprint"]

# With Quart-Trio 0.13, receive() may raise this when the client leaves, and Quart logs it as the route's error. Before,
# the route was cancelled.
CLIENT_LEFT: type[Exception] = getattr(quart.wrappers, "ClientDisconnectedError", trio.EndOfChannel)


def make_plain_blueprint() -> Blueprint:
    blueprint = Blueprint("plain", __name__, url_prefix="/plain")

    @blueprint.websocket("/echo")
    async def echo() -> None:
        with suppress(CLIENT_LEFT):
            while True:
                await websocket.send(await websocket.receive())

    @blueprint.websocket("/subprotocol")
    async def subprotocol() -> None:
        await websocket.accept(subprotocol="plain.v1")
        await websocket.send(f"query={websocket.query_string.decode()}")

    @blueprint.websocket("/close")
    async def close() -> None:
        await websocket.accept()
        await websocket.close(4123, "as the app says")

    @blueprint.websocket("/refuse")
    async def refuse() -> None:
        abort(401)

    @blueprint.websocket("/respond")
    async def respond() -> Response:
        return Response("no\n", 418)

    return blueprint
