"""The main app with routes into its own process, served in each of the ways there are.

python -m tests.server.native.apps.served run|serve <port>
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypercorn.trio.run
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response

from quart_wshub import WebSocket, WebSocketConnection, WebSocketHub, make_websocket_blueprint
from quart_wshub.hub.websocket_hub import runtime_of
from tests.server.apps import resolvers
from tests.server.apps.main import app, hub, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["app", "hub", "settings"]

SIOCOUTQNSD = 0x894B
"""Linux: the bytes in a socket's send queue that were not sent even once."""

shutdown_was_asked_for = trio.Event()


@app.get("/process")
async def process() -> dict[str, Any]:
    """Who answers, and what is peculiar to it."""
    return {"pid": os.getpid(), "tcp_server": vars(hypercorn.trio.run)["TCPServer"].__name__, "peak_memory": _peak()}


def _peak() -> int:
    """The most memory the process ever had, in bytes."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024


@app.post("/forget-peak-memory")
async def forget_peak_memory() -> dict[str, Any]:
    """From here on, so that the most is the most since then."""
    _forget_peak()
    return {}


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@app.get("/connections/<user>")
async def connections(user: str) -> dict[str, Any]:
    """The statistics of a user's connections."""
    found = [member for member in runtime_of(hub).registry.everyone() if member.user_id == user]
    return {"statistics": [asdict(member.statistics()) for member in found]}


@app.get("/socket/<int:port>")
async def socket_to(port: int) -> dict[str, int]:
    """Of the socket whose peer has this port: an option, and how many bytes the kernel has taken and not yet sent."""
    for held in _sockets():
        with held, suppress(OSError, IndexError):
            if held.getpeername()[1] == port:
                return {
                    "no_delay": held.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                    "unsent": int.from_bytes(fcntl.ioctl(held, SIOCOUTQNSD, bytes(4)), sys.byteorder),
                }
    return {}


def _sockets() -> Iterator[socket.socket]:
    for entry in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            descriptor = os.dup(int(entry.name))
            try:
                yield socket.socket(fileno=descriptor)
            except OSError:
                os.close(descriptor)


@app.post("/drain/<float:seconds>")
async def drain(seconds: float) -> dict[str, Any]:
    start = trio.current_time()
    drained = await hub.drain(seconds)
    return {"result": {"drained": drained, "took": trio.current_time() - start}}


@app.post("/shutdown")
async def shutdown() -> dict[str, Any]:
    """What `serve` was told to wait for."""
    shutdown_was_asked_for.set()
    return {}


@app.get("/big")
async def big() -> Response:
    return Response(b"x" * 30_000_000)


async def burst(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """For every message, `count` messages of `size` bytes."""
    message = "x" * int(ws.args["size"])
    async for _ in ws:
        for _ in range(int(ws.args["count"])):
            await ws.send(message)


async def clean_up_slowly(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """Take a while to clean up, shielded, and say so in the log."""
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.3)
        print("cleaned up after", connection.user_id, flush=True)


for path, handler in {"/burst": burst, "/clean-up-slowly": clean_up_slowly}.items():
    app.register_blueprint(
        make_websocket_blueprint(
            handler, hub=hub, bearer_resolver=resolvers.resolve, settings=settings, path=path, name=handler.__name__
        )
    )


def main(way: str, port: int) -> None:
    if way == "run":
        app.run(port=port)
    else:
        config = Config()
        config.bind = [f"127.0.0.1:{port}"]
        trio.run(serve_until_asked, config)


async def serve_until_asked(config: Config) -> None:
    await serve(app, config, shutdown_trigger=shutdown_was_asked_for.wait)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
