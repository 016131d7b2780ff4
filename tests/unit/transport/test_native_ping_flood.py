"""A peer that sends pings and reads nothing: the server holds few pongs, and reads no further than it can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode

from quart_wshub.protocol.frame import Frame
from quart_wshub.transport.native import MAX_WAITING_REPLIES, NativeTransport
from tests.contract_transport import BIG, drain
from tests.unit.socket_peers import SocketPeer, over, receive_for_good, unix_pair
from tests.unit.wire import PING, client_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    """Nothing here takes long."""
    with trio.fail_after(20):
        yield


class TestPingFlood:
    async def test_while_nothing_is_written_stops_the_reading(self) -> None:
        async with over(unix_pair()) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(receive_for_good, transport)
            flooded = await self.flood(peer)
            assert flooded < 2_000_000
            assert held(transport) < MAX_WAITING_REPLIES + 70_000
            nursery.cancel_scope.cancel()

    async def test_while_a_write_is_stuck_too(self) -> None:
        async with over(unix_pair()) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(transport.send, [BIG] * 100)
            await wait_all_tasks_blocked()
            nursery.start_soon(receive_for_good, transport)
            flooded = await self.flood(peer)
            assert flooded < 2_000_000
            assert held(transport) < MAX_WAITING_REPLIES + 70_000
            nursery.cancel_scope.cancel()

    async def test_during_the_closing_handshake_is_read_and_not_answered(self) -> None:
        async with over(unix_pair()) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(transport.close, 1000, "")
            for _ in range(500):
                await peer.send_raw(client_frame(PING, b"x" * 125) * 100)
            assert held(transport) == 0
            nursery.cancel_scope.cancel()

    async def test_that_is_read_in_the_end_loses_no_pong(self) -> None:
        async with over(unix_pair()) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(transport.send, [BIG] * 20)
            nursery.start_soon(receive_for_good, transport)
            numbers = [b"%06d" % number for number in range(20_000)]
            [WireFrame(Opcode.PING, number) for number in numbers]

            async def flood() -> None:
                for start in range(0, len(numbers), 1000):
                    await peer.send_frames(
                        *(WireFrame(Opcode.PING, number) for number in numbers[start : start + 1000])
                    )

            nursery.start_soon(flood)
            assert await drain(peer, 20) == [BIG.payload] * 20
            await transport.send([Frame("last")])
            while peer.pongs != numbers:
                with trio.move_on_after(0.05):
                    await peer.receive()
            nursery.cancel_scope.cancel()

    async def flood(self, peer: SocketPeer) -> int:
        """Send pings until the network takes no more; returns how many bytes that were."""
        flooded = 0
        pings = client_frame(PING, b"x" * 125) * 100
        while flooded < 20_000_000:
            with trio.move_on_after(0.2) as patience:
                await peer.stream.send_all(pings)
            flooded += len(pings)
            if patience.cancelled_caught:
                break
        return flooded


def held(transport: NativeTransport) -> int:
    """Bytes of replies that the server keeps."""
    return len(transport._replies) + sum(map(len, transport._parser._replies))
