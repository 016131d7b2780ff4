"""A connection by itself: what it says of itself, what it takes, and how its end begins."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from unittest.mock import Mock
from uuid import UUID

import pytest
from trio.testing import MockClock, assert_checkpoints

from quart_wshub import CloseCode, Identity, WebSocketDisconnect, WebSocketHub
from quart_wshub.connection.ending import Ending, EndingKind
from quart_wshub.connection.pacer import YIELD_EVERY
from quart_wshub.hub.websocket_hub import runtime_of
from quart_wshub.protocol.frame import Frame
from tests.unit.fakes import FakeTransport, delivered, join, make_session, public, texts
from tests.unit.memory import make_settings

if TYPE_CHECKING:
    from quart_wshub.connection.session import Session


async def test_a_connection_says_who_authenticated_and_when() -> None:
    before = datetime.now(UTC)
    hub = WebSocketHub()
    identity = Identity("ann", expires_at=before + timedelta(hours=1), claims={"role": "admin"})
    connection = public(make_session(hub, identity=identity))

    assert isinstance(connection.connection_id, UUID)
    assert connection.user_id == "ann"
    assert connection.identity is identity
    assert connection.claims == {"role": "admin"}
    assert before <= connection.connected_at <= datetime.now(UTC)
    assert connection.topics == frozenset()
    assert repr(connection) == f"<WebSocketConnection {connection.connection_id} user='ann'>"


async def test_connections_are_hashable_and_each_is_its_own() -> None:
    hub = WebSocketHub()
    first, second = make_session(hub), make_session(hub)

    assert len({first, second}) == 2
    assert first.connection_id != second.connection_id


@pytest.mark.parametrize("name", ["connection_id", "user_id", "identity", "claims", "connected_at", "topics", "ws"])
async def test_the_app_cannot_change_the_state_of_a_connection(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(public(make_session(WebSocketHub())), name, "changed")


async def test_claims_cannot_be_changed_through_the_connection() -> None:
    connection = public(make_session(WebSocketHub()))
    assert isinstance(connection.claims, Mapping)
    with pytest.raises(TypeError):
        connection.claims["role"] = "admin"  # type: ignore[index]


async def test_topics_are_those_of_the_registry_and_none_once_it_is_closed() -> None:
    hub = WebSocketHub()
    connection = join(hub)
    await hub.subscribe(connection.connection_id, "news")
    assert connection.topics == {"news"}

    connection.begin_close(CloseCode.NORMAL, kind=EndingKind.SERVER_CLOSED)

    assert connection.topics == frozenset()


async def test_statistics_count_what_was_received_sent_queued_and_not_read() -> None:
    connection = make_session(WebSocketHub())
    connection.received(["ä", b"1"])
    connection.received([""])
    connection.inbox.put("abc")
    connection.offer(Frame("ä"))
    await connection.send(Frame(b"1234"))
    connection.outbox.take()
    connection.offer(Frame("x"))

    statistics = connection.statistics()

    assert (statistics.messages_received, statistics.bytes_received) == (3, 3)
    assert (statistics.messages_sent, statistics.bytes_sent) == (3, 7)
    assert (statistics.queued_messages, statistics.queued_bytes) == (1, 1)
    assert statistics.unread_messages == 1
    with pytest.raises(FrozenInstanceError):
        statistics.messages_sent = 0  # type: ignore[misc]


async def test_everything_received_updates_last_seen(autojump_clock: MockClock) -> None:
    connection = make_session(WebSocketHub())
    before = connection.last_seen
    autojump_clock.jump(10)

    connection.received([])

    assert connection.last_seen == before + 10


async def test_the_round_trip_is_measured_from_a_ping_to_its_pong(autojump_clock: MockClock) -> None:
    connection = make_session(WebSocketHub())
    connection.pong_received()
    assert connection.statistics().round_trip_seconds is None, "nobody asked for that pong"

    connection.ping_sent()
    autojump_clock.jump(0.25)
    connection.pong_received()
    autojump_clock.jump(10)
    connection.pong_received()

    assert connection.statistics().round_trip_seconds == 0.25


async def test_only_the_first_call_begins_the_close() -> None:
    connection = join(WebSocketHub())

    assert connection.begin_close(4000, "first", kind=EndingKind.HANDLER_CLOSED)
    assert not connection.begin_close(4001, "second", kind=EndingKind.SERVER_CLOSED)
    assert not connection.peer_left(WebSocketDisconnect(1006))
    assert connection.ending == Ending(4000, "first", EndingKind.HANDLER_CLOSED)


async def test_the_close_reason_defaults_to_that_of_the_code() -> None:
    hub = WebSocketHub()
    ours, other = join(hub), join(hub)

    ours.begin_close(CloseCode.FORBIDDEN, kind=EndingKind.SERVER_CLOSED)
    other.begin_close(4000, kind=EndingKind.SERVER_CLOSED)

    assert ours.ending == Ending(4403, "forbidden", EndingKind.SERVER_CLOSED)
    assert other.ending == Ending(4000, "", EndingKind.SERVER_CLOSED)


async def test_a_connection_is_out_of_the_registry_before_begin_close_returns_and_before_anyone_is_told() -> None:
    hub = WebSocketHub()
    connection = join(hub)
    counts: list[int] = []
    connection.runner = Mock(begin_closing=lambda: counts.append(hub.connection_count()))

    connection.begin_close(CloseCode.NORMAL, kind=EndingKind.SERVER_CLOSED)

    assert counts == [0]
    assert hub.connection_count() == 0


async def test_a_closing_connection_takes_nothing_more() -> None:
    connection = join(WebSocketHub())
    connection.begin_close(4000, "bye", kind=EndingKind.SERVER_CLOSED)

    assert not connection.offer(Frame("late"))
    with pytest.raises(WebSocketDisconnect, match="4000"):
        await connection.send(Frame("late"))
    assert connection.statistics().messages_sent == 0


async def test_a_peer_whose_queue_is_full_is_closed_as_a_slow_consumer_and_its_backlog_is_dropped() -> None:
    hub = WebSocketHub()
    connection = join(hub, settings=make_settings(WS_SEND_QUEUE_MESSAGES=2))

    assert [connection.offer(Frame("x")) for _ in range(4)] == [True, True, False, False]

    assert connection.ending == Ending(1013, "send queue overflow", EndingKind.OVERFLOWED)
    assert hub.connection_count() == 0
    assert connection.statistics().queued_bytes == 0
    assert connection.outbox.take() == []


@pytest.mark.parametrize("kind", EndingKind)
async def test_unread_messages_are_kept_only_when_the_peer_left(kind: EndingKind) -> None:
    connection = join(WebSocketHub())
    connection.inbox.put("unread")

    connection.begin_close(1000, kind=kind)

    if kind is EndingKind.PEER_LEFT:
        assert await connection.inbox.get() == "unread"
    with pytest.raises(WebSocketDisconnect):
        await connection.inbox.get()


@pytest.mark.parametrize("kind", EndingKind)
async def test_queued_messages_go_out_unless_the_peer_cannot_or_does_not_take_them(kind: EndingKind) -> None:
    connection = join(WebSocketHub())
    connection.offer(Frame("queued"))

    connection.begin_close(1000, kind=kind)

    dropped = kind in {EndingKind.PEER_LEFT, EndingKind.OVERFLOWED}
    assert len(await delivered(connection)) == (0 if dropped else 1)


# Bypassing the queue: frames that the transport takes at once


class QuickTransport(FakeTransport):
    """Takes frames at once, as a socket with room does.

    Attributes:
        takes: what it does with the next frame: all of it, a part, or nothing.
        gone: whether the peer has left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.takes = "all"
        self.gone = False

    def try_send(self, frame: Frame) -> Frame | None:
        if self.gone:
            raise WebSocketDisconnect(1006)
        if self.takes == "nothing":
            return frame
        self.sent.append(frame)
        return None if self.takes == "all" else Frame("the rest")


