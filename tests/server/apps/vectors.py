"""The app of the wire vectors: for each case of `tests/vectors/*.json` a route with the settings it was given.

The router is the one that `tests/vectors/README.md` describes, so that tests in any language may rely on it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import trio
from pydantic import BaseModel, Field
from quart_trio import QuartTrio

from quart_wshub import (
    ErrorCode,
    Identity,
    MessageError,
    MessageRouter,
    WebSocketConnection,
    WebSocketHub,
    WebSocketSettings,
    WSEnvelope,
    make_websocket_blueprint,
)
from tests.server.apps.console import log_to_console
from tests.server.apps.introspection import make_introspection_blueprint
from tests.server.apps.plain import make_plain_blueprint

__all__ = ["app"]

VECTORS = Path(__file__).resolve().parents[2] / "vectors"

log_to_console()

hub = WebSocketHub()


async def resolve(token: str) -> str | Identity | None:
    """`bad` is a bad token and `broken` breaks the resolver; `name@date` expires; any other is the user's name."""
    if token == "broken":
        raise RuntimeError
    name, _, date = token.partition("@")
    if date:
        return Identity(name, expires_at=datetime.fromisoformat(date).replace(tzinfo=UTC))
    return None if token == "bad" else token


class Echo(BaseModel):
    text: str
    times: int = Field(default=1, ge=1)


class Published(BaseModel):
    topic: str
    text: str


class Code(BaseModel):
    code: str


class Kind(BaseModel):
    kind: Literal["a", "b"]


def make_router() -> MessageRouter:
    messages = MessageRouter()

    @messages.authorize("room:")
    def everyone(connection: WebSocketConnection, topic: str) -> bool:
        return True

    @messages.authorize("room:secret")
    async def nobody(connection: WebSocketConnection, topic: str) -> bool:
        return False

    @messages.authorize("broken:")
    def broken(connection: WebSocketConnection, topic: str) -> bool:
        raise LookupError

    @messages.on("echo")
    async def echo(message: Echo) -> Echo:
        return message

    @messages.on("raw")
    async def raw(message: WSEnvelope) -> dict[str, Any]:
        return message.data

    @messages.on("nothing")
    async def nothing(message: WSEnvelope) -> None: ...

    @messages.on("kind")
    async def kind(message: Kind) -> None: ...

    @messages.on("publish")
    async def publish(message: Published, hub: WebSocketHub) -> dict[str, int]:
        envelope = WSEnvelope(type="published", data={"text": message.text})
        return {"reached": await hub.broadcast(envelope, topic=message.topic)}

    @messages.on("refuse")
    async def refuse(message: Code) -> None:
        raise MessageError(message.code, "as you asked", details=[{"asked": True}])

    @messages.on("break")
    async def break_down(message: WSEnvelope) -> None:
        raise RuntimeError

    @messages.on("slow", timeout=0.05)
    async def slow(message: WSEnvelope) -> None:
        await trio.sleep_forever()

    @messages.on("wait", concurrent=True)
    async def wait(message: WSEnvelope) -> None:
        await trio.sleep_forever()

    @messages.on("close")
    async def close(message: WSEnvelope, connection: WebSocketConnection) -> None:
        await connection.ws.close(message.data["code"], message.data["reason"])

    return messages


def make_refusing_router() -> MessageRouter:
    messages = make_router()

    @messages.on_connect
    async def refuse(connection: WebSocketConnection, hub: WebSocketHub) -> None:
        raise MessageError(ErrorCode.FORBIDDEN, "not here")

    return messages


ROUTERS = {"router": make_router(), "refusing": make_refusing_router()}

app = QuartTrio(__name__)
app.register_blueprint(make_introspection_blueprint(hub))
app.register_blueprint(make_plain_blueprint())

# The check for leaks connects here first.
app.register_blueprint(
    make_websocket_blueprint(
        ROUTERS["router"], hub=hub, bearer_resolver=resolve, settings=WebSocketSettings(), path="/echo", name="warm-up"
    )
)

for file in sorted(VECTORS.glob("*.json")):
    for number, case in enumerate(json.loads(file.read_text())):
        given = case.get("given", {})
        app.register_blueprint(
            make_websocket_blueprint(
                ROUTERS[given.get("router", "router")],
                hub=hub,
                bearer_resolver=resolve,
                settings=WebSocketSettings(**{"WS_HELLO": False, **given.get("settings", {})}),
                path=f"/vectors/{file.stem}/{number}",
                name=f"{file.stem}{number}",
            )
        )
