"""One WebSocket handshake inside hypercorn, and the taking over of what is below it."""

from __future__ import annotations

from contextlib import suppress
from time import time
from typing import TYPE_CHECKING, Any

import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.events import RawData
from hypercorn.protocol.events import Body, Data, EndBody, EndData, StreamClosed
from hypercorn.trio.task_group import TaskGroup

from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE
from quart_wshub.protocol.errors import WebSocketDisconnect
from quart_wshub.transport.hypercorn.http2 import ForgivingStreams, Http2Pipe
from quart_wshub.transport.pipes import Pipe, SocketPipe, StreamPipe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config
    from hypercorn.protocol.ws_stream import WSStream

    from quart_wshub.transport.hypercorn.server import HubTCPServer
    from quart_wshub.transport.hypercorn.shutdown import Worker

__all__ = [
    "EXTENSION",
    "Upgrade",
    "UpgradeOverHttp1",
    "UpgradeOverHttp2",
    "UpgradingTaskGroup",
    "pipe_over",
    "switching_protocols",
]

EXTENSION = "quart_wshub.upgrade"
"""Where the ASGI scope of a handshake has its `Upgrade`."""

MAX_EARLY_BYTES = 64 * 1024
"""What is read of a client that sends ahead of the answer to its handshake, before it has to wait."""


class Upgrade:
    """A handshake whose socket the app can take over."""

    __slots__ = ("_server",)

    def __init__(self, server: HubTCPServer) -> None:
        self._server = server

    @property
    def worker(self) -> Worker:
        """What this connection shares with the others of the process."""
        return self._server.worker

    async def accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        """Answer 101 and take the bytes below over. Call it once.

        Returns them, what was received ahead, and what of the answer is left to the caller to send first.

        `permessage-deflate` is negotiated by `headers` alone: hypercorn would accept it from everyone.

        Raises:
            WebSocketDisconnect: the handshake was answered already, by a hook that refused it and let it go on.
        """
        raise NotImplementedError


def pipe_over(stream: Any) -> Pipe:
    """The bytes of a TCP connection, or of TLS over it."""
    return StreamPipe(stream) if isinstance(stream, trio.SSLStream) else SocketPipe(stream)


def switching_protocols(headers: list[tuple[bytes, bytes]], config: Config) -> bytes:
    """The 101 of these headers and the server's own: h11 takes longer over that than all the rest."""
    fields = [*headers, *config.response_headers("h11")]
    return b"HTTP/1.1 101 \r\n%s\r\n" % b"".join([b"%s: %s\r\n" % field for field in fields])


class InterceptedUpgrade(Upgrade):
    """Stands between hypercorn and its `WSStream` until it is decided whose socket this becomes.

    Until then what the client sends ahead is kept. If the app accepts through ASGI, hypercorn gets it and carries on
    as ever; if the app claims the socket, the claimer gets it, and hypercorn is out of the way.
    """

    __slots__ = (
        "_claimed",
        "_decided",
        "_early",
        "_handle_in_hypercorn",
        "_send_in_hypercorn",
        "_stream",
        "_task_group",
    )

    def __init__(self, server: HubTCPServer, stream: WSStream, task_group: TaskGroup) -> None:
        super().__init__(server)
        self._stream = stream
        self._task_group = task_group
        self._early: bytearray | None = bytearray()
        self._claimed = False
        self._decided = trio.Event()
        self._handle_in_hypercorn = stream.handle
        self._send_in_hypercorn = stream.app_send
        stream.handle = self._handle  # type: ignore[method-assign]

    async def accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        if self._decided.is_set():
            raise WebSocketDisconnect(ABNORMAL_CLOSURE)
        self._stream.handshake.extensions = None
        self._claimed = True
        self._decided.set()
        return await self._accept(subprotocol, headers)

    async def _accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        raise NotImplementedError

    async def _give_back(self) -> None:
        raise NotImplementedError

    def _take_early(self) -> bytes:
        early, self._early = self._early or b"", None
        return bytes(early)

    async def app_send(self, message: Any) -> None:
        """What the app's ASGI `send` is. `None` is hypercorn's word for the app having returned."""
        if self._claimed:
            if message is None:
                await self._give_back()
            return
        await self._send_in_hypercorn(message)
        if not self._decided.is_set():
            self._decided.set()
            # In a task of its own: this one is the app's, which has to receive what it is about to be sent.
            self._task_group.spawn(self._forward_early)

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
        raise NotImplementedError


