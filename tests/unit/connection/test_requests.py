"""Requests to clients: each reply reaches its request, and no entry outlives its call."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub import (
    RequestFailedError,
    RequestLimitError,
    RequestTimeoutError,
    UnknownConnectionError,
    UsageError,
    WebSocket,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    WSEnvelope,
    WSHubError,
)
from quart_wshub.connection.ending import EndingKind
from quart_wshub.connection.inbox import MAX_BYTES
from quart_wshub.connection.requests import MAX_PENDING, Requests
from quart_wshub.connection.websocket_connection import session_of
from quart_wshub.testing import WebSocketClient, connect
from tests.unit.fakes import join
from tests.unit.memory import make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_wshub.connection.session import Session

WHERE = WSEnvelope(type="where", data={"unit": "m"})

NOTHING_YET = object()


class Desk:
    """One connected client, and the server's end of it: a handler that notes what reaches it, once it may read."""

    def __init__(self, hub: WebSocketHub) -> None:
        self.hub = hub
        self.client: WebSocketClient
        self.connection: Session
        self.reads = trio.Event()
        self.handled: list[str | bytes] = []
        self.outcomes: list[WSEnvelope | Exception] = []

    async def handle(self, ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        self.connection = session_of(connection)
        await self.reads.wait()
        async for message in ws:
            self.handled.append(message)

    async def ask(self, envelope: WSEnvelope = WHERE, timeout: float = 10.0) -> None:
        """Send a request, and record its outcome."""
        try:
            self.outcomes.append(await self.hub.request(self.connection.connection_id, envelope, timeout))
        except WSHubError as error:
            self.outcomes.append(error)

    async def asked(self) -> dict[str, Any]:
        """The client's next message, which is a request."""
        message: dict[str, Any] = await self.client.receive_json()
        return message

    async def answers(self, request: dict[str, Any], **fields: Any) -> None:
        reply = {"type": f"{request['type']}.reply", "data": {}, "request_id": request["request_id"], **fields}
        await self.client.send_json(reply)


@pytest.fixture
async def desk(hub: WebSocketHub) -> AsyncIterator[Desk]:
    """The handler reads from the start."""
    desk = Desk(hub)
    desk.reads.set()
    app = make_app(desk.handle, hub, WS_HELLO=False)
    async with connect(app, token="ann") as desk.client:
        await wait_all_tasks_blocked()
        yield desk
        if not desk.connection.ending:
            await wait_all_tasks_blocked()


def nothing_is_kept(desk: Desk) -> bool:
    return desk.connection.requests is None


# Replies


async def test_a_request_to_a_client_that_has_just_left_is_not_logged_as_a_failure(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    raised: list[type[BaseException]] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        async for _ in ws:
            pass
        try:
            await hub.request(connection.connection_id, WHERE)
        except BaseException as error:
            raised.append(type(error))
            raise

    async with connect(make_app(handler, hub), token="ann") as client:
        await client.close()
    assert raised == [UnknownConnectionError]
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []


async def test_a_request_goes_out_with_an_id_of_its_own_and_its_reply_comes_back(desk: Desk) -> None:
    envelope = WSEnvelope(type="where", data={"unit": "m"}, request_id="the app's own")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.ask, envelope)
        asked = await desk.asked()
        assert (asked["type"], asked["data"]) == ("where", {"unit": "m"})
        assert len(asked["request_id"]) >= 32
        await desk.answers(asked, data={"x": 1})

    assert desk.outcomes == [WSEnvelope(type="where.reply", data={"x": 1}, request_id=asked["request_id"])]
    assert envelope.request_id == "the app's own"
    assert desk.handled == []
    assert nothing_is_kept(desk)


async def test_replies_reach_their_requests_in_any_order(desk: Desk) -> None:
    results: dict[int, int] = {}

    async def ask_for(number: int) -> None:
        envelope = WSEnvelope(type="double", data={"number": number})
        reply = await desk.hub.request(desk.connection.connection_id, envelope)
        results[number] = reply.data["result"]

    async with trio.open_nursery() as nursery:
        for number in range(MAX_PENDING):
            nursery.start_soon(ask_for, number)
        asked = [await desk.asked() for _ in range(MAX_PENDING)]
        assert len({one["request_id"] for one in asked}) == MAX_PENDING
        for one in reversed(asked):
            await desk.answers(one, data={"result": 2 * one["data"]["number"]})

    assert results == {number: 2 * number for number in range(MAX_PENDING)}
    assert nothing_is_kept(desk)


async def test_a_handler_may_wait_for_its_own_client(hub: WebSocketHub) -> None:
    got: list[object] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        reply = await hub.request(connection.connection_id, WHERE)
        got.append(reply.data)
        got.append(await ws.receive())

    async with connect(make_app(handler, hub, WS_HELLO=False), token="ann") as client:
        asked = await client.receive_json()
        await client.send("something else first")
        await client.send_json({"type": "where.reply", "data": {"x": 1}, "request_id": asked["request_id"]})
        await client.closed()

    assert got == [{"x": 1}, "something else first"]


async def test_replies_arrive_while_the_handler_does_not_read(hub: WebSocketHub) -> None:
    desk = Desk(hub)
    async with connect(make_app(desk.handle, hub, WS_HELLO=False), token="ann") as desk.client:
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.ask)
            await desk.client.send("before")
            await desk.answers(await desk.asked())
        desk.reads.set()
    assert [type(outcome) for outcome in desk.outcomes] == [WSEnvelope]
    assert desk.handled == ["before"]


