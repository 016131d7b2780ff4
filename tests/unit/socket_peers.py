"""Real streams with a client at their other end, spoken by `websockets`, for tests of the native transport."""

from __future__ import annotations

import socket
import ssl
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import trio
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE
from quart_wshub.transport.native import NativeTransport
from quart_wshub.transport.parser import MessageParser
from quart_wshub.transport.pipes import SocketPipe, StreamPipe
from tests.contract_transport import Closed, Message
from tests.server.native.certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from quart_wshub.protocol.frame import Frame as Outgoing
    from quart_wshub.transport.base import Transport
    from quart_wshub.transport.pipes import Pipe

__all__ = [
    "ByteStream",
    "SocketPeer",
    "Wire",
    "over",
    "pipe_over",
    "receive_for_good",
    "send_for_good",
    "tcp_pair",
    "tls_pair",
    "unix_pair",
]

ByteStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


@dataclass(frozen=True)
class Wire:
    """The two ends of a connection."""

    server: ByteStream
    client: ByteStream

    @property
    def client_socket(self) -> trio.socket.SocketType:
        """The socket below the client's stream."""
        return (self.client if isinstance(self.client, trio.SocketStream) else self.client.transport_stream).socket


@asynccontextmanager
async def unix_pair() -> AsyncIterator[Wire]:
    """A socket pair."""
    async with _closing(*trio.socket.socketpair()) as wire:
        yield wire


@asynccontextmanager
async def tcp_pair(*, buffer: int = 16 * 1024) -> AsyncIterator[Wire]:
    """A connection over loopback, with so many bytes of kernel buffer on either side."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = trio.socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await client.connect(listener.getsockname())
        server = trio.socket.from_stdlib_socket(listener.accept()[0])
    async with _closing(server, client) as wire:
        yield wire


@asynccontextmanager
async def _closing(server: trio.socket.SocketType, client: trio.socket.SocketType) -> AsyncIterator[Wire]:
    wire = Wire(trio.SocketStream(server), trio.SocketStream(client))
    try:
        yield wire
    finally:
        server.close()
        client.close()


@asynccontextmanager
async def tls_pair() -> AsyncIterator[Wire]:
    """TLS over a socket pair, with both handshakes done."""
    server_context, client_context = _contexts()
    async with unix_pair() as below:
        assert isinstance(below.server, trio.SocketStream)
        assert isinstance(below.client, trio.SocketStream)
        server = trio.SSLStream(below.server, server_context, server_side=True, https_compatible=True)
        client = trio.SSLStream(below.client, client_context, server_hostname="localhost", https_compatible=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.do_handshake)
            nursery.start_soon(client.do_handshake)
        yield Wire(server, client)


@cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    certificate = make_certificate()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.use_in(server)
    return server, ssl.create_default_context(cadata=certificate.pem)


class SocketPeer:
    """The client of the contract suite, over a stream."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.pongs: list[bytes] = []
        self._protocol = Protocol(CLIENT)
        self._received: deque[Message | Closed] = deque()
        self._fragments: list[Frame] = []
        self._answers_close = True
        self._sending = trio.Lock()

    async def send_text(self, text: str) -> None:
        await self.send_frames(Frame(Opcode.TEXT, text.encode()))

    async def send_binary(self, data: bytes) -> None:
        await self.send_frames(Frame(Opcode.BINARY, data))

    async def send_frames(self, *frames: Frame) -> None:
        """Send frames as they are, in one go."""
        await self.send_raw(b"".join(frame.serialize(mask=True) for frame in frames))

    async def send_raw(self, data: bytes) -> None:
        async with self._sending:
            await self.stream.send_all(data)

    async def receive(self) -> Message | Closed:
        while not self._received:
            try:
                data = bytes(await self.stream.receive_some(65536))
            except trio.BrokenResourceError:
                data = b""
            if not data:
                return Closed(ABNORMAL_CLOSURE, "")
            await self._take(data)
        return self._received.popleft()

    async def _take(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        assert self._protocol.parser_exc is None, self._protocol.parser_exc
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode is Opcode.PONG:
                self.pongs.append(bytes(frame.data))
            elif frame.opcode is Opcode.CLOSE:
                assert self._protocol.close_rcvd is not None
                closed = self._protocol.close_rcvd
                self._received.append(Closed(int(closed.code), closed.reason))
            else:
                data = bytes(frame.data)
                self._received.append(data.decode() if frame.opcode is Opcode.TEXT else data)
        answers = b"".join(self._protocol.data_to_send())
        if answers and self._answers_close:
            await self.send_raw(answers)

    async def close(self, code: int, reason: str) -> None:
        assert self._protocol.state is OPEN
        self._protocol.send_close(code, reason)
        await self.send_raw(b"".join(self._protocol.data_to_send()))

    async def vanish(self) -> None:
        await trio.aclose_forcefully(self.stream)

    def stop_reading(self) -> None:
        """It reads only in `receive`, and the kernel holds little."""

    def ignore_close(self) -> None:
        self._answers_close = False


def pipe_over(wire: Wire) -> Pipe:
    """The pipe that belongs to the server's end."""
    return SocketPipe(wire.server) if isinstance(wire.server, trio.SocketStream) else StreamPipe(wire.server)


@asynccontextmanager
async def over(
    pair: AbstractAsyncContextManager[Wire], *, max_message_bytes: int = 1000
) -> AsyncIterator[tuple[NativeTransport, SocketPeer]]:
    """A native transport and its peer."""
    async with pair as wire:
        transport = NativeTransport(pipe_over(wire), MessageParser(max_message_bytes))
        yield transport, SocketPeer(wire.client)
        transport.abort()


async def receive_for_good(transport: Transport) -> None:
    """Receive until that raises."""
    while True:
        await transport.receive()


async def send_for_good(transport: Transport, frame: Outgoing) -> None:
    """Send until that raises."""
    while True:
        await transport.send([frame])
