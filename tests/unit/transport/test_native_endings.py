"""How a connection over the native transport ends, as seen from both sides of a real TCP connection."""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from quart_wshub.protocol.errors import PeerError, WebSocketDisconnect
from quart_wshub.protocol.frame import Frame
from quart_wshub.transport.native import NativeTransport
from quart_wshub.transport.parser import MessageParser
from quart_wshub.transport.pipes import SocketPipe
from tests.contract_transport import BIG, Closed, receive_all, receive_to_the_end
from tests.unit.socket_peers import SocketPeer, receive_for_good, send_for_good, tcp_pair
from tests.unit.wire import RSV1, TEXT, client_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.socket_peers import Wire


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    """Nothing here takes long."""
    with trio.fail_after(20):
        yield


@asynccontextmanager
async def connected(*, buffer: int = 16 * 1024) -> AsyncIterator[tuple[NativeTransport, SocketPeer, Wire]]:
    async with tcp_pair(buffer=buffer) as wire:
        transport = NativeTransport(SocketPipe(wire.server), MessageParser(1000))  # type: ignore[arg-type]
        yield transport, SocketPeer(wire.client), wire
        transport.abort()


def reset(wire: Wire) -> None:
    """End the client's side with a TCP reset."""
    wire.client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.client_socket.close()


async def assert_that_the_stream_ends(peer: SocketPeer) -> None:
    """In order: with a FIN and not with a reset."""
    while await peer.stream.receive_some(65536):
        pass


class TestThePeerResets:
    async def test_a_waiting_receive_hears_of_it(self) -> None:
        async with connected() as (transport, _, wire), trio.open_nursery() as nursery:

            async def listen() -> None:
                assert (await receive_to_the_end(transport))[1].code == 1006

            nursery.start_soon(listen)
            await wait_all_tasks_blocked()
            reset(wire)

    async def test_a_stuck_send_hears_of_it(self) -> None:
        async with connected() as (transport, _, wire), trio.open_nursery() as nursery:

            async def send_until_gone() -> None:
                with pytest.raises(WebSocketDisconnect, match="1006"):
                    await send_for_good(transport, BIG)

            nursery.start_soon(send_until_gone)
            await wait_all_tasks_blocked()
            reset(wire)

    async def test_try_send_hears_of_it_and_nothing_can_be_sent_any_more(self) -> None:
        async with connected() as (transport, _, wire):
            reset(wire)
            await receive_to_the_end(transport)
            for _ in range(2):
                with pytest.raises(WebSocketDisconnect, match="1006"):
                    transport.try_send(Frame("x"))
                with pytest.raises(WebSocketDisconnect, match="1006"):
                    await transport.send([Frame("x")])
            await transport.close(1000, "")

    async def test_a_closing_handshake_under_way_ends(self) -> None:
        async with connected() as (transport, _, wire), trio.open_nursery() as nursery:
            nursery.start_soon(transport.close, 1000, "")
            await wait_all_tasks_blocked()
            reset(wire)


class TestThePeerHalfCloses:
    async def test_without_a_close_frame_it_has_gone_abnormally(self) -> None:
        async with connected() as (transport, peer, wire):
            await peer.send_text("one")
            wire.client_socket.shutdown(socket.SHUT_WR)
            got, gone = await receive_to_the_end(transport)
            assert (got, gone.code) == (["one"], 1006)
            await transport.close(1000, "")
            await assert_that_the_stream_ends(peer)

    async def test_after_a_close_frame_it_still_gets_the_answer(self) -> None:
        async with connected() as (transport, peer, wire):
            await peer.close(4000, "bye")
            wire.client_socket.shutdown(socket.SHUT_WR)
            assert (await receive_to_the_end(transport))[1].code == 4000
            await transport.close(1000, "")
            assert await peer.receive() == Closed(4000, "bye")
            await assert_that_the_stream_ends(peer)


class TestDataInFlight:
    async def test_the_peer_sees_the_code_forty_times_out_of_forty(self) -> None:
        seen = [await self.close_against_a_stream_of_messages() for _ in range(40)]
        assert seen == [Closed(4000, "enough")] * 40

    async def close_against_a_stream_of_messages(self) -> Closed | str | bytes:
        async with connected() as (transport, peer, _), trio.open_nursery() as nursery:

            async def send_for_good() -> None:
                while True:
                    await peer.send_text("x" * 1000)

            nursery.start_soon(send_for_good)
            await receive_all(transport, 20)
            nursery.start_soon(transport.close, 4000, "enough")
            closed = await peer.receive()
            nursery.cancel_scope.cancel()
            return closed

    async def test_the_server_sees_the_code_forty_times_out_of_forty(self) -> None:
        for _ in range(40):
            async with connected() as (transport, peer, _), trio.open_nursery() as nursery:

                async def send_until_gone(transport: NativeTransport = transport) -> None:
                    with pytest.raises(WebSocketDisconnect, match=r"4000 \(bye\)"):
                        await send_for_good(transport, Frame("x" * 1000))

                async def read_to_the_end(peer: SocketPeer = peer) -> None:
                    while not isinstance(await peer.receive(), Closed):
                        pass

                nursery.start_soon(send_until_gone)
                nursery.start_soon(read_to_the_end)
                await peer.close(4000, "bye")
                assert (await receive_to_the_end(transport))[1].code == 4000


class TestTheClientBreaksTheProtocol:
    @pytest.mark.parametrize(
        ("wrong", "code"),
        [
            (client_frame(TEXT, b"x", masked=False), 1002),
            (client_frame(TEXT, b"x", reserved=RSV1), 1002),
            (client_frame(TEXT, b"\xff"), 1007),
            (client_frame(TEXT, b"x" * 1001), 1009),
        ],
    )
    async def test_it_is_told_why_and_then_the_stream_ends_whatever_else_it_sent(self, wrong: bytes, code: int) -> None:
        async with connected() as (transport, peer, wire), trio.open_nursery() as nursery:
            await peer.send_raw(wrong + b"\xff" * 5000)
            with pytest.raises(PeerError) as caught:
                await receive_for_good(transport)
            assert caught.value.close_code == code

            nursery.start_soon(transport.close, caught.value.close_code, "why")
            assert await peer.receive() == Closed(code, "why")
            await assert_that_the_stream_ends(peer)
            wire.client_socket.close()

    async def test_the_closing_waits_for_the_end_of_what_it_sends(self) -> None:
        async with connected() as (transport, peer, wire), trio.open_nursery() as nursery:
            await peer.send_raw(b"\xff" * 10)
            with pytest.raises(PeerError):
                await receive_for_good(transport)
            nursery.start_soon(transport.close, 1002, "")
            for _ in range(100):
                await peer.send_raw(b"\xff" * 10_000)
            assert len(nursery.child_tasks) == 1
            wire.client_socket.shutdown(socket.SHUT_WR)
