"""The same routes twice: `bare` on Quart-Trio alone, to show its faults, and `ours` on the hub."""

from __future__ import annotations

from typing import Any

import trio
from quart import Blueprint, websocket
from quart_trio import QuartTrio

from quart_wshub import (
    WebSocket,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    WebSocketSettings,
    make_websocket_blueprint,
)
from tests.server.apps.introspection import make_introspection_blueprint

__all__ = ["bare", "ours"]

RECORDS: list[str] = []

GATE = trio.Event()

bare = QuartTrio("bare")
ours = QuartTrio("ours")
hub = WebSocketHub()
settings = WebSocketSettings(WS_HELLO=False)


def make_records_blueprint() -> Blueprint:
    blueprint = Blueprint("records", __name__)

    @blueprint.get("/records")
    async def records() -> dict[str, Any]:
        return {"records": RECORDS}

    @blueprint.post("/release")
    async def release() -> dict[str, Any]:
        GATE.set()
        return {}

    return blueprint


for app in (bare, ours):
    app.register_blueprint(make_introspection_blueprint(hub if app is ours else None))
    app.register_blueprint(make_records_blueprint())


@bare.after_websocket
@ours.after_websocket
async def note(response: Any) -> Any:
    if websocket.path == "/late":
        RECORDS.append("after_websocket")
    return response


async def fail_when_cancelled() -> None:
    try:
        await trio.sleep_forever()
    finally:
        msg = "cleanup failed"
        raise RuntimeError(msg)


async def work_until_cancelled() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(fail_when_cancelled)


# Bare


@bare.websocket("/flood")
async def bare_flood() -> None:
    while True:
        await websocket.send("x" * 100)


@bare.websocket("/deaf")
async def bare_deaf() -> None:
    await websocket.accept()
    await trio.sleep_forever()


@bare.websocket("/show")
async def bare_show() -> None:
    while True:
        await websocket.send(repr(await websocket.receive()))


@bare.websocket("/late")
async def bare_late() -> None:
    await websocket.accept()
    try:
        await GATE.wait()
        while True:
            RECORDS.append(str(await websocket.receive()))
    except trio.Cancelled:
        RECORDS.append("cancelled")
        raise


@bare.websocket("/boom")
async def bare_boom() -> None:
    await websocket.receive()
    msg = "boom"
    raise RuntimeError(msg)


@bare.websocket("/work")
async def bare_work() -> None:
    await websocket.accept()
    await work_until_cancelled()


@bare.websocket("/close/<int:code>")
async def bare_close(code: int) -> None:
    await websocket.receive()
    await websocket.close(code)


@bare.websocket("/close-twice")
async def bare_close_twice() -> None:
    await websocket.accept()
    try:
        await websocket.close(4000)
        await websocket.close(4001)
        RECORDS.append("closed twice")
    except RuntimeError as error:
        RECORDS.append(f"second close: {error}")


@bare.websocket("/refuse")
async def bare_refuse() -> None:
    await websocket.close(4401)


# Ours


async def flood(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    while True:
        await ws.send("x" * 100)


async def deaf(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    await trio.sleep_forever()


async def show(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    while True:
        await ws.send(repr(await ws.receive()))


async def late(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    try:
        await GATE.wait()
        while True:
            RECORDS.append(str(await ws.receive()))
    except trio.Cancelled:
        RECORDS.append("cancelled")
        raise
    except WebSocketDisconnect:
        RECORDS.append("disconnect")
        raise


async def boom(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    await ws.receive()
    msg = "boom"
    raise RuntimeError(msg)


async def work(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    await work_until_cancelled()


async def close(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    await ws.receive()
    try:
        await ws.close(ws.path_params["code"])
    except ValueError as error:
        RECORDS.append(str(error))


async def close_twice(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    await ws.close(4000)
    await ws.close(4001)
    RECORDS.append("closed twice")


def resolve(token: str) -> str | None:
    return None if token == "bad" else "user"


ROUTES = {
    "/flood": flood,
    "/deaf": deaf,
    "/show": show,
    "/late": late,
    "/boom": boom,
    "/work": work,
    "/close/<int:code>": close,
    "/close-twice": close_twice,
    "/refuse": show,
    "/echo": show,
}

for path, handler in ROUTES.items():
    ours.register_blueprint(
        make_websocket_blueprint(
            handler, hub=hub, bearer_resolver=resolve, settings=settings, path=path, name=handler.__name__ + path[1:3]
        )
    )
