"""The handlers of the server tests, each with one behaviour."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import trio

from quart_wshub import WebSocket, WebSocketConnection, WebSocketDisconnect, WebSocketHub, WSEnvelope

__all__ = [
    "GATES",
    "RECORDS",
    "boom",
    "boom_in_a_nursery",
    "chat",
    "command",
    "deaf",
    "echo",
    "flood",
    "json_echo",
    "leave",
    "record",
    "show",
]

RECORDS: defaultdict[str, list[Any]] = defaultdict(list)
"""What handlers saw, by the `key` argument of their handshake; read at `/records`."""

GATES: defaultdict[str, trio.Event] = defaultdict(trio.Event)
"""What handlers wait for before they read; set by `/release`."""


async def echo(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    async for message in ws:
        await ws.send(message)


async def json_echo(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    while True:
        await ws.send_json(await ws.receive_json())


async def show(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """Send what the handshake was, then the `repr` of every message."""
    await ws.send_json(
        {
            "user_id": connection.user_id,
            "claims": dict(connection.claims),
            "path": ws.path,
            "path_params": dict(ws.path_params),
            "args": ws.args.to_dict(),
            "headers": dict(ws.headers),
            "subprotocol": ws.subprotocol,
        }
    )
    async for message in ws:
        await ws.send(repr(message))


async def chat(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """The handler of the smallest app; it also acknowledges subscriptions, so that tests can wait for them."""
    while True:
        envelope = WSEnvelope.model_validate(await ws.receive_json())
        if envelope.type == "subscribe":
            done = await hub.subscribe(connection.connection_id, envelope.data["topic"])
            await ws.send_json({"subscribed": done})
        elif envelope.type == "unsubscribe":
            done = await hub.unsubscribe(connection.connection_id, envelope.data["topic"])
            await ws.send_json({"unsubscribed": done})
        elif envelope.type == "chat.message":
            await hub.broadcast(
                WSEnvelope(type="chat.message", data={"from": connection.user_id, "text": envelope.data["text"]}),
                topic=envelope.data["room"],
            )


async def boom(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    await ws.receive()
    msg = "something only the server should know"
    raise RuntimeError(msg)


async def boom_in_a_nursery(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(boom, ws, connection, hub)
        await trio.sleep_forever()


async def leave(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    await ws.send("bye")


async def deaf(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    await trio.sleep_forever()


async def flood(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    while True:
        await ws.send("x" * 1024)


async def record(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """Record everything up to the cleanup; with `late`, read only once `/release` is called."""
    seen = RECORDS[ws.args["key"]]
    try:
        if "late" in ws.args:
            await GATES[ws.args["key"]].wait()
        while True:
            seen.append(repr(await ws.receive()))
    except WebSocketDisconnect as gone:
        seen.append(f"disconnect {gone.code}")
        try:
            await ws.send("too late")
        except WebSocketDisconnect as still_gone:
            seen.append(f"send raised {still_gone.code}")
        raise
    finally:
        await trio.sleep(0.05)
        seen.append("cleaned up")


async def command(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """Close as the client's first message says."""
    seen = RECORDS[ws.args["key"]]
    asked = await ws.receive_json()
    try:
        await ws.close(*asked["close"])
        seen.append("closed")
        if asked.get("twice"):
            await ws.close(4001, "another")
            seen.append("closed again")
    except ValueError as error:
        seen.append(str(error))
    for method in (ws.receive, ws.receive_json):
        if "closed" in seen:
            try:
                await method()
            except WebSocketDisconnect as gone:
                seen.append(f"{method.__name__} raised {gone.code}")
