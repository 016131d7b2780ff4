"""A `receive` that is cancelled while it answers pings: it loses no message, and tears no frame."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode

from quart_wshub.protocol.frame import CLOSE, Frame, encode_frame
from quart_wshub.transport.native import NativeTransport
from quart_wshub.transport.parser import MessageParser
from tests.contract_transport import Closed
from tests.unit.socket_peers import over, tcp_pair, unix_pair
from tests.unit.wire import PING, PONG, client_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    """Nothing here takes long."""
    with trio.fail_after(20):
        yield


class TestACancelledReceive:
    async def test_that_was_answering_pings_keeps_the_messages_it_had_read(self) -> None:
        async with over(unix_pair()) as (transport, peer), trio.open_nursery() as nursery:
            fill(transport)
            await peer.send_frames(WireFrame(Opcode.TEXT, b"message"), WireFrame(Opcode.PING, b"p"))
            nursery.start_soon(transport.receive)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                assert await transport.receive() == ["message"]

    async def test_before_a_pong_was_begun_the_socket_is_as_good_as_before(self) -> None:
        async with over(tcp_pair()) as (transport, peer), trio.open_nursery() as nursery:
            await peer.send_raw(client_frame(PING, b"p"))
            with trio.CancelScope() as scope:
                scope.cancel()
                await transport.receive()
            nursery.start_soon(transport.close, 4000, "")
            assert await peer.receive() == Closed(4000, "")

    async def test_about_when_it_begins_to_answer_leaves_whole_frames_only(self) -> None:
        """Between the reading of a ping and the writing of the pong, over a stream that cannot be written at once.

        Which of the two tasks comes first is Trio's choice.
        """
        close, pong = encode_frame(CLOSE, b"\x0f\xa0"), encode_frame(PONG, b"p")
        for _ in range(30):
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                pipe = SlowPipe(client_frame(PING, b"p"), partial(nursery.start_soon, cancel, scope))
                transport = NativeTransport(pipe, MessageParser(1000))
                with scope:
                    await transport.receive()
                with trio.move_on_after(0.01):
                    await transport.close(4000, "")
            assert pipe.written in (close + pong, pong + close)


async def cancel(scope: trio.CancelScope) -> None:
    scope.cancel()


class SlowPipe:
    """Gives some bytes once, and takes none without waiting, as TLS does."""

    def __init__(self, data: bytes, on_read: Callable[[], None]) -> None:
        self._data = data
        self._on_read = on_read
        self.written = b""

    def try_write(self, data: bytes) -> int:
        return 0

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self.written += data
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def read(self) -> bytes:
        if not self._data:
            await trio.sleep_forever()
        data, self._data = self._data, b""
        self._on_read()
        return data

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()

    async def finish(self) -> None:
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """There is nothing to end."""


def fill(transport: NativeTransport) -> None:
    """Send whole frames until the network takes no more."""
    frame = Frame("")
    while transport.try_send(frame) is None:
        pass