async def test_a_reply_waits_behind_what_a_handler_leaves_in_the_network(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    desk = Desk(hub)
    async with connect(make_app(desk.handle, hub, WS_HELLO=False), token="ann") as desk.client:
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.ask)
            asked = await desk.asked()
            while desk.connection.inbox.has_room():
                await desk.client.send("x" * (MAX_BYTES // 8))
                await wait_all_tasks_blocked()
            await desk.client.send("one more")
            await desk.answers(asked)
            await trio.sleep(5)
            assert desk.outcomes == []
            desk.reads.set()
    assert [type(outcome) for outcome in desk.outcomes] == [WSEnvelope]
    assert desk.handled[-1] == "one more"


@pytest.mark.parametrize(
    "spell",
    [
        lambda text: text.replace("wshub-", "\\u0077shub-"),
        lambda text: text.replace("where.reply", "where\\u002ereply"),
        lambda text: json.dumps(json.loads(text), indent=4),
    ],
)
async def test_a_reply_is_recognised_in_any_json_spelling(desk: Desk, spell: Any) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.ask)
        asked = await desk.asked()
        await desk.client.send(spell(json.dumps({"type": "where.reply", "request_id": asked["request_id"]})))
    assert [type(outcome) for outcome in desk.outcomes] == [WSEnvelope]
    assert desk.handled == []


# Other messages


@pytest.mark.parametrize(
    "message",
    [
        '{"type": "where.reply", "data": {}, "request_id": "wshub-0123456789abcdef0123456789abcdef"}',
        '{"type": "error", "data": {}, "request_id": null}',
        '{"type": "chat", "data": {"text": "wshub-"}, "request_id": "wshub-1"}',
        "wshub-",
        '["wshub-"]',
        '{"type": "where.reply", "data": [], "request_id": "wshub-2"}',
        '{"type": "caf\\u00e9"}',
        b"wshub-",
    ],
)
async def test_other_messages_reach_the_handler(desk: Desk, message: str | bytes) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.ask)
        asked = await desk.asked()
        await desk.client.send(message)
        await desk.answers(asked)
    assert desk.handled == [message]


async def test_a_message_with_the_id_but_of_another_type_is_no_reply(desk: Desk) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.ask)
        asked = await desk.asked()
        for kind in ("where", "other.reply", "where.reply.reply"):
            await desk.answers(asked, type=kind)
        await wait_all_tasks_blocked()
        assert desk.outcomes == []
        await desk.answers(asked)
    assert [json.loads(message)["type"] for message in desk.handled] == ["where", "other.reply", "where.reply.reply"]