async def test_a_frame_bypasses_the_queue_while_the_outbox_is_idle() -> None:
    transport = QuickTransport()
    connection = make_session(WebSocketHub(), transport=transport)
    first, second = Frame("first"), Frame("second")

    assert connection.offer(first)
    await connection.send(second)

    assert transport.sent == [first, second]
    assert connection.outbox.queued_messages == 0
    assert connection.statistics().messages_sent == 2


@pytest.mark.parametrize("waits", [False, True], ids=["offer", "send"])
async def test_what_the_socket_did_not_take_is_queued_and_nothing_overtakes_it(
    waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quart_wshub.connection.session.perf_counter", itertools.count(1).__next__)  # no burst
    transport = QuickTransport()
    transport.takes = "part"
    connection = make_session(WebSocketHub(), transport=transport)
    frames = [Frame("first"), Frame("second"), Frame("third")]

    for frame in frames:
        if waits:
            await connection.send(frame)
        else:
            assert connection.offer(frame)
        transport.takes = "all"

    assert transport.sent == frames[:1]
    assert texts(connection.outbox.take()) == ["the rest", "second", "third"]
    assert connection.offer(Frame("fourth")), "the batch is still being written, so this one is queued too"
    assert transport.sent == frames[:1]


async def test_a_fan_out_that_notices_the_departure_leaves_the_close_to_the_receiver() -> None:
    transport = QuickTransport()
    transport.gone = True
    connection = join_over(transport)

    assert not connection.offer(Frame("lost"))
    with pytest.raises(WebSocketDisconnect, match="1006"):
        await connection.send(Frame("lost"))

    assert connection.ending is None
    assert connection.statistics().messages_sent == 0


async def test_sending_on_a_closed_connection_in_a_loop_gives_way_to_other_tasks() -> None:
    connection = join(WebSocketHub())
    connection.begin_close(1000, kind=EndingKind.SERVER_CLOSED)

    with assert_checkpoints():
        for _ in range(YIELD_EVERY):
            with pytest.raises(WebSocketDisconnect):
                await connection.send(Frame("x"))


async def test_sending_in_a_loop_without_waiting_yields_to_other_tasks() -> None:
    connection = join_over(QuickTransport())

    with assert_checkpoints():
        for _ in range(YIELD_EVERY):
            await connection.send(Frame("x"))


def join_over(transport: FakeTransport) -> Session:
    hub = WebSocketHub()
    connection = make_session(hub, transport=transport)
    runtime_of(hub).register(connection)
    return connection
