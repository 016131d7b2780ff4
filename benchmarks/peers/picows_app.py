"""Peer `picows`: the Cython WebSocket library on uvloop, with a dict for a hub."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from typing import Any

import uvloop
from picows import (
    WSAutoPingStrategy,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from benchmarks.peers.common import (
    HEARTBEAT_SECONDS,
    Envelope,
    burst_texts,
    encoded,
    longest_stall,
    user_of_path,
)
from benchmarks.protocol import ACK_EVERY, message

TEXT = WSMsgType.TEXT
topics: defaultdict[str, set[WSTransport]] = defaultdict(set)
users: dict[str, WSTransport] = {}
tasks: set[asyncio.Task[None]] = set()


async def fanout(topic: str, count: int, text: str) -> None:
    """`count` broadcasts, and the event loop gets its turn after each."""
    for seq in range(count):
        payload = encoded("bench.message", message(seq, text)).encode()
        for transport in topics[topic]:
            transport.send(TEXT, payload)
        await asyncio.sleep(0)


async def send_each(names: list[str], count: int, text: str) -> None:
    """`count` messages to every user, each encoded when it is sent."""
    envelopes = [Envelope(type="bench.message", data=message(seq, text)) for seq in range(count)]
    for name in names:
        for envelope in envelopes:
            users[name].send(TEXT, envelope.model_dump_json())
        await asyncio.sleep(0)


async def respond_later(transport: WSTransport, kind: str, data: dict[str, Any]) -> None:
    """The requests that take more than one turn of the event loop; picows' callbacks are synchronous."""
    match kind:
        case "bench.fanout":
            await fanout(**data)
            transport.send(TEXT, encoded("bench.done", {}))
        case "bench.each":
            await send_each(data["users"], data["count"], data["text"])
            transport.send(TEXT, encoded("bench.done", {}))
        case "bench.stall":
            stall = await longest_stall(asyncio.sleep, data["seconds"])
            transport.send(TEXT, encoded("bench.stalled", stall))


class Connection(WSListener):
    """The bench protocol over one connection."""

    def __init__(self, user: str) -> None:
        self._user = user
        self._sunk = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Become reachable."""
        users[self._user] = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Leave all topics."""
        for members in topics.values():
            members.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One message; the load generator does not fragment."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type == TEXT:
            self._respond(transport, Envelope.model_validate_json(frame.get_payload_as_utf8_text()))

    def _respond(self, transport: WSTransport, envelope: Envelope) -> None:
        data = envelope.data
        match envelope.type:
            case "bench.sink":
                self._sunk += 1
                if self._sunk % ACK_EVERY == 0:
                    transport.send(TEXT, encoded("bench.ack", {"count": self._sunk}))
            case "bench.echo":
                transport.send(TEXT, envelope.model_dump_json())
            case "subscribe":
                topics[data["topic"]].add(transport)
                transport.send(TEXT, encoded("bench.subscribed", data))
            case "bench.burst":
                for text in burst_texts(**data):
                    transport.send(TEXT, text)
            case kind:
                task = asyncio.create_task(respond_later(transport, kind, data))
                tasks.add(task)
                task.add_done_callback(tasks.discard)


def listener(request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
    """Check the token before the upgrade."""
    user = user_of_path(request.path.decode())
    if user is None:
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(401), None)
    return Connection(user)


async def main(port: int) -> None:
    """Serve until killed."""
    server = await ws_create_server(
        listener,
        "127.0.0.1",
        port,
        max_frame_size=65536,
        enable_auto_ping=True,
        auto_ping_idle_timeout=HEARTBEAT_SECONDS,
        auto_ping_reply_timeout=HEARTBEAT_SECONDS,  # it takes no longer one
        auto_ping_strategy=WSAutoPingStrategy.PING_PERIODICALLY,
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