async def test_without_a_pending_request_replies_reach_the_handler(desk: Desk) -> None:
    await desk.client.send_json({"type": "where.reply", "request_id": "wshub-1"})
    await wait_all_tasks_blocked()
    assert len(desk.handled) == 1


async def test_a_second_reply_to_the_same_request_is_dropped() -> None:
    requests = Requests()
    request = requests.begin("wshub-1", "where")
    for number in range(2):
        assert requests.take(json.dumps({"type": "where.reply", "data": {"n": number}, "request_id": "wshub-1"}))
    assert isinstance(request.outcome, WSEnvelope)
    assert request.outcome.data == {"n": 0}


# No reply


async def test_a_request_without_a_reply_times_out(desk: Desk, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await desk.ask(timeout=2.5)
    assert trio.current_time() - began == pytest.approx(2.5)
    (outcome,) = desk.outcomes
    assert isinstance(outcome, RequestTimeoutError)
    assert isinstance(outcome, TimeoutError)
    assert str(outcome) == "no reply to 'where' within 2.5 s"


@pytest.mark.parametrize("kind", ["where.reply", "error"])
async def test_a_late_reply_is_dropped_and_then_forgotten(desk: Desk, autojump_clock: MockClock, kind: str) -> None:
    await desk.ask(timeout=1)
    asked = await desk.asked()
    await desk.client.send("in between")
    await desk.answers(asked, type="chat")
    await desk.answers(asked, type=kind)
    await wait_all_tasks_blocked()
    assert desk.handled[0] == "in between"
    assert [json.loads(message)["type"] for message in desk.handled[1:]] == ["chat"], "that was no reply"
    assert desk.connection.requests is None or len(desk.connection.requests) == 0


async def test_the_number_of_remembered_timed_out_requests_is_bounded(desk: Desk, autojump_clock: MockClock) -> None:
    for _ in range(MAX_PENDING + 1):
        await desk.ask(timeout=0.1)
    first, second = await desk.asked(), await desk.asked()
    assert desk.connection.requests is not None
    assert len(desk.connection.requests) == MAX_PENDING
    await desk.answers(first)
    await desk.answers(second)
    await wait_all_tasks_blocked()
    assert [json.loads(message)["request_id"] for message in desk.handled] == [first["request_id"]]


async def test_a_cancelled_request_is_removed(desk: Desk) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.ask)
        asked = await desk.asked()
        nursery.cancel_scope.cancel()
    assert desk.outcomes == []
    await desk.answers(asked)
    await wait_all_tasks_blocked()
    assert desk.handled == []


async def test_a_request_that_is_cancelled_before_it_began_sends_nothing(desk: Desk) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await desk.ask()
    assert scope.cancelled_caught
    assert nothing_is_kept(desk)


@pytest.mark.parametrize("code", [1000, 4000])
async def test_a_request_raises_when_the_client_leaves(desk: Desk, code: int) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.ask)
        await desk.asked()
        await desk.client.close(code, "bye")
    (outcome,) = desk.outcomes
    assert isinstance(outcome, WebSocketDisconnect)
    assert (outcome.code, outcome.reason) == (code, "bye")


async def test_a_reply_sent_before_the_client_left_counts(desk: Desk) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.ask)
        await desk.answers(await desk.asked())
        await desk.client.close()
    assert [type(outcome) for outcome in desk.outcomes] == [WSEnvelope]
    assert nothing_is_kept(desk)


async def test_a_request_raises_when_the_server_closes(desk: Desk) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(desk.ask)
        await desk.asked()
        assert await desk.hub.disconnect(user_id="ann", code=4403, reason="out") == 1
    assert [(type(outcome), str(outcome)) for outcome in desk.outcomes] == [
        (WebSocketDisconnect, "closed with 4403 (out)")
    ] * 3
    assert len({id(outcome) for outcome in desk.outcomes}) == 3, "an exception is raised in one place"


