"""A WebSocket handshake inside hypercorn, and how the app claims the byte stream below it."""

from __future__ import annotations

from abc import abstractmethod
from time import time
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.protocol.events import Body, Data

from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE
from quart_wshub.protocol.errors import WebSocketDisconnect
from quart_wshub.transport.pipes import Pipe, SocketPipe, StreamPipe
from quart_wshub.transport.upgrade import Upgrade

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from hypercorn.config import Config
    from hypercorn.protocol.ws_stream import WSStream
    from hypercorn.trio.task_group import TaskGroup

    from quart_wshub.transport.hypercorn.served_connection import ServedConnection
    from quart_wshub.transport.hypercorn.shutdown import Worker

__all__ = ["InterceptedUpgrade", "UpgradeOverHttp1", "pipe_over", "switching_protocols"]

MAX_EARLY_BYTES = 64 * 1024
"""What is read of a client that sends ahead of the answer to its handshake, before it has to wait."""


def pipe_over(stream: Any) -> Pipe:
    """The bytes of a TCP connection, or of TLS over it."""
    return StreamPipe(stream) if isinstance(stream, trio.SSLStream) else SocketPipe(stream)


def switching_protocols(headers: list[tuple[bytes, bytes]], config: Config) -> bytes:
    """The 101 response with these headers and the server's own. (h11 takes longer over it than all the rest.)"""
    fields = [*headers, *config.response_headers("h11")]
    return b"HTTP/1.1 101 \r\n%s\r\n" % b"".join([b"%s: %s\r\n" % field for field in fields])


class InterceptedUpgrade(Upgrade):
    """Stands between hypercorn and its `WSStream` until the handshake is decided.

    Until then it keeps what the client sends ahead. If the app accepts through ASGI, hypercorn gets that and serves on;
    if the app claims the byte stream, the claimer gets it, and hypercorn is out of the way.
    """

    __slots__ = (
        "_claimed",
        "_connection",
        "_decided",
        "_early",
        "_handle_in_hypercorn",
        "_send_in_hypercorn",
        "_stream",
        "_task_group",
    )

    def __init__(self, connection: ServedConnection, stream: WSStream, task_group: TaskGroup) -> None:
        self._connection = connection
        self._stream = stream
        self._task_group = task_group
        self._early: bytearray | None = bytearray()
        self._claimed = False
        self._decided = trio.Event()
        self._handle_in_hypercorn = stream.handle
        self._send_in_hypercorn = stream.app_send
        stream.handle = self._handle  # type: ignore[method-assign]

    @property
    def worker(self) -> Worker:
        return self._connection.worker

    @property
    def scope(self) -> MutableMapping[str, Any]:  # type: ignore[override]  # read-only
        return self._stream.scope  # type: ignore[return-value]  # a TypedDict

    async def accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        if self._decided.is_set():
            raise WebSocketDisconnect(ABNORMAL_CLOSURE)
        self._stream.handshake.extensions = None
        self._claimed = True
        self._decided.set()
        return await self._accept(subprotocol, headers)

    @abstractmethod
    async def _accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        """`accept`, which has claimed the handshake."""

    def _take_early(self) -> bytes:
        early, self._early = self._early or b"", None
        return bytes(early)

    async def app_send(self, message: Any) -> None:
        """The app's ASGI `send`. Hypercorn calls it with `None` when the app has returned."""
        if self._claimed:
            if message is None:
                await self._end()
            return
        await self._send_in_hypercorn(message)
        if not self._decided.is_set():
            self._decided.set()
            # In a task of its own: this one is the app's, which has to receive what it is about to be sent.
            self._task_group.spawn(self._forward_early)

    async def _end(self) -> None:
        """The app, which claimed the handshake, has returned."""

    async def _forward_early(self) -> None:
        while self._early and self._stream.handshake.accepted:
            data, self._early = bytes(self._early), bytearray()
            await self._handle_in_hypercorn(Data(stream_id=self._stream.stream_id, data=data))
        self._early = None

    async def _handle(self, event: Any) -> None:
        if self._early is not None and isinstance(event, (Body, Data)):
            self._early += event.data
            if len(self._early) > MAX_EARLY_BYTES:
                await self._decided.wait()
        elif self._claimed:
            await self._handle_claimed(event)
        elif self._stream.handshake.accepted or not isinstance(event, (Body, Data)):
            # Else the handshake is being refused, and hypercorn would send a second response, and fail.
            await self._handle_in_hypercorn(event)

    async def _handle_claimed(self, event: Any) -> None:
        """What hypercorn still reads of a claimed stream; over HTTP/1.1 nothing but its end."""


class UpgradeOverHttp1(InterceptedUpgrade):
    """The whole connection is claimed: the TCP socket, or the TLS stream over it."""

    __slots__ = ()

    async def _accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        connection, config, stream = self._connection, self._connection.config, self._stream
        unread = await connection.hand_over()
        status, accepted, _ = stream.handshake.accept(subprotocol, headers)
        await config.log.access(stream.scope, {"status": status, "headers": accepted}, time() - stream.start_time)
        # The connection may go on for days, without what hypercorn keeps for HTTP.
        connection.forget_http()
        del self._decided, self._stream, self._handle_in_hypercorn, self._send_in_hypercorn
        return (
            pipe_over(connection.stream),
            self._take_early() + unread,
            switching_protocols(accepted, config),
        )