class UpgradeOverHttp1(InterceptedUpgrade):
    """The socket itself, or the TLS stream over it, is taken over."""

    __slots__ = ()

    async def _accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        unread = await self._server.hand_over()
        pipe = pipe_over(self._server.stream)
        answer = await self._answer(subprotocol, headers)
        self._forget_hypercorn()
        return pipe, self._take_early() + unread, answer

    async def _answer(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Make the 101, and log it as `WSStream` does."""
        stream, config = self._stream, self._server.config
        status, accepted, _ = stream.handshake.accept(subprotocol, headers)
        await config.log.access(stream.scope, {"status": status, "headers": accepted}, time() - stream.start_time)
        return switching_protocols(accepted, config)

    def _forget_hypercorn(self) -> None:
        """The connection may go on for days; what hypercorn keeps for HTTP need not."""
        self._server.forget_http()
        del self._decided, self._stream, self._handle_in_hypercorn, self._send_in_hypercorn

    async def _give_back(self) -> None:
        self._server.release()

    async def _handle_claimed(self, event: Any) -> None:
        """Nothing comes this way any more but the end of hypercorn's own reading."""


class UpgradeOverHttp2(InterceptedUpgrade):
    """One stream of an HTTP/2 connection (RFC 8441) is taken over; the connection stays hypercorn's."""

    __slots__ = ("_pipe",)

    def __init__(self, server: HubTCPServer, stream: WSStream, task_group: TaskGroup) -> None:
        super().__init__(server, stream, task_group)
        self._pipe = Http2Pipe(self._write, self._end)

    async def _accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        event: Any = {"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers}
        await self._send_in_hypercorn(event)
        await trio.lowlevel.checkpoint()
        return self._pipe, self._take_early(), b""

    @property
    def _http2(self) -> Any:
        """Hypercorn's `H2Protocol`."""
        return self._stream.send.__self__  # type: ignore[attr-defined]

    async def _write(self, data: bytes) -> None:
        stream_id = self._stream.stream_id
        await self._stream.send(Data(stream_id=stream_id, data=data))
        # Hypercorn takes everything, also for a peer that grants no window; so wait until it has got rid of this.
        buffer = self._http2.stream_buffers.get(stream_id)
        if buffer is not None:
            await buffer.drain()

    async def _end(self) -> None:
        if not self._stream.closed:
            await self._stream.send(EndData(stream_id=self._stream.stream_id))

    async def _give_back(self) -> None:
        if not self._stream.closed:
            if self._pipe.aborted:
                await self._reset()
            await self._stream.send(StreamClosed(stream_id=self._stream.stream_id))

    async def _reset(self) -> None:
        """Tell the peer that the stream is over, and have hypercorn drop what waits for it."""
        protocol = self._http2
        with suppress(ProtocolError):
            protocol.connection.reset_stream(self._stream.stream_id, ErrorCodes.CANCEL)
            protocol.priority.unblock(self._stream.stream_id)
            await protocol.has_data.set()
            await protocol.send(RawData(data=protocol.connection.data_to_send()))

    async def _handle(self, event: Any) -> None:
        if isinstance(event, (EndBody, EndData, StreamClosed)):
            self._pipe.feed_eof()
        await super()._handle(event)

    async def _handle_claimed(self, event: Any) -> None:
        if isinstance(event, (Body, Data)):
            self._pipe.feed(event.data)
        elif isinstance(event, StreamClosed):
            await self._handle_in_hypercorn(event)


class UpgradingTaskGroup(TaskGroup):
    """Puts an `Upgrade` into the scope of every WebSocket handshake.

    `spawn_app` is called before hypercorn looks at anything that follows the request, which is the last moment to get
    in between: a frame behind the request in the same packet makes hypercorn fail (hypercorn#225).
    """

    def __init__(self, server: HubTCPServer) -> None:
        super().__init__()
        self._server = server

    async def spawn_app(
        self, app: Any, config: Any, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        if scope["http_version"] == "2":
            http2: Any = send.__self__.send.__self__  # type: ignore[attr-defined]
            if not isinstance(http2.streams, ForgivingStreams):
                http2.streams = ForgivingStreams(http2.streams)
        if scope["type"] == "websocket":
            kind = UpgradeOverHttp2 if scope["http_version"] == "2" else UpgradeOverHttp1
            upgrade: InterceptedUpgrade = kind(self._server, send.__self__, self)  # type: ignore[attr-defined]
            scope["extensions"][EXTENSION] = upgrade
            send = upgrade.app_send
        return await super().spawn_app(app, config, scope, send)
