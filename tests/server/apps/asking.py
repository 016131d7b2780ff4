"""Tokens that expire, revocation, and requests to clients, as an app would use them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import trio
from quart import Blueprint, request

from quart_wshub import (
    Identity,
    WebSocket,
    WebSocketConnection,
    WebSocketHub,
    WebSocketSettings,
    WSEnvelope,
    WSHubError,
    make_websocket_blueprint,
)
from tests.server.apps.handlers import GATES, RECORDS

__all__ = ["make_asking_blueprints"]


async def resolve(token: str) -> Identity:
    """`<user>:<seconds it lives>`; with a third part it waits for `/release/<that part>`."""
    user, seconds, *gate = token.split(":")
    expires_at = datetime.now(UTC) + timedelta(seconds=float(seconds))
    await trio.lowlevel.checkpoint()
    for key in gate:
        RECORDS[key].append("resolving")
        await GATES[key].wait()
    return Identity(user, expires_at=expires_at, claims={"seconds": seconds})


async def refreshable(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """Treat every message as a newer token."""
    async for token in ws:
        connection.refresh(await resolve(str(token)))
        await ws.send_json({"claims": dict(connection.claims)})


async def curious(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """Send the client a request about every message, and tell it what it replied."""
    async for message in ws:
        reply = await hub.request(connection.connection_id, WSEnvelope(type="why", data={"message": message}))
        await ws.send_json({"you said": reply.data})


def make_asking_blueprints(hub: WebSocketHub, settings: WebSocketSettings) -> list[Blueprint]:
    routes = {"/refreshable": refreshable, "/curious": curious}
    return [
        _make_calls(hub),
        *(
            make_websocket_blueprint(
                handler,
                hub=hub,
                bearer_resolver=resolve,
                settings=settings,
                path=path,
                name=path[1:],
                announce_expiry=path == "/refreshable",
            )
            for path, handler in routes.items()
        ),
    ]


def _make_calls(hub: WebSocketHub) -> Blueprint:
    blueprint = Blueprint("asking", __name__, url_prefix="/hub")

    @blueprint.post("/revoke")
    async def revoke() -> dict[str, Any]:
        return {"result": await hub.revoke(**await request.get_json())}

    @blueprint.post("/request")
    async def ask() -> dict[str, Any]:
        arguments = await request.get_json()
        envelope = WSEnvelope(**arguments["envelope"])
        try:
            reply = await hub.request(UUID(arguments["connection_id"]), envelope, arguments["timeout"])
        except WSHubError as error:
            return {"result": f"{type(error).__name__}: {error}"}
        return {"result": reply.model_dump()}

    return blueprint
