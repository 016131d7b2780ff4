"""What every transport guarantees, as tests. Subclass `TransportContract` for each implementation.

The peer is a WebSocket client as seen from the wire: it sends and receives whole messages and close frames, stops
reading, disconnects. Each implementation provides its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from quart_wshub.protocol.errors import MessageTooBigError, WebSocketDisconnect
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_wshub.transport.base import Transport

__all__ = ["Closed", "Message", "Peer", "TransportContract"]

Message = str | bytes

MAX_MESSAGE_BYTES = 1000

BIG = Frame("x" * 100_000)
"""A few of these fill the kernel's buffers for a peer that does not read."""

NEVER_SECONDS = 10
"""What takes longer than this will never happen."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The close frame of the server; code 1006 if there was none."""

    code: int
    reason: str


class Peer(Protocol):
    """The other end."""

    async def send_text(self, text: str) -> None:
        """Send one text message."""

    async def send_binary(self, data: bytes) -> None:
        """Send one binary message."""

    async def receive(self) -> Message | Closed:
        """The next message, or how the server closed. Answers a close frame, unless `ignore_close` was called."""

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame, and end the connection once it is answered."""

    async def vanish(self) -> None:
        """End the connection without a close frame."""

    def stop_reading(self) -> None:
        """From now on, read only what `receive` is called for, so that the server's sends get stuck."""

    def ignore_close(self) -> None:
        """From now on, leave close frames unanswered."""


async def receive_all(transport: Transport, count: int) -> list[Message]:
    """Receive `count` messages, in any number of calls."""
    got: list[Message] = []
    while len(got) < count:
        got += await transport.receive()
    return got


async def receive_to_the_end(transport: Transport) -> tuple[list[Message], WebSocketDisconnect]:
    """Everything the peer sent, and how it left."""
    got: list[Message] = []
    while True:
        try:
            got += await transport.receive()
        except WebSocketDisconnect as gone:
            return got, gone


async def send(transport: Transport, *frames: Frame) -> None:
    """Send as a connection does: with `try_send`, then the rest with `send`."""
    for frame in frames:
        rest = transport.try_send(frame)
        if rest is not None:
            await transport.send([rest])