async def test_an_error_answer_is_raised_with_the_clients_code_message_and_details(desk: Desk) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.ask)
        data = {"code": "denied", "message": "no\nposition", "details": [{"loc": ["x"]}]}
        await desk.answers(await desk.asked(), type="error", data=data)
    (outcome,) = desk.outcomes
    assert isinstance(outcome, RequestFailedError)
    assert (outcome.code, outcome.message, outcome.details) == ("denied", "no\nposition", [{"loc": ["x"]}])
    assert len(str(RequestFailedError("c" * 60_000, "m" * 60_000))) < 1000, "no client fills the log"
    assert str(outcome) == r"the client answered with an error: 'denied': 'no\nposition'"
    assert desk.handled == []


@pytest.mark.parametrize("data", [{}, {"code": 7, "message": None}])
async def test_an_error_answer_without_code_and_message_is_raised_too(desk: Desk, data: dict[str, Any]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.ask)
        await desk.answers(await desk.asked(), type="error", data=data)
    (outcome,) = desk.outcomes
    assert isinstance(outcome, RequestFailedError)
    assert (outcome.code, outcome.message, outcome.details) == ("", "", None)


async def test_a_request_to_an_unknown_connection_raises() -> None:
    hub = WebSocketHub()
    gone = join(hub)
    gone.begin_close(1000, kind=EndingKind.SERVER_CLOSED)
    for connection_id in (uuid4(), gone.connection_id):
        with pytest.raises(UnknownConnectionError, match=str(connection_id)) as caught:
            await hub.request(connection_id, WHERE)
        assert isinstance(caught.value, LookupError)
    with pytest.raises(WebSocketDisconnect):
        await gone.request(WHERE, 10)
    assert gone.requests is None or len(gone.requests) == 1


@pytest.mark.parametrize("timeout", [-1, math.nan])
async def test_an_invalid_timeout_is_refused(timeout: float) -> None:
    hub = WebSocketHub()
    connection = join(hub)
    with pytest.raises(UsageError, match="timeout"):
        await hub.request(connection.connection_id, WHERE, timeout)
    assert connection.requests is None


async def test_the_number_of_pending_requests_to_one_client_is_bounded(desk: Desk) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_PENDING):
            nursery.start_soon(desk.ask)
        await wait_all_tasks_blocked()
        with pytest.raises(RequestLimitError, match="64 requests"):
            await desk.hub.request(desk.connection.connection_id, WHERE)
        assert desk.connection.requests is not None
        assert len(desk.connection.requests) == MAX_PENDING
        await desk.answers(await desk.asked())
        await wait_all_tasks_blocked()
        nursery.start_soon(desk.ask)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(desk.outcomes) == 1


async def test_a_request_to_a_stuck_client_times_out(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    """The send queue is full, so the request is never sent."""
    connection = join(hub)
    while not connection.outbox._is_half_full():
        await hub.send_to("ann", WSEnvelope(type="news", data={"text": "x" * 60_000}))
    with pytest.raises(RequestTimeoutError):
        await hub.request(connection.connection_id, WHERE, timeout=3)
    assert connection.ending is None
    connection.begin_close(1000, kind=EndingKind.OVERFLOWED)


# Clients cannot add requests


@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["where.reply", "x.reply", "error", "chat", ""])},
            optional={
                "request_id": st.sampled_from(["wshub-1", "wshub-2", "wshub-late", "wshub-none", "1", None, 7]),
                "data": st.sampled_from([{}, [], {"code": 3}, None]),
            },
        ),
        max_size=20,
    )
)
def test_no_message_adds_a_request_or_answers_one_twice(messages: list[dict[str, Any]]) -> None:
    requests = Requests()
    waiting = {name: requests.begin(name, "where") for name in ("wshub-1", "wshub-2")}
    requests.begin("wshub-late", "where")
    requests.end("wshub-late")
    kept = len(requests)
    outcomes: dict[str, object] = {}
    for message in messages:
        taken = requests.take(json.dumps(message))
        assert taken <= (message.get("request_id") in {"wshub-1", "wshub-2", "wshub-late"})
        assert len(requests) <= kept
        kept = len(requests)
        for name, request in waiting.items():
            assert outcomes.setdefault(name, request.outcome or NOTHING_YET) in (request.outcome, NOTHING_YET)
            outcomes[name] = request.outcome or NOTHING_YET
    for name in waiting:
        requests.end(name)
    assert len(requests) <= 3
