"""A plain handler that dispatches, replies and sends requests as docs/wire.md says, for tests of clients."""

from __future__ import annotations

from collections import Counter
from typing import Any

from quart_trio import QuartTrio

from quart_wshub import (
    WebSocket,
    WebSocketConnection,
    WebSocketHub,
    WebSocketSettings,
    WSEnvelope,
    make_websocket_blueprint,
)
from tests.server.apps.console import log_to_console
from tests.server.apps.handlers import echo
from tests.server.apps.introspection import make_introspection_blueprint
from tests.server.apps.resolvers import resolve

__all__ = ["app"]

log_to_console()

settings = WebSocketSettings()
hub = WebSocketHub(max_per_user=settings.WS_MAX_CONNECTIONS_PER_USER)

NOTES: Counter[str] = Counter()
"""How often each note has arrived."""

REFRESHED: list[str] = []
"""The tokens that came with `auth.refresh`."""


async def dispatch(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    while True:
        request = await ws.receive_envelope()
        answer = await serve(request, ws, connection)
        if answer is not None and request.request_id is not None:
            await ws.send_envelope(answer)


async def serve(request: WSEnvelope, ws: WebSocket, connection: WebSocketConnection) -> WSEnvelope | None:
    data = request.data
    match request.type:
        case "echo":
            return reply_to(request, data)
        case "note":
            NOTES[data["note"]] += 1
            return reply_to(request, {})
        case "subscribe":
            if data["topic"].startswith("secret"):
                return error_for(request, "forbidden")
            await hub.subscribe(connection.connection_id, data["topic"])
            return reply_to(request, data)
        case "unsubscribe":
            await hub.unsubscribe(connection.connection_id, data["topic"])
            return reply_to(request, data)
        case "publish":
            await hub.broadcast(WSEnvelope(type="publication", data=data), topic=data["topic"])
            return reply_to(request, {})
        case "auth.refresh":
            REFRESHED.append(data["token"])
            return reply_to(request, {})
        case "be.asked":
            await ws.send_envelope(WSEnvelope(type=data["type"], data=data["data"], request_id="asked"))
            answer = await ws.receive_envelope()
            return reply_to(request, answer.model_dump())
        case "be.told":
            await ws.send_envelope(WSEnvelope(type=data["type"], data=data.get("data", {})))
            return reply_to(request, {})
        case "be.closed":
            await ws.close(data["code"], "as you like")
            return None
        case "be.silent":
            return None
        case _:
            return error_for(request, "unknown_type")


def reply_to(request: WSEnvelope, data: dict[str, Any]) -> WSEnvelope:
    return WSEnvelope(type=f"{request.type}.reply", data=data, request_id=request.request_id)


def error_for(request: WSEnvelope, code: str) -> WSEnvelope:
    data = {"code": code, "message": f"{code}: {request.type}", "details": []}
    return WSEnvelope(type="error", data=data, request_id=request.request_id)


app = QuartTrio(__name__)
app.register_blueprint(make_introspection_blueprint(hub))
for name, handler in {"ws": dispatch, "echo": echo}.items():
    app.register_blueprint(
        make_websocket_blueprint(
            handler, hub=hub, bearer_resolver=resolve, settings=settings, path=f"/{name}", name=name
        )
    )


@app.get("/notes")
async def notes() -> dict[str, int]:
    return dict(NOTES)


@app.get("/refreshed")
async def refreshed() -> list[str]:
    return REFRESHED
