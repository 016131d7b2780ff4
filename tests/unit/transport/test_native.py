"""The native transport over real streams: the contract over each of them, and what is its own beyond that."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trio
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode

from quart_wshub.protocol.errors import WebSocketDisconnect
from quart_wshub.protocol.frame import Frame
from quart_wshub.transport.hypercorn.http2 import Http2Pipe
from quart_wshub.transport.native import NativeTransport
from quart_wshub.transport.parser import MessageParser
from quart_wshub.transport.pipes import SocketPipe
from tests.contract_transport import BIG, Closed, Peer, TransportContract, drain, receive_all, receive_to_the_end, send
from tests.unit.socket_peers import SocketPeer, over, receive_for_good, tcp_pair, tls_pair, unix_pair
from tests.unit.wire import PING, PONG, client_frame, server_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_wshub.transport.base import Transport


class TestOverUnixSockets(TransportContract):
    def make_pair(self, *, max_message_bytes: int) -> AbstractAsyncContextManager[tuple[Transport, Peer]]:
        return over(unix_pair(), max_message_bytes=max_message_bytes)


class TestOverTcp(TransportContract):
    def make_pair(self, *, max_message_bytes: int) -> AbstractAsyncContextManager[tuple[Transport, Peer]]:
        return over(tcp_pair(), max_message_bytes=max_message_bytes)


class TestOverTls(TransportContract):
    def make_pair(self, *, max_message_bytes: int) -> AbstractAsyncContextManager[tuple[Transport, Peer]]:
        return over(tls_pair(), max_message_bytes=max_message_bytes)

    async def test_a_disconnect_noticed_while_sending_loses_no_message_before_it(self) -> None:
        """Trio's TLS stream cannot be read any more once a write has failed; what was read by then is not lost."""
        async with self.pair() as (transport, peer):
            await peer.send_text("one")
            assert await receive_all(transport, 1) == ["one"]
            await peer.send_text("two")
            await peer.vanish()
            with suppress(WebSocketDisconnect):
                for _ in range(10):
                    await send(transport, Frame("too late"))

            got, gone = await receive_to_the_end(transport)

        assert got in ([], ["two"])
        assert gone.code == 1006


class TestOverHttp2(TransportContract):
    """A stream of an HTTP/2 connection, which here is a socket pair of its own."""

    @asynccontextmanager
    async def make_pair(self, *, max_message_bytes: int) -> AsyncIterator[tuple[Transport, Peer]]:
        async with unix_pair() as wire, trio.open_nursery() as nursery:
            stream = wire.server
            assert isinstance(stream, trio.SocketStream)
            pipe = Http2Pipe(stream.send_all, stream.send_eof)

            async def read_for_it() -> None:
                with suppress(trio.BrokenResourceError):
                    async for data in stream:
                        pipe.feed(bytes(data))
                pipe.feed_eof()

            nursery.start_soon(read_for_it)
            transport = NativeTransport(pipe, MessageParser(max_message_bytes))
            yield transport, SocketPeer(wire.client)
            transport.abort()
            nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    """Nothing here takes long."""
    with trio.fail_after(20):
        yield


def ping(payload: bytes) -> WireFrame:
    return WireFrame(Opcode.PING, payload)


async def fill(transport: NativeTransport) -> tuple[int, Frame]:
    """Send until the network takes no more; returns how many messages that were, and the rest of the last one."""
    sent = 1
    while (rest := transport.try_send(BIG)) is None:
        sent += 1
    return sent, rest


async def test_messages_that_came_with_the_handshake_are_received_first() -> None:
    async with unix_pair() as wire:
        parser = MessageParser(1000)
        early = parser.feed(client_frame(1, b"early") + client_frame(PING, b"p"))
        transport, peer = NativeTransport(SocketPipe(wire.server), parser, early), SocketPeer(wire.client)  # type: ignore[arg-type]
        await peer.send_text("later")

        assert await receive_all(transport, 1) == ["early"]
        assert transport.try_send(Frame("answer")) is None
        assert await peer.receive() == "answer"
        assert peer.pongs == [b"p"]
        assert await receive_all(transport, 1) == ["later"]


async def test_a_ping_that_came_with_the_handshake_is_answered_although_nothing_follows() -> None:
    async with unix_pair() as wire, trio.open_nursery() as nursery:
        parser = MessageParser(1000)
        transport = NativeTransport(SocketPipe(wire.server), parser, parser.feed(client_frame(PING, b"p")))  # type: ignore[arg-type]
        nursery.start_soon(transport.receive)
        assert await wire.client.receive_some() == server_frame(PONG, b"p")
        nursery.cancel_scope.cancel()


async def test_before_the_pong_for_such_a_ping_nothing_goes_out_but_with_it() -> None:
    async with unix_pair() as wire:
        parser = MessageParser(1000)
        transport = NativeTransport(SocketPipe(wire.server), parser, parser.feed(client_frame(PING, b"p")))  # type: ignore[arg-type]
        hello = Frame("hello")
        assert transport.try_send(hello) is hello
        await transport.send([hello])
        assert await wire.client.receive_some() == hello.wire + server_frame(PONG, b"p")


class TestOrder:
    async def test_of_partial_writes_sends_and_pongs(self) -> None:
        """Each message is cut at many places by a peer that takes little at a time."""
        async with over(tcp_pair(buffer=2048)) as (transport, peer), trio.open_nursery() as nursery:
            messages = [str(number) * size for number in range(10) for size in (1, 1000, 5000, 20_000)]

            async def send_all() -> None:
                for message in messages:
                    await send(transport, Frame(message))

            nursery.start_soon(send_all)
            nursery.start_soon(receive_for_good, transport)
            got = []
            for number in range(len(messages)):
                await peer.send_frames(ping(b"%d" % number))
                got.append(await peer.receive())
            while len(peer.pongs) < len(messages):
                await peer.send_text("push")
                await transport_echo(transport)
                await peer.receive()
            nursery.cancel_scope.cancel()

        assert got == messages
        assert peer.pongs == [b"%d" % number for number in range(len(messages))]

    async def test_a_pong_never_goes_into_the_middle_of_a_message(self) -> None:
        """Between the half that `try_send` wrote and the other half, which `send` is about to write."""
        async with over(unix_pair()) as (transport, peer), trio.open_nursery() as nursery:
            sent, rest = await fill(transport)
            await peer.send_frames(ping(b"now"))
            assert await peer.receive() == BIG.payload, "there is room again"
            assert await transport.receive() == []
            nursery.start_soon(transport.send, [rest])

            assert await drain(peer, sent - 1) == [BIG.payload] * (sent - 1)
            await transport.send([Frame("after")])
            assert await peer.receive() == "after"
            assert peer.pongs == [b"now"]

    async def test_a_message_that_was_cut_and_dropped_is_followed_by_nothing(self) -> None:
        async with over(unix_pair()) as (transport, peer):
            sent, _ = await fill(transport)
            await transport.close(1013, "too slow")
            assert await drain(peer, sent) == [BIG.payload] * (sent - 1) + [Closed(1006, "")]


async def transport_echo(transport: NativeTransport) -> None:
    await send(transport, Frame("pushed"))
