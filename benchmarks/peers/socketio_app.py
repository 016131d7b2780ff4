"""Peer `socketio`: python-socketio with its Redis manager, on uvicorn with uvloop and httptools."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any
from urllib.parse import parse_qs

import socketio
import uvicorn

from benchmarks.peers.common import HEARTBEAT_SECONDS, TIMEOUT_SECONDS, user_of_token
from benchmarks.protocol import REDIS_VARIABLE, message

sio = socketio.AsyncServer(
    async_mode="asgi",
    client_manager=socketio.AsyncRedisManager(os.environ[REDIS_VARIABLE]),
    transports=["websocket"],
    ping_interval=HEARTBEAT_SECONDS,
    ping_timeout=TIMEOUT_SECONDS,
)


@sio.on("connect")
async def connect(sid: str, environ: dict[str, Any], auth: object) -> bool:
    """Check the token."""
    (token,) = parse_qs(environ["QUERY_STRING"])["token"]
    return user_of_token(token) is not None


@sio.on("subscribe")
async def subscribe(sid: str, data: dict[str, Any]) -> None:
    """A topic is a room here."""
    await sio.enter_room(sid, data["topic"])
    await sio.emit("bench.subscribed", data, to=sid)


@sio.on("bench.where")
async def where(sid: str, data: dict[str, Any]) -> None:
    """Which worker this is."""
    await sio.emit("bench.here", {"pid": os.getpid()}, to=sid)


@sio.on("bench.fanout")
async def fanout(sid: str, data: dict[str, Any]) -> None:
    """`count` broadcasts, and the event loop gets its turn after each."""
    for seq in range(data["count"]):
        await sio.emit("bench.message", message(seq, data["text"]), room=data["topic"])
        await asyncio.sleep(0)
    await sio.emit("bench.done", {}, to=sid)


@sio.on("bench.stamp")
async def stamp(sid: str, data: dict[str, Any]) -> None:
    """One broadcast that says when it was made."""
    await sio.emit("bench.stamped", {"at": time.perf_counter_ns(), "text": data["text"]}, room=data["topic"])
    await sio.emit("bench.done", {}, to=sid)


app = socketio.ASGIApp(sio)

if __name__ == "__main__":
    uvicorn.run(
        "benchmarks.peers.socketio_app:app",
        host="127.0.0.1",
        port=int(sys.argv[1]),
        workers=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        ws_ping_interval=None,
    )
