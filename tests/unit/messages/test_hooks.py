"""The hooks of a `MessageRouter`: `on_connect`, `on_disconnect` and `on_binary`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub import (
    CloseCode,
    ErrorCode,
    MessageError,
    MessageRouter,
    PeerError,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    WSEnvelope,
)
from quart_wshub.messages.router import bind
from quart_wshub.testing import connect
from tests.unit.fakes import join, public, ws_of
from tests.unit.memory import assert_open, make_app, make_settings, stay_alive, token_is_the_user

if TYPE_CHECKING:
    from collections.abc import Callable


class Diary:
    """A router that notes what its hooks saw."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.messages = MessageRouter()
        self.messages.on_connect(self._connected)
        self.messages.on_disconnect(self._disconnected)

    async def _connected(self, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        self.notes.append(f"{connection.user_id} connected, online: {sorted(map(str, hub.online_users()))}")

    async def _disconnected(
        self, connection: WebSocketConnection, hub: WebSocketHub, close: WebSocketDisconnect
    ) -> None:
        await trio.sleep(0.1)  # shielded, whatever ended the connection
        online = sorted(map(str, hub.online_users()))
        self.notes.append(f"{connection.user_id} left with {close.code} {close.reason!r}, online: {online}")


@pytest.fixture
def diary() -> Diary:
    return Diary()


CONNECTED = "ann connected, online: ['ann']"


async def test_on_connect_runs_before_the_first_message(diary: Diary, hub: WebSocketHub) -> None:
    @diary.messages.on("say")
    async def say(message: WSEnvelope) -> None:
        diary.notes.append("said")

    async with connect(make_app(diary.messages, hub), token="ann") as client:
        await client.send('{"type": "say"}')
        await assert_open(client)
        assert diary.notes == [CONNECTED, "said"]


async def test_on_disconnect_gets_the_clients_close_code(
    diary: Diary, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async with connect(make_app(diary.messages, hub), token="ann") as client:
        await client.close(4123, "bye")
    assert diary.notes == [CONNECTED, "ann left with 4123 'bye', online: []"]


async def test_on_disconnect_runs_when_the_client_drops_the_connection(
    diary: Diary, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async with connect(make_app(diary.messages, hub), token="ann") as client:
        await client.drop()
    assert diary.notes == [CONNECTED, "ann left with 1006 '', online: []"]


async def test_on_disconnect_runs_after_a_heartbeat_timeout(
    diary: Diary, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async with connect(make_app(diary.messages, hub), token="ann") as client:
        assert (await client.closed()).code == CloseCode.HEARTBEAT_TIMEOUT
    assert diary.notes[1:] == ["ann left with 4408 'heartbeat timeout', online: []"]


async def test_on_disconnect_runs_after_an_eviction(hub: WebSocketHub, diary: Diary, autojump_clock: MockClock) -> None:
    hub = WebSocketHub(max_per_user=1)
    app = make_app(diary.messages, hub)
    async with connect(app, token="ann") as first, connect(app, token="ann"):
        await first.closed()
        await trio.sleep(1)
        assert diary.notes[-1] == "ann left with 4429 'too many connections of this user', online: ['ann']", "the other"


async def test_on_disconnect_runs_after_a_drain(diary: Diary, hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async with connect(make_app(diary.messages, hub), token="ann"):
        await wait_all_tasks_blocked()
        await hub.drain()
        assert diary.notes[1:] == ["ann left with 1012 'the server is restarting', online: []"]


async def test_on_disconnect_runs_when_the_server_is_cancelled(
    diary: Diary, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            async with connect(make_app(diary.messages, hub), token="ann"):
                await trio.sleep_forever()

        nursery.start_soon(serve)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert diary.notes == [CONNECTED, "ann left with 1012 'the server is restarting', online: []"]


@pytest.mark.parametrize("concurrent", [True, False])
async def test_a_cancellation_that_reaches_the_router_first_ends_the_connection_before_the_hooks_run(
    diary: Diary, hub: WebSocketHub, autojump_clock: MockClock, concurrent: bool
) -> None:
    @diary.messages.on("wait", concurrent=concurrent)
    async def wait(message: WSEnvelope) -> None:
        await trio.sleep_forever()

    connection = join(hub)
    connection.inbox.put('{"type": "wait"}')
    handler = bind(diary.messages, make_settings(), token_is_the_user)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handler, ws_of(connection), public(connection), hub)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert diary.notes == [CONNECTED, "ann left with 1012 'the server is restarting', online: []"]


@pytest.mark.parametrize("concurrent", [True, False])
async def test_on_disconnect_runs_after_a_handler_that_was_cancelled(
    diary: Diary, hub: WebSocketHub, autojump_clock: MockClock, concurrent: bool
) -> None:
    @diary.messages.on("wait", concurrent=concurrent)
    async def wait(message: WSEnvelope) -> None:
        try:
            await trio.sleep_forever()
        finally:
            diary.notes.append("handler ended")

    async with connect(make_app(diary.messages, hub), token="ann") as client:
        await client.send('{"type": "wait"}')
        await wait_all_tasks_blocked()
        await hub.disconnect(user_id="ann", code=4000)
        await client.closed()
    assert diary.notes[1:] == ["handler ended", "ann left with 4000 '', online: []"]


async def test_on_disconnect_does_not_see_its_own_user_when_a_message_ended_the_connection(
    diary: Diary, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    @diary.messages.on("end")
    async def end(message: WSEnvelope) -> None:
        raise PeerError("enough")

    async with connect(make_app(diary.messages, hub), token="ann") as client:
        await client.send('{"type": "end"}')
        await client.closed()
    assert diary.notes[1:] == ["ann left with 1008 'policy violation', online: []"]


async def test_a_fault_of_the_dispatcher_itself_ends_the_connection_before_the_hooks_run(
    diary: Diary, hub: WebSocketHub, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("quart_wshub.messages.dispatcher.Dispatcher._take", broken)
    async with connect(make_app(diary.messages, hub), token="ann") as client:
        await client.send("text")
        assert (await client.closed()).code == CloseCode.INTERNAL_ERROR
    assert diary.notes[1:] == ["ann left with 1011 'internal error', online: []"]


async def test_hooks_run_in_order_even_if_one_raises(hub: WebSocketHub, caplog: pytest.LogCaptureFixture) -> None:
    messages, included = MessageRouter(), MessageRouter()
    notes: list[str] = []

    def note(what: str) -> Callable[..., Any]:
        async def hook(*args: object) -> None:
            notes.append(what)

        return hook

    @messages.on_disconnect
    async def fail(connection: WebSocketConnection, hub: WebSocketHub, close: WebSocketDisconnect) -> None:
        notes.append("fails")
        raise RuntimeError("it failed")

    included.on_connect(note("included in"))
    included.on_disconnect(note("included out"))
    messages.on_connect(note("in"))
    messages.include(included)
    messages.on_disconnect(note("out"))

    async with connect(make_app(messages, hub), token="ann"):
        pass
    assert notes == ["in", "included in", "fails", "included out", "out"]
    [record] = caplog.records
    assert record.getMessage().startswith("on_disconnect failed: connection=")
    assert "user='ann'" in record.getMessage()


async def test_on_disconnect_has_a_deadline(
    hub: WebSocketHub, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    messages = MessageRouter()
    notes: list[str] = []

    @messages.on_disconnect
    async def stuck(connection: WebSocketConnection, hub: WebSocketHub, close: WebSocketDisconnect) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise RuntimeError  # beside `Cancelled`, in one group

    @messages.on_disconnect
    async def after(connection: WebSocketConnection, hub: WebSocketHub, close: WebSocketDisconnect) -> None:
        notes.append("after")

    start = trio.current_time()
    async with connect(make_app(messages, hub, WS_CLOSE_TIMEOUT_SECONDS=3), token="ann"):
        await wait_all_tasks_blocked()
    assert trio.current_time() == pytest.approx(start + 3)
    assert notes == ["after"]
    assert "on_disconnect took too long: connection=" in caplog.text


async def test_on_disconnect_ends_by_the_deadline_of_a_drain(
    hub: WebSocketHub, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    messages = MessageRouter()

    @messages.on_disconnect
    async def stuck(connection: WebSocketConnection, hub: WebSocketHub, close: WebSocketDisconnect) -> None:
        await trio.sleep_forever()

    async with connect(make_app(messages, hub, WS_CLOSE_TIMEOUT_SECONDS=30), token="ann"):
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await hub.drain(timeout=2)
        await wait_all_tasks_blocked()
        assert trio.current_time() <= start + 2
        assert "on_disconnect took too long" in caplog.text


async def test_a_drain_shortens_the_deadline_of_running_hooks(
    hub: WebSocketHub, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    messages = MessageRouter()

    @messages.on("work")
    async def work(message: WSEnvelope) -> None:
        await trio.sleep(1)

    @messages.on_disconnect
    async def stuck(connection: WebSocketConnection, hub: WebSocketHub, close: WebSocketDisconnect) -> None:
        await trio.sleep_forever()

    app = make_app(messages, hub, WS_CLOSE_TIMEOUT_SECONDS=30)
    async with connect(app, token="ann") as early, connect(app, token="bob") as late:
        await late.send('{"type": "work"}')
        await wait_all_tasks_blocked()
        await early.close()
        await late.close()  # whose hook begins when the drain has begun
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await hub.drain(timeout=2)
    assert trio.current_time() == pytest.approx(start + 2)
    assert caplog.text.count("on_disconnect took too long") == 2


# `on_connect` refuses


@pytest.mark.parametrize(
    ("error", "answer", "code"),
    [
        (MessageError(ErrorCode.FORBIDDEN, "not you"), ("forbidden", "not you"), 4403),
        (MessageError("not_a_member", "join first"), ("not_a_member", "join first"), 4403),
        (MessageError(ErrorCode.RATE_LIMITED, "slowly"), ("rate_limited", "slowly"), 1008),
        (MessageError(ErrorCode.LIMIT_EXCEEDED, "full"), ("limit_exceeded", "full"), 1008),
        (MessageError(ErrorCode.INTERNAL, "sorry"), ("internal", "sorry"), 1011),
        (RuntimeError("hunter2"), ("internal", "the server failed to handle this message"), 1011),
        (KeyError("mapped"), ("not_found", ""), 4403),
        (PeerError("odd"), None, 1008),
        (WebSocketDisconnect(1006), None, 1000),
    ],
)
async def test_on_connect_may_refuse_and_then_on_disconnect_does_not_run(
    hub: WebSocketHub, error: Exception, answer: tuple[str, str] | None, code: int
) -> None:
    messages = MessageRouter()
    messages.on_error(LookupError)(lambda error, connection: MessageError("not_found", ""))
    notes: list[str] = []

    @messages.on_connect
    async def refuse(connection: WebSocketConnection, hub: WebSocketHub) -> None:
        raise error

    @messages.on_connect
    async def never(connection: WebSocketConnection, hub: WebSocketHub) -> None:
        notes.append("on_connect")

    @messages.on_disconnect
    async def nor(connection: WebSocketConnection, hub: WebSocketHub, close: WebSocketDisconnect) -> None:
        notes.append("on_disconnect")

    @messages.on("say")
    async def say(message: WSEnvelope) -> None:
        notes.append("say")

    async with connect(make_app(messages, hub, WS_HELLO=False), token="ann") as client:
        await client.send('{"type": "say"}')
        if answer is not None:
            envelope = await client.expect("error")
            assert (envelope.data["code"], envelope.data["message"], envelope.request_id) == (*answer, None)
        assert (await client.closed()).code == code
    assert notes == []


async def test_on_connect_may_close_with_a_code_of_its_own(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    messages = MessageRouter()

    @messages.on_connect
    async def close(connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await connection.ws.close(4321, "elsewhere")

    async with connect(make_app(messages, hub), token="ann") as client:
        gone = await client.closed()
    assert (gone.code, gone.reason) == (4321, "elsewhere")


async def test_on_disconnect_does_not_run_if_on_connect_was_cancelled(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    diary = Diary()

    @diary.messages.on_connect
    async def slow(connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await trio.sleep_forever()

    async with connect(make_app(diary.messages, hub), token="ann"):
        await wait_all_tasks_blocked()
    assert diary.notes == [CONNECTED]


# Binary


async def test_a_binary_message_closes_with_1003_unless_something_takes_it(hub: WebSocketHub) -> None:
    async with connect(make_app(MessageRouter(), hub), token="ann") as client:
        await client.send(b"")
        assert (await client.closed()).code == CloseCode.UNSUPPORTED_DATA


async def test_binary_messages_have_a_handler_of_their_own(hub: WebSocketHub, caplog: pytest.LogCaptureFixture) -> None:
    messages = MessageRouter()

    @messages.on_binary
    async def upload(message: bytes, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        if message == b"fail":
            raise RuntimeError
        if message == b"mine":
            raise MessageError("mine", "")
        await connection.ws.send(message[::-1])

    async with connect(make_app(messages, hub, WS_HELLO=False), token="ann") as client:
        await client.send(b"abc")
        assert await client.receive() == b"cba"
        await client.send(b"fail")
        assert (await client.expect("error")).data["code"] == "internal"
        await client.send(b"mine")
        assert (await client.expect("error")).data["code"] == "mine"
        await client.send(b"")
        assert await client.receive() == b""
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "on_binary failed" in caplog.text


async def test_an_idle_connection_stays_open(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async with connect(make_app(MessageRouter(), hub), token="ann") as client:
        with trio.move_on_after(600) as long_enough:
            await stay_alive(client)
        assert long_enough.cancelled_caught
