"""How a connection closes: with which code, how long it may take, and that nothing is left of it."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub import (
    Identity,
    WebSocket,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    WSEnvelope,
)
from quart_wshub.connection.ending import EndingKind
from quart_wshub.connection.inbox import MAX_BYTES
from quart_wshub.connection.lifecycle import Lifecycle
from quart_wshub.hub.websocket_hub import runtime_of
from quart_wshub.protocol.frame import Frame
from quart_wshub.testing import connect
from tests.unit.fakes import FakeTransport, PeerLeavesWhileSending, make_session, public, texts, ws_of
from tests.unit.memory import assert_open, forever, make_app, make_settings, read_everything, stay_alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_wshub.connection.session import Session
    from quart_wshub.hub.handler import Handler

NEWS = Frame(WSEnvelope(type="news").encode())


@asynccontextmanager
async def running(
    transport: FakeTransport, hub: WebSocketHub, handler: Handler = forever, **settings: float
) -> AsyncIterator[Session]:
    """A connection over a fake transport; leaving the block waits until it is over."""
    chosen = make_settings(**settings)
    connection = make_session(hub, transport=transport, settings=chosen)
    runtime_of(hub).register(connection)
    handle = partial(handler, ws_of(connection), public(connection), hub)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Lifecycle(transport, connection, handle, chosen).run)
        await wait_all_tasks_blocked()
        yield connection


# The peer leaves


async def test_a_ping_notices_that_the_peer_has_gone_while_reading_is_paused(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    """Nothing else could notice it meanwhile."""

    class Gone(FakeTransport):
        def try_send(self, frame: Frame) -> Frame | None:
            raise WebSocketDisconnect(1006)

    transport = Gone()
    async with running(transport, hub, WS_HEARTBEAT_SECONDS=30, WS_HEARTBEAT_TIMEOUT_SECONDS=60) as connection:
        transport.peer_sends("x" * MAX_BYTES)
        await trio.sleep(29)
        assert connection.ending is None
        await trio.sleep(2)
        assert connection.ending is not None
        assert (connection.ending.code, connection.ending.kind) == (1006, EndingKind.PEER_LEFT)


async def test_messages_sent_before_the_close_reach_the_handler_and_then_the_disconnect_with_the_peers_code(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    seen: list[object] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await trio.sleep(1)
        try:
            while True:
                seen.append(await ws.receive())
                await trio.sleep(0.1)
        except WebSocketDisconnect as gone:
            seen.append((gone.code, gone.reason))

    async with connect(make_app(handler, hub), token="ann") as client:
        for message in ("one", b"two", ""):
            await client.send(message)
        await client.close(4000, "bye")

    assert seen == ["one", b"two", "", (4000, "bye")]
    assert hub.statistics().closed == {4000: 1}


async def test_a_peer_that_drops_the_connection_is_reported_as_1006(hub: WebSocketHub) -> None:
    seen: list[int] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        with pytest.raises(WebSocketDisconnect) as caught:
            await ws.receive()
        seen.append(caught.value.code)

    async with connect(make_app(handler, hub), token="ann") as client:
        await client.drop()

    assert seen == [1006]


async def test_sending_to_a_peer_that_has_left_raises_in_the_handler(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    seen: list[int] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await trio.sleep(1)
        with pytest.raises(WebSocketDisconnect) as caught:
            await ws.send("too late")
        seen.append(caught.value.code)

    async with connect(make_app(handler, hub), token="ann") as client:
        await client.close(4000)

    assert seen == [4000]


async def test_a_handler_blocked_elsewhere_is_cancelled_after_the_close_timeout(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async with connect(make_app(forever, hub, WS_CLOSE_TIMEOUT_SECONDS=3), token="ann") as client:
        await client.close()
        left_at = trio.current_time()

    assert trio.current_time() - left_at == pytest.approx(3)


async def test_a_handler_may_finish_its_work_within_the_close_timeout_and_nothing_waits_longer(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    finished: list[bool] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await read_everything(ws, connection, hub)
        await trio.sleep(4)
        finished.append(True)

    async with connect(make_app(handler, hub), token="ann") as client:
        await client.close()
        left_at = trio.current_time()

    assert finished == [True]
    assert trio.current_time() - left_at == pytest.approx(4)


async def test_a_peer_that_has_left_is_out_of_every_index_while_its_handler_still_works(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await hub.subscribe(connection.connection_id, "news")
        await trio.sleep_forever()

    async with connect(make_app(handler, hub), token="ann") as client:
        await wait_all_tasks_blocked()
        assert await hub.broadcast(WSEnvelope(type="news"), topic="news") == 1
        await client.drop()
        await wait_all_tasks_blocked()

        assert (hub.connection_count(), hub.topic_count("news"), hub.online_users()) == (0, 0, frozenset())
        assert await hub.broadcast(WSEnvelope(type="news"), topic="news") == 0


async def test_a_departure_noticed_only_while_sending_ends_the_connection_after_the_close_timeout(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    transport = PeerLeavesWhileSending()
    began = trio.current_time()
    async with running(transport, hub) as connection:
        connection.offer(NEWS)
        transport.peer_sends("sent before it left")
        await wait_all_tasks_blocked()

    assert hub.statistics().closed == {1006: 1}
    assert trio.current_time() - began <= 5 + 5
    assert connection.statistics().messages_received == 1


async def test_the_close_code_the_receiver_gets_counts_when_sending_failed_first(hub: WebSocketHub) -> None:
    transport = PeerLeavesWhileSending()
    async with running(transport, hub, read_everything) as connection:
        connection.offer(NEWS)
        await wait_all_tasks_blocked()
        transport.fail(WebSocketDisconnect(4000, "bye"))

    assert hub.statistics().closed == {4000: 1}


# The handler closes


async def test_what_was_sent_before_ws_close_goes_out_first(hub: WebSocketHub) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await ws.send("last words")
        await ws.close(4000, "enough")
        await ws.close(4001, "a second close does nothing")

    async with connect(make_app(handler, hub, WS_HELLO=False), token="ann") as client:
        assert await client.receive() == "last words"
        close = await client.closed()

    assert (close.code, close.reason) == (4000, "enough")


async def test_after_ws_close_the_handler_has_time_for_its_own_cleanup(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    cleaned: list[bool] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await ws.close()
        with pytest.raises(WebSocketDisconnect):
            await ws.receive()
        with pytest.raises(WebSocketDisconnect):
            await ws.send("no more")
        await trio.sleep(4.9)
        cleaned.append(True)

    async with connect(make_app(handler, hub), token="ann") as client:
        await client.closed()
        assert cleaned == [], "the client hears at once"

    assert cleaned == [True]


async def test_after_ws_close_a_handler_that_does_not_end_is_cancelled(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await ws.close()
        await trio.sleep_forever()

    async with connect(make_app(handler, hub), token="ann") as client:
        await client.closed()
        closed_at = trio.current_time()

    assert trio.current_time() - closed_at == pytest.approx(5)


async def test_an_exception_after_ws_close_is_logged_and_does_not_change_the_code(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await ws.close(4000)
        raise RuntimeError

    async with connect(make_app(handler, hub), token="ann") as client:
        assert (await client.closed()).code == 4000

    assert [record.levelname for record in caplog.records] == ["ERROR"]


# The server closes


async def test_hub_disconnect_closes_with_its_code_and_reason_and_cancels_the_handler(hub: WebSocketHub) -> None:
    async with connect(make_app(forever, hub), token="ann") as client:
        await wait_all_tasks_blocked()
        assert await hub.disconnect(user_id="ann", code=4403, reason="banned") == 1
        assert hub.connection_count() == 0
        close = await client.closed()

    assert (close.code, close.reason) == (4403, "banned")


async def test_what_was_delivered_before_hub_disconnect_goes_out_first(hub: WebSocketHub) -> None:
    async with connect(make_app(forever, hub, WS_HELLO=False), token="ann") as client:
        await wait_all_tasks_blocked()
        await hub.send_to("ann", WSEnvelope(type="last.words"))
        await hub.disconnect(user_id="ann")

        assert (await client.expect("last.words")).type == "last.words"
        assert (await client.closed()).code == 1000


async def test_a_token_that_expires_closes_with_4401_at_that_time(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async def resolver(token: str) -> Identity:
        return Identity(token, expires_at=datetime.now(UTC) + timedelta(seconds=617))

    app = make_app(forever, hub, resolver=resolver)
    async with connect(app, token="ann") as client, trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(stay_alive, client)
        await trio.sleep(605)
        await wait_all_tasks_blocked()
        assert hub.connection_count() == 1
        close = await client.closed()

        assert (close.code, close.reason) == (4401, "token expired")
        assert trio.current_time() - began == pytest.approx(617, abs=5)
        nursery.cancel_scope.cancel()


async def test_a_token_without_expiry_never_closes_the_connection(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async def resolver(token: str) -> Identity:
        return Identity(token)

    app = make_app(forever, hub, resolver=resolver)
    async with connect(app, token="ann") as client, trio.open_nursery() as nursery:
        nursery.start_soon(stay_alive, client)
        await trio.sleep(80_000)
        assert hub.connection_count() == 1
        nursery.cancel_scope.cancel()


async def test_evicting_the_oldest_does_not_wait_for_it(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    """Five stuck sockets, and a sixth that gets in at once."""
    app = make_app(forever, hub)
    async with trio.open_nursery() as nursery:

        async def stuck() -> None:
            async with connect(app, token="ann", buffer=0):
                await trio.sleep_forever()

        for _ in range(5):
            nursery.start_soon(stuck)
            await wait_all_tasks_blocked()
        began = trio.current_time()
        async with connect(app, token="ann") as client:
            await client.expect("hello")
            assert trio.current_time() == began
            assert hub.connection_count() == 5
            assert hub.statistics().closed == {4429: 1}
        nursery.cancel_scope.cancel()


async def test_the_evicted_client_gets_4429(hub: WebSocketHub) -> None:
    app = make_app(forever, hub)
    async with connect(app, token="ann") as oldest, trio.open_nursery() as nursery:

        async def newer() -> None:
            async with connect(app, token="ann") as client:
                await client.expect("hello")
                await trio.sleep_forever()

        for _ in range(5):
            nursery.start_soon(newer)
        assert (await oldest.closed()).code == 4429
        nursery.cancel_scope.cancel()


async def test_a_connection_closed_before_it_ran_sends_its_close_code_and_ends(hub: WebSocketHub) -> None:
    transport = FakeTransport()
    settings = make_settings()
    connection = make_session(hub, transport=transport, settings=settings)
    runtime_of(hub).register(connection)
    connection.begin_close(4429, "evicted", kind=EndingKind.SERVER_CLOSED)

    with trio.fail_after(1):
        await Lifecycle(transport, connection, trio.sleep_forever, settings).run()

    assert transport.closes == [(4429, "evicted")]


# Slow and stuck peers


async def test_a_stuck_peer_delays_neither_the_caller_nor_others(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    app = make_app(read_everything, hub, WS_SEND_QUEUE_MESSAGES=3, WS_HELLO=False)
    async with connect(app, token="stuck", buffer=0), connect(app, token="ann") as client:
        await wait_all_tasks_blocked()
        began = trio.current_time()
        counts = []
        for number in range(20):
            counts.append(await hub.broadcast(WSEnvelope(type=f"news.{number}")))
            assert (await client.expect(f"news.{number}")).type == f"news.{number}"

        assert trio.current_time() == began, "nobody waited"
        assert counts[0] == 2
        assert counts[-1] == 1, "the stuck one is no longer counted"
        assert hub.online_users() == {"ann"}
        assert hub.statistics().closed == {1013: 1}
        await assert_open(client)


async def test_a_slow_consumer_that_reads_again_sees_1013(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    app = make_app(forever, hub, WS_SEND_QUEUE_BYTES=200, WS_HELLO=False)
    async with connect(app, token="ann", buffer=0) as client:
        await wait_all_tasks_blocked()
        while await hub.broadcast(WSEnvelope(type="news")):
            await wait_all_tasks_blocked()
        close = await client.closed()

    assert (close.code, close.reason) == (1013, "send queue overflow")


async def test_a_writer_stuck_for_the_heartbeat_timeout_is_a_slow_consumer(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    """A peer that sends heartbeats but reads nothing."""
    transport = FakeTransport()
    transport.takes_frames = False
    began = trio.current_time()
    async with running(transport, hub) as connection:
        connection.offer(NEWS)
        while connection.ending is None:
            transport.peer_sends("alive")
            await trio.sleep(10)

    assert hub.statistics().closed == {1013: 1}
    assert trio.current_time() - began <= 70 + 5


async def test_a_stuck_writer_is_aborted_when_the_close_times_out(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    transport = FakeTransport()
    transport.takes_frames = False
    async with running(transport, hub) as connection:
        connection.offer(NEWS)
        await wait_all_tasks_blocked()
        connection.begin_close(4000, kind=EndingKind.SERVER_CLOSED)
        began = trio.current_time()

    assert trio.current_time() - began == pytest.approx(5)
    assert transport.aborted
    assert transport.closes == [], "there was no way to say it"


async def test_a_peer_that_never_answers_the_close_frame_is_aborted_after_the_timeout(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    transport = FakeTransport()
    transport.answers_close = False
    async with running(transport, hub, WS_CLOSE_TIMEOUT_SECONDS=2) as connection:
        connection.begin_close(4000, "bye", kind=EndingKind.SERVER_CLOSED)
        began = trio.current_time()

    assert trio.current_time() - began == pytest.approx(2)
    assert transport.closes == [(4000, "bye")]
    assert transport.aborted


async def test_a_peer_that_answers_the_close_frame_is_not_aborted(hub: WebSocketHub) -> None:
    transport = FakeTransport()
    async with running(transport, hub) as connection:
        connection.begin_close(4000, "bye", kind=EndingKind.SERVER_CLOSED)

    assert transport.closes == [(4000, "bye")]
    assert not transport.aborted


# Cancellation and faults


async def test_cancellation_from_outside_closes_with_1012_within_half_a_second(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    transport = FakeTransport()
    transport.answers_close = False
    with trio.CancelScope() as server:
        async with running(transport, hub) as connection:
            connection.offer(NEWS)
            server.cancel()
            began = trio.current_time()

    assert server.cancelled_caught
    assert trio.current_time() - began == pytest.approx(0.5)
    assert texts(transport.sent) == [NEWS.payload], "what was delivered before still goes out"
    assert transport.closes == [(1012, "the server is restarting")]
    assert transport.aborted
    assert hub.statistics().closed == {1012: 1}


async def test_cancellation_from_outside_frees_a_stuck_writer_too(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    transport = FakeTransport()
    transport.takes_frames = False
    with trio.CancelScope() as server:
        async with running(transport, hub) as connection:
            connection.offer(NEWS)
            await wait_all_tasks_blocked()
            server.cancel()
            began = trio.current_time()

    assert trio.current_time() - began == pytest.approx(0.5)
    assert transport.aborted


async def test_cancellation_from_outside_does_not_wait_longer_than_any_close_may(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    transport = FakeTransport()
    transport.answers_close = False
    with trio.CancelScope() as server:
        async with running(transport, hub, WS_CLOSE_TIMEOUT_SECONDS=0.1):
            server.cancel()
            began = trio.current_time()

    assert trio.current_time() - began == pytest.approx(0.1)


async def test_a_close_that_has_begun_is_not_cut_short_by_a_later_cancellation(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    transport = FakeTransport()
    transport.answers_close = False
    with trio.CancelScope() as server:
        async with running(transport, hub) as connection:
            connection.begin_close(4000, kind=EndingKind.SERVER_CLOSED)
            await wait_all_tasks_blocked()
            server.cancel()

    assert [code for code, _ in transport.closes] == [4000]


async def test_a_transport_that_breaks_is_logged_and_closed_with_1011(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    transport = FakeTransport()
    async with running(transport, hub) as connection:
        transport.fail(RuntimeError("a bug in the server"))

    assert transport.closes == [(1011, "internal error")]
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert str(connection.connection_id) in record.getMessage()


@pytest.mark.parametrize("method", ["try_send", "send", "close"])
async def test_a_transport_that_breaks_while_it_sends_or_closes_is_logged_and_ends_only_its_connection(
    hub: WebSocketHub,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a bug in the server")

    transport = FakeTransport()
    async with running(transport, hub) as connection:
        monkeypatch.setattr(transport, method, fail)
        await trio.sleep(31)  # the time of a ping
        connection.begin_close(1000, kind=EndingKind.SERVER_CLOSED)

    assert str(connection.connection_id) in caplog.text
    assert "a bug in the server" in caplog.text
    assert hub.statistics().closed == {{"try_send": 1011, "send": 1012, "close": 1000}[method]: 1}


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(1), BaseExceptionGroup("", [ValueError(), KeyboardInterrupt()])]
)
async def test_a_request_to_exit_goes_through_and_the_peer_is_told(hub: WebSocketHub, error: BaseException) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        raise error

    transport = FakeTransport()
    expected = SystemExit if isinstance(error, SystemExit) else KeyboardInterrupt
    with pytest.RaisesGroup(expected, flatten_subgroups=True):
        async with running(transport, hub, handler):
            pass

    assert transport.closes == [(1012, "the server is restarting")]
