"""An open connection: hello, heartbeat, receiving and sending. Time is virtual."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub import CloseCode, WebSocket, WebSocketConnection, WebSocketDisconnect, WebSocketHub, WSEnvelope
from quart_wshub.connection.inbox import MAX_BYTES
from quart_wshub.connection.websocket_connection import session_of
from quart_wshub.testing import WebSocketClient, connect
from tests.unit.memory import assert_open, forever, make_app, read_everything, stay_alive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PING: dict[str, object] = {"type": "ping", "data": {}, "request_id": None}


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    """How long something takes, in virtual seconds."""
    began = trio.current_time()
    await work()
    return trio.current_time() - began


# Hello


async def test_hello_has_the_connection_id_and_the_heartbeat_settings(hub: WebSocketHub) -> None:
    ids: list[str] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        ids.append(str(connection.connection_id))
        await ws.send("from the handler")
        await trio.sleep_forever()

    app = make_app(
        handler, hub, WS_HEARTBEAT_SECONDS=12.5, WS_HEARTBEAT_TIMEOUT_SECONDS=40, WS_CLOSE_TIMEOUT_SECONDS=0.01
    )
    async with connect(app, token="ann") as client:
        hello = await client.receive_json()
        assert await client.receive() == "from the handler"

    assert hello == {
        "type": "hello",
        "data": {"connection_id": ids[0], "heartbeat_seconds": 12.5, "heartbeat_timeout_seconds": 40.0},
        "request_id": None,
    }


async def test_without_hello_the_first_message_is_the_handlers(hub: WebSocketHub) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await ws.send("from the handler")

    async with connect(make_app(handler, hub, WS_HELLO=False), token="ann") as client:
        assert await client.receive() == "from the handler"


# Heartbeat


async def test_a_ping_goes_out_every_heartbeat(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async with connect(make_app(read_everything, hub, WS_HELLO=False), token="ann") as client:
        began = trio.current_time()
        for number in range(1, 6):
            assert await client.receive_json() == PING
            assert trio.current_time() - began == pytest.approx(30 * number)
            await client.send_json({"type": "pong", "data": {}})


@pytest.mark.parametrize(("heartbeat", "timeout"), [(30, 60), (30, 45), (20, 50), (1, 1.5)])
async def test_a_silent_peer_is_closed_at_the_timeout_and_not_at_the_next_ping(
    hub: WebSocketHub, autojump_clock: MockClock, heartbeat: float, timeout: float
) -> None:
    app = make_app(forever, hub, WS_HEARTBEAT_SECONDS=heartbeat, WS_HEARTBEAT_TIMEOUT_SECONDS=timeout)
    async with connect(app, token="ann") as client:
        began = trio.current_time()
        close = await client.closed()

        assert (close.code, close.reason) == (CloseCode.HEARTBEAT_TIMEOUT, "heartbeat timeout")
        assert trio.current_time() - began == pytest.approx(timeout)


async def test_the_timeout_counts_from_the_last_frame_received(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async with connect(make_app(read_everything, hub), token="ann") as client:
        began = trio.current_time()
        for _ in range(3):
            await trio.sleep(47)
            await client.send_json({"type": "pong"})

        assert (await client.closed()).code == 4408
        assert trio.current_time() - began == pytest.approx(3 * 47 + 60)


@pytest.mark.parametrize("frame", ["text", "", b"binary", b"", '{"type": "pong"}', '{"type": "ping"}', "{not json"])
async def test_any_frame_restarts_the_timeout(hub: WebSocketHub, autojump_clock: MockClock, frame: str | bytes) -> None:
    async with connect(make_app(read_everything, hub), token="ann") as client:
        for _ in range(5):
            await trio.sleep(59)
            await client.send(frame)
        await assert_open(client)


async def test_a_handler_that_only_sends_does_not_keep_a_silent_peer_alive(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        while True:
            await ws.send("tick")
            await trio.sleep(1)

    async with connect(make_app(handler, hub), token="ann") as client:
        assert await seconds(client.closed) == pytest.approx(60)


async def test_pongs_do_not_reach_the_handler(hub: WebSocketHub) -> None:
    got: list[str | bytes] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        got.extend([message async for message in ws])

    async with connect(make_app(handler, hub), token="ann") as client:
        await client.send('{"type": "pong", "data": {}}')
        await client.send('{"type": "chat", "data": {"text": "\\"pong\\""}}')
        await client.send('{"data": {}, "type":"pong", "request_id": "7"}')
        await client.send("after")

    assert got == ['{"type": "chat", "data": {"text": "\\"pong\\""}}', "after"]


@pytest.mark.parametrize("request_id", ["7", None])
async def test_a_clients_ping_is_answered_with_its_request_id_and_not_given_to_the_handler(
    hub: WebSocketHub, request_id: str | None
) -> None:
    got: list[str | bytes] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        got.extend([message async for message in ws])

    async with connect(make_app(handler, hub, WS_HELLO=False), token="ann") as client:
        await client.send_envelope(WSEnvelope(type="ping", request_id=request_id))
        assert await client.receive_json() == {"type": "pong", "data": {}, "request_id": request_id}

    assert got == []


async def test_pings_are_answered_while_the_handler_does_not_read(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async with connect(make_app(forever, hub), token="ann") as client:
        await client.send("unread")
        await assert_open(client)


async def test_the_round_trip_of_the_heartbeat_is_measured(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    connections: list[WebSocketConnection] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        connections.append(connection)
        await trio.sleep_forever()

    async with connect(make_app(handler, hub, WS_HELLO=False), token="ann") as client:
        assert await client.receive_json() == PING
        await trio.sleep(0.25)
        await client.send('{"type": "pong"}')
        await wait_all_tasks_blocked()
        assert connections[0].statistics().round_trip_seconds == pytest.approx(0.25)


# A handler that does not read


async def fill(client: WebSocketClient, connection: WebSocketConnection) -> int:
    """Send more than the inbox holds; returns how many messages that was."""
    message = "x" * 1000
    count = 2 * MAX_BYTES // len(message)
    for _ in range(count):
        await client.send(message)
    await wait_all_tasks_blocked()
    unread = connection.statistics().unread_messages
    assert 0 < unread < count, "the rest waits in the network"
    await wait_all_tasks_blocked()
    assert connection.statistics().unread_messages == unread
    return count


async def test_a_peer_that_sends_more_than_is_read_is_slowed_down_and_loses_nothing(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    got: list[str | bytes] = []
    connections: list[WebSocketConnection] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        connections.append(connection)
        await trio.sleep(59)
        async for message in ws:
            got.append(message)

    async with connect(make_app(handler, hub), token="ann") as client:
        await wait_all_tasks_blocked()
        count = await fill(client, connections[0])
        await client.send("last")
        await trio.sleep(60)
        await assert_open(client)

    assert len(got) == count + 1
    assert got[-1] == "last"


async def test_a_handler_that_never_reads_is_closed_after_the_heartbeat_timeout(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    connections: list[WebSocketConnection] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        connections.append(connection)
        await trio.sleep_forever()

    async with connect(make_app(handler, hub), token="ann") as client:
        await trio.sleep(30)
        await fill(client, connections[0])
        began = trio.current_time()
        close = await client.closed()

        assert (close.code, close.reason) == (1008, "handler too slow")
        assert trio.current_time() - began == pytest.approx(60)


async def test_the_timeout_restarts_when_reading_resumes(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    """While reading is paused no frame can arrive, so the peer does not count as silent."""
    connections: list[WebSocketConnection] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        connections.append(connection)
        await trio.sleep(55)
        async for _ in ws:
            pass

    async with connect(make_app(handler, hub), token="ann") as client:
        began = trio.current_time()
        await wait_all_tasks_blocked()
        while session_of(connections[0]).inbox.has_room():
            await client.send("x" * 1000)
            await wait_all_tasks_blocked()

        assert (await client.closed()).code == 4408
        assert trio.current_time() - began == pytest.approx(55 + 60)


async def test_a_disconnect_is_noticed_while_the_handler_does_not_read(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    ended_at: list[float] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended_at.append(trio.current_time())

    async with connect(make_app(handler, hub), token="ann") as client:
        for _ in range(20):
            await client.send("unread")
        await trio.sleep(10)
        await client.drop()
        left_at = trio.current_time()
        await wait_all_tasks_blocked()
        assert hub.connection_count() == 0, "out of the registry at once"

    assert ended_at == [pytest.approx(left_at + 5)]


# Sending


async def test_messages_leave_in_the_order_they_were_sent(hub: WebSocketHub) -> None:
    sent = [f"message {number}" for number in range(500)]

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        for message in sent:
            await ws.send(message)

    async with connect(make_app(handler, hub, WS_HELLO=False), token="ann") as client:
        got = [await client.receive() for _ in sent]
        assert (await client.closed()).code == 1000

    assert got == sent


async def test_a_handler_that_sends_faster_than_the_peer_reads_is_slowed_down_and_not_closed(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    sent: list[int] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        for number in range(20):
            await ws.send(str(number))
            sent.append(number)

    app = make_app(handler, hub, WS_HELLO=False, WS_SEND_QUEUE_MESSAGES=4)
    async with connect(app, token="ann", buffer=0) as client:
        await wait_all_tasks_blocked()
        assert len(sent) < 10
        assert [await client.receive() for _ in range(20)] == [str(number) for number in range(20)]
        assert (await client.closed()).code == 1000


async def test_a_handler_that_always_has_more_to_send_leaves_room_for_heartbeats_and_fan_outs(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    """A slow link that is kept busy by the handler is not a slow consumer."""

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        while True:
            await ws.send('{"type": "chunk"}')

    got: Counter[str] = Counter()
    app = make_app(handler, hub, WS_SEND_QUEUE_MESSAGES=8)
    async with connect(app, token="ann", buffer=0) as client:
        for second in range(120):
            await trio.sleep(1)
            got[(await client.receive_json())["type"]] += 1
            if second % 10 == 0:
                await client.send('{"type": "ping"}')
            if second % 20 == 0:
                assert await hub.broadcast(WSEnvelope(type="news")) == 1

    assert (got["ping"], got["pong"], got["news"]) == (3, 12, 6)


async def test_a_peer_that_stays_alive_stays_connected(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async with connect(make_app(read_everything, hub), token="ann") as client, trio.open_nursery() as nursery:
        nursery.start_soon(stay_alive, client)
        await trio.sleep(3600)
        assert hub.connection_count() == 1
        nursery.cancel_scope.cancel()


async def test_the_next_receive_raises_the_disconnect(hub: WebSocketHub) -> None:
    seen: list[WebSocketDisconnect] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        try:
            await ws.receive()
        except WebSocketDisconnect as gone:
            seen.append(gone)

    async with connect(make_app(handler, hub), token="ann") as client:
        await client.close(4000, "bye")

    assert [(gone.code, gone.reason) for gone in seen] == [(4000, "bye")]