class TransportContract(ABC):
    """Subclass this as `Test…` with a `make_pair`.

    Attributes:
        tells_close_codes: whether the transport learns the code and reason of the peer's close frame.
    """

    tells_close_codes: ClassVar[bool] = True

    @abstractmethod
    def make_pair(self, *, max_message_bytes: int) -> AbstractAsyncContextManager[tuple[Transport, Peer]]:
        """An accepted WebSocket: the transport, and the peer at its other end. Both are gone after the block."""

    @asynccontextmanager
    async def pair(self, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> AsyncIterator[tuple[Transport, Peer]]:
        with trio.fail_after(NEVER_SECONDS):
            async with self.make_pair(max_message_bytes=max_message_bytes) as (transport, peer):
                yield transport, peer

    def assert_told(self, gone: WebSocketDisconnect, code: int, reason: str) -> None:
        """Check that the disconnect says how the peer closed, as far as this transport can know."""
        expected = (code, reason) if self.tells_close_codes else (1006, "")
        assert (gone.code, gone.reason) == expected

    # Receiving

    async def test_messages_arrive_in_order_whole_and_with_their_type_even_if_empty(self) -> None:
        async with self.pair() as (transport, peer):
            await peer.send_text("text")
            await peer.send_binary(b"binary")
            await peer.send_text("")
            await peer.send_binary(b"")
            await peer.send_text("grüße \N{SNOWMAN}")

            got = await receive_all(transport, 5)

        assert got == ["text", b"binary", "", b"", "grüße \N{SNOWMAN}"]

    async def test_a_message_of_exactly_the_limit_arrives(self) -> None:
        async with self.pair(max_message_bytes=4) as (transport, peer):
            await peer.send_text("1234")
            await peer.send_text("12ä")
            await peer.send_binary(b"1234")

            assert await receive_all(transport, 3) == ["1234", "12ä", b"1234"]

    async def test_a_message_over_the_limit_is_refused_after_all_before_it_were_received(self) -> None:
        messages: list[Message] = ["12345", "123ä", b"12345"]
        for message in messages:
            async with self.pair(max_message_bytes=4) as (transport, peer):
                await peer.send_text("1234")
                await (peer.send_text(message) if isinstance(message, str) else peer.send_binary(message))
                assert await receive_all(transport, 1) == ["1234"]

                with pytest.raises(MessageTooBigError):
                    await receive_all(transport, 1)

    async def test_after_a_refused_message_the_socket_can_still_be_closed_with_a_code(self) -> None:
        async with self.pair(max_message_bytes=4) as (transport, peer), trio.open_nursery() as nursery:
            await peer.send_text("12345")
            with pytest.raises(MessageTooBigError) as caught:
                await receive_all(transport, 1)

            nursery.start_soon(transport.close, caught.value.close_code, "too big")
            assert await peer.receive() == Closed(1009, "too big")
            await peer.vanish()  # as clients do once they have answered

    async def test_a_cancelled_receive_loses_nothing(self) -> None:
        async with self.pair() as (transport, peer):
            with trio.CancelScope() as before:
                before.cancel()
                await transport.receive()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(transport.receive)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            await peer.send_text("first")
            with trio.CancelScope() as after:
                after.cancel()
                await transport.receive()
            await peer.send_text("second")

            assert before.cancelled_caught
            assert after.cancelled_caught
            assert await receive_all(transport, 2) == ["first", "second"]

    async def test_messages_are_received_while_a_send_is_stuck(self) -> None:
        async with self.pair() as (transport, peer), trio.open_nursery() as nursery:
            peer.stop_reading()
            nursery.start_soon(transport.send, [BIG] * 100)
            await wait_all_tasks_blocked()
            await peer.send_text("still alive")

            assert await receive_all(transport, 1) == ["still alive"]
            await drain(peer, 100)

    # Sending

    async def test_messages_are_sent_in_order_whole_and_with_their_type_even_if_empty(self) -> None:
        frames = [Frame("text"), Frame(b"binary"), Frame(""), Frame(b""), Frame("grüße \N{SNOWMAN}"), BIG]
        async with self.pair() as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(send, transport, *frames)
            one_by_one = [await peer.receive() for _ in frames]
        async with self.pair() as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(transport.send, frames)
            in_one_go = [await peer.receive() for _ in frames]

        assert one_by_one == in_one_go == [frame.payload for frame in frames]

    async def test_a_frame_may_be_sent_to_several_peers(self) -> None:
        frame = Frame("shared")
        async with self.pair() as (first, ann), self.pair() as (second, bob):
            await send(first, frame)
            await send(second, frame)

            assert await ann.receive() == await bob.receive() == "shared"

    async def test_what_try_send_returns_completes_the_message(self) -> None:
        """A peer that does not read fills the buffers, until part of a frame, or all of it, is returned."""
        async with self.pair() as (transport, peer), trio.open_nursery() as nursery:
            peer.stop_reading()
            sent = 1
            while (rest := transport.try_send(BIG)) is None:
                sent += 1
            nursery.start_soon(transport.send, [rest, Frame("after")])

            assert await drain(peer, sent) == [BIG.payload] * sent
            assert await peer.receive() == "after"

    async def test_a_send_that_is_stuck_continues_when_the_peer_reads(self) -> None:
        sent: list[int] = []
        async with self.pair() as (transport, peer), trio.open_nursery() as nursery:
            peer.stop_reading()

            async def send_much() -> None:
                for number in range(100):
                    await transport.send([BIG])
                    sent.append(number)

            nursery.start_soon(send_much)
            await wait_all_tasks_blocked()
            assert len(sent) < 100

            assert await drain(peer, 100) == [BIG.payload] * 100

    # The peer disconnects

    async def test_what_the_peer_sent_before_it_closed_is_received_and_then_its_code(self) -> None:
        async with self.pair() as (transport, peer):
            await peer.send_text("one")
            await peer.send_binary(b"two")
            await peer.close(4000, "bye")

            got, gone = await receive_to_the_end(transport)
            assert got == ["one", b"two"]
            self.assert_told(gone, 4000, "bye")
            with pytest.raises(WebSocketDisconnect) as caught:
                await transport.receive()
            self.assert_told(caught.value, 4000, "bye")

    async def test_what_the_peer_sent_before_it_disconnected_is_received_and_then_1006(self) -> None:
        async with self.pair() as (transport, peer):
            await peer.send_text("one")
            await peer.vanish()

            got, gone = await receive_to_the_end(transport)

        assert got == ["one"]
        assert (gone.code, gone.reason) == (1006, "")

    async def test_a_waiting_receive_notices_the_disconnect(self) -> None:
        heard: list[WebSocketDisconnect] = []
        async with self.pair() as (transport, peer), trio.open_nursery() as nursery:

            async def listen() -> None:
                heard.append((await receive_to_the_end(transport))[1])

            nursery.start_soon(listen)
            await wait_all_tasks_blocked()
            await peer.close(4000, "bye")

        self.assert_told(heard[0], 4000, "bye")

    async def test_nothing_can_be_sent_to_a_peer_that_has_closed(self) -> None:
        async with self.pair() as (transport, peer):
            await peer.close(4000, "bye")
            await receive_to_the_end(transport)

            with pytest.raises(WebSocketDisconnect) as caught:
                await send(transport, Frame("too late"))
            self.assert_told(caught.value, 4000, "bye")
            with pytest.raises(WebSocketDisconnect) as caught:
                await transport.send([Frame("too late")])
            self.assert_told(caught.value, 4000, "bye")

    async def test_a_disconnect_noticed_while_sending_loses_no_message_before_it(self) -> None:
        async with self.pair() as (transport, peer):
            await peer.send_text("one")
            await peer.send_text("two")
            await peer.vanish()
            with suppress(WebSocketDisconnect):  # senders need not be told
                for _ in range(10):
                    await send(transport, Frame("too late"))

            got, gone = await receive_to_the_end(transport)

        assert got == ["one", "two"]
        assert gone.code == 1006

    async def test_closing_after_the_peer_has_closed_does_nothing(self) -> None:
        async with self.pair() as (transport, peer):
            await peer.close(4000, "bye")
            await receive_to_the_end(transport)

            await transport.close(1000, "")
            transport.abort()

    async def test_closing_ends_if_the_peer_has_disconnected_unnoticed(self) -> None:
        async with self.pair() as (transport, peer):
            await peer.vanish()

            await transport.close(1000, "")

    # The closing handshake

    async def test_closing_sends_code_and_reason_and_waits_for_the_answer(self) -> None:
        async with self.pair() as (transport, peer), trio.open_nursery() as nursery:
            closed = trio.Event()

            async def close() -> None:
                await transport.close(4403, "grüße")
                closed.set()

            nursery.start_soon(close)
            await wait_all_tasks_blocked()
            assert not closed.is_set(), "the peer has not answered yet"
            assert await peer.receive() == Closed(4403, "grüße")
            await closed.wait()

    async def test_what_was_sent_before_the_close_arrives_before_it(self) -> None:
        async with self.pair() as (transport, peer), trio.open_nursery() as nursery:

            async def send_and_close() -> None:
                await send(transport, Frame("last words"))
                await transport.close(1000, "")

            nursery.start_soon(send_and_close)
            assert [await peer.receive(), await peer.receive()] == ["last words", Closed(1000, "")]

    async def test_a_peer_with_data_in_flight_still_sees_the_close(self) -> None:
        async with self.pair() as (transport, peer), trio.open_nursery() as nursery:

            async def send_much() -> None:
                for _ in range(1000):
                    await peer.send_text("x" * MAX_MESSAGE_BYTES)

            async def close_after_one() -> None:
                await receive_all(transport, 1)
                await transport.close(4000, "enough")

            nursery.start_soon(close_after_one)
            await send_much()
            assert await peer.receive() == Closed(4000, "enough")

    async def test_a_peer_that_disconnects_instead_of_answering_ends_the_wait(self) -> None:
        async with self.pair() as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(transport.close, 1000, "")
            await wait_all_tasks_blocked()
            await peer.vanish()

    async def test_the_wait_for_a_peer_that_never_answers_can_be_cancelled(self) -> None:
        async with self.pair() as (transport, peer):
            peer.ignore_close()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(transport.close, 1000, "")
                assert await peer.receive() == Closed(1000, "")
                await wait_all_tasks_blocked()
                assert len(nursery.child_tasks) == 1, "the wait has no deadline of its own"
                nursery.cancel_scope.cancel()
            transport.abort()

    # Aborting

    async def test_aborting_is_idempotent(self) -> None:
        async with self.pair() as (transport, _):
            transport.abort()
            transport.abort()

    async def test_aborting_frees_a_stuck_send(self) -> None:
        async with self.pair() as (transport, peer), trio.open_nursery() as nursery:
            peer.stop_reading()

            async def send_until_gone() -> None:
                with suppress(WebSocketDisconnect):
                    while True:
                        await transport.send([BIG])

            nursery.start_soon(send_until_gone)
            await wait_all_tasks_blocked()
            transport.abort()

    # Checkpoints

    async def test_sending_and_receiving_are_checkpoints(self) -> None:
        async with self.pair() as (transport, peer):
            with assert_checkpoints():
                await transport.send([Frame("x")])
            await peer.send_text("x")
            with assert_checkpoints():
                await transport.receive()

    async def test_every_method_is_a_checkpoint_even_after_the_peer_has_disconnected(self) -> None:
        async with self.pair() as (transport, peer):
            await peer.close(4000, "bye")
            await receive_to_the_end(transport)

            with assert_checkpoints(), pytest.raises(WebSocketDisconnect):
                await transport.receive()
            with assert_checkpoints(), pytest.raises(WebSocketDisconnect):
                await transport.send([Frame("x")])
            with assert_checkpoints():
                await transport.close(1000, "")


async def drain(peer: Peer, count: int) -> list[Message | Closed]:
    """Read `count` messages."""
    return [await peer.receive() for _ in range(count)]
