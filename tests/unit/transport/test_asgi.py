"""The portable transport over an ASGI server that lives in memory, and what is its own beyond the contract."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from quart_wshub.protocol.errors import WebSocketDisconnect
from quart_wshub.protocol.frame import Frame
from quart_wshub.transport.asgi import AsgiTransport
from tests.contract_transport import Closed, Message, Peer, TransportContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_wshub.transport.base import Transport

Event = dict[str, Any]


class MemoryServer:
    """A WebSocket client, and the ASGI server it is connected to."""

    def __init__(self) -> None:
        self.events_sent: list[Event] = []
        self._to_app: deque[Event] = deque([{"type": "websocket.connect"}])
        self._to_peer: deque[Message | Closed] = deque()
        self._changed = trio.Condition()
        self._network_holds = 1_000_000
        self._answers_close = True
        self._gone = False

    # What the app awaits

    async def asgi_receive(self) -> Event:
        async with self._changed:
            while not self._to_app:
                await self._changed.wait()
            event = self._to_app[0]
            if event["type"] != "websocket.disconnect":  # which a server repeats for as long as it is asked
                self._to_app.popleft()
            return event

    async def asgi_send(self, event: Event) -> None:
        self.events_sent.append(event)
        if event["type"] == "websocket.accept":
            return
        async with self._changed:
            if event["type"] == "websocket.close":
                self._to_peer.append(Closed(event["code"], event["reason"]))
            else:
                self._to_peer.append(event["text"] if event.get("text") is not None else event["bytes"])
            self._changed.notify_all()
            while len(self._to_peer) > self._network_holds and not self._gone:
                await self._changed.wait()
            if self._gone:
                raise trio.BrokenResourceError

    # The peer

    async def send_text(self, text: str) -> None:
        await self._tell_app({"type": "websocket.receive", "text": text, "bytes": None})

    async def send_binary(self, data: bytes) -> None:
        await self._tell_app({"type": "websocket.receive", "bytes": data, "text": None})

    async def receive(self) -> Message | Closed:
        async with self._changed:
            while not self._to_peer:
                await self._changed.wait()
            item = self._to_peer.popleft()
            self._changed.notify_all()
        if isinstance(item, Closed) and self._answers_close:
            await self._tell_app({"type": "websocket.disconnect", "code": item.code, "reason": item.reason})
        return item

    async def close(self, code: int, reason: str) -> None:
        self._gone = True
        await self._tell_app({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def vanish(self) -> None:
        await self.close(1006, "")

    def stop_reading(self) -> None:
        self._network_holds = 0

    def ignore_close(self) -> None:
        self._answers_close = False

    async def _tell_app(self, event: Event) -> None:
        async with self._changed:
            self._to_app.append(event)
            self._changed.notify_all()


class TestAsgiTransport(TransportContract):
    async def test_aborting_frees_a_stuck_send(self) -> None:
        """It cannot be freed over ASGI; aborting does no harm, and what is sent still arrives."""
        async with self.pair() as (transport, peer):
            transport.abort()
            await transport.send([Frame("still here")])
            assert await peer.receive() == "still here"

    def make_pair(self, *, max_message_bytes: int) -> AbstractAsyncContextManager[tuple[Transport, Peer]]:
        return accepted(max_message_bytes)


@asynccontextmanager
async def accepted(max_message_bytes: int = 1000) -> AsyncIterator[tuple[AsgiTransport, MemoryServer]]:
    server = MemoryServer()
    transport = AsgiTransport(server.asgi_receive, server.asgi_send, max_message_bytes=max_message_bytes)
    await transport.accept(None)
    yield transport, server


async def test_the_subprotocol_goes_out_with_the_accept() -> None:
    server = MemoryServer()
    transport = AsgiTransport(server.asgi_receive, server.asgi_send, max_message_bytes=1000)

    await transport.accept("bearer")

    assert server.events_sent == [{"type": "websocket.accept", "subprotocol": "bearer", "headers": []}]


@pytest.mark.parametrize(
    ("event", "code", "reason"),
    [
        ({"type": "websocket.disconnect"}, 1006, ""),
        ({"type": "websocket.disconnect", "code": None, "reason": None}, 1006, ""),
        ({"type": "websocket.disconnect", "code": 1005, "reason": ""}, 1005, ""),
        ({"type": "websocket.disconnect", "code": 4000, "reason": "bye"}, 4000, "bye"),
    ],
)
async def test_a_server_that_tells_no_code_is_taken_for_1006(event: Event, code: int, reason: str) -> None:
    async def receive() -> Event:
        await trio.lowlevel.checkpoint()
        return event

    transport = AsgiTransport(receive, MemoryServer().asgi_send, max_message_bytes=1000)
    with pytest.raises(WebSocketDisconnect) as caught:
        await transport.receive()

    assert (caught.value.code, caught.value.reason) == (code, reason)


@pytest.mark.parametrize("error", [trio.EndOfChannel, trio.ClosedResourceError])
async def test_a_server_that_closes_its_channel_is_taken_for_a_departure(error: type[Exception]) -> None:
    async def receive() -> Event:
        await trio.lowlevel.checkpoint()
        raise error

    transport = AsgiTransport(receive, MemoryServer().asgi_send, max_message_bytes=1000)
    with pytest.raises(WebSocketDisconnect, match="1006"):
        await transport.receive()


@pytest.mark.parametrize("error", [trio.BrokenResourceError, trio.ClosedResourceError])
async def test_a_departure_that_shows_while_sending_is_told_as_1006(error: type[Exception]) -> None:
    async def send(event: Event) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    transport = AsgiTransport(MemoryServer().asgi_receive, send, max_message_bytes=1000)
    with pytest.raises(WebSocketDisconnect, match="1006"):
        await transport.send([Frame("x")])
    with pytest.raises(WebSocketDisconnect, match="1006"):
        await transport.send([Frame("x")])
    with pytest.raises(WebSocketDisconnect, match="1006"):
        await transport.accept(None)


async def test_keys_that_are_missing_are_read_as_those_that_are_none() -> None:
    """The ASGI specification allows either."""
    events: list[Event] = [
        {"type": "websocket.receive", "bytes": b""},
        {"type": "websocket.receive", "text": ""},
        {"type": "websocket.receive"},
    ]

    async def receive() -> Event:
        await trio.lowlevel.checkpoint()
        return events.pop(0)

    transport = AsgiTransport(receive, MemoryServer().asgi_send, max_message_bytes=1000)

    assert [await transport.receive() for _ in range(3)] == [(b"",), ("",), (b"",)]


async def test_a_send_that_has_begun_is_not_cancelled() -> None:
    """Hypercorn has changed its compression state by then, so half a send would be a broken stream."""
    async with accepted() as (transport, server):
        server.stop_reading()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.send, [Frame("begun")])
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
                assert len(nursery.child_tasks) == 1, "stuck, and not to be freed"
                assert await server.receive() == "begun"
