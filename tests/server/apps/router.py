"""A `MessageRouter` that records how connections end; read at `/notes`."""

from __future__ import annotations

from typing import Any

import trio
from pydantic import BaseModel
from quart_trio import QuartTrio

from quart_wshub import (
    MessageRouter,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    WebSocketSettings,
    WSEnvelope,
    make_websocket_blueprint,
)
from tests.server.apps import resolvers
from tests.server.apps.console import log_to_console
from tests.server.apps.introspection import make_introspection_blueprint

__all__ = ["app"]

log_to_console()

settings = WebSocketSettings()
hub = WebSocketHub(max_per_user=settings.WS_MAX_CONNECTIONS_PER_USER)
messages = MessageRouter()
notes: dict[str, list[Any]] = {}


class Note(BaseModel):
    """A text to record."""

    text: str


def note(connection: WebSocketConnection, what: object) -> None:
    notes.setdefault(str(connection.user_id), []).append(what)


@messages.on_disconnect
async def left(connection: WebSocketConnection, hub: WebSocketHub, close: WebSocketDisconnect) -> None:
    await trio.sleep(0.1)
    note(connection, {"left": close.code, "online": connection.user_id in hub.online_users()})
    # For the log, because at a shutdown `/notes` is not served any more.
    print(f"on_disconnect ran to its end for {connection.user_id}", flush=True)


@messages.on("note")
async def take_note(message: Note, connection: WebSocketConnection) -> None:
    await trio.sleep(0.01)
    note(connection, message.text)


@messages.on("wait", concurrent=True)
async def wait(message: WSEnvelope, connection: WebSocketConnection) -> None:
    try:
        await trio.sleep_forever()
    finally:
        note(connection, "cancelled")


app = QuartTrio(__name__)
app.register_blueprint(make_introspection_blueprint(hub))
app.register_blueprint(
    make_websocket_blueprint(messages, hub=hub, bearer_resolver=resolvers.resolve, settings=settings, path="/echo")
)


@app.get("/notes")
async def read_notes() -> dict[str, list[Any]]:
    return notes
