"""A handshake that is served directly at first, and by hypercorn as soon as the app uses ASGI: nobody can tell."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest
import trio
import trio.lowlevel
from hypercorn.protocol import ProtocolWrapper
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub.protocol.errors import WebSocketDisconnect
from quart_wshub.transport.hypercorn import direct
from quart_wshub.transport.hypercorn.direct import DirectUpgrade
from quart_wshub.transport.hypercorn.intercepted_upgrade import UpgradeOverHttp1
from quart_wshub.transport.upgrade import Upgrade, upgrade_in
from tests.harness.raw import BINARY, CLOSE, PING, TEXT, frame
from tests.unit.transport.hypercorn.serving import READ_TIMEOUT, Connection, served
from tests.unit.transport.hypercorn.test_request import request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Script = Callable[[Any, Receive, Send], Awaitable[None]]

ACCEPT = {"type": "websocket.accept"}
RESPONSE = {"type": "websocket.http.response.start", "status": 418, "headers": [(b"x-pot", b"tea")]}
BODY = {"type": "websocket.http.response.body", "body": b"short and stout"}

BYE = frame(CLOSE, (1000).to_bytes(2, "big"))


class Paths:
    """Has every handshake tried directly, or none."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer

    def serves(self, path: str) -> bool:
        return self.answer


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> Paths:
    paths = Paths(True)
    monkeypatch.setattr(direct, "_hubs", WeakSet([paths]))
    return paths


@pytest.fixture(autouse=True)
def _directly(paths: Paths) -> None:
    """Unless a test says otherwise."""


# What an app does with a handshake, without claiming it


async def echo(scope: Any, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send(ACCEPT)
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"], "bytes": event["bytes"]})


async def accept_and_ask_later(scope: Any, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    await send({"type": "websocket.send", "text": "welcome"})
    await echo(scope, receive, lambda event: nothing() if event == ACCEPT else send(event))


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


async def respond(scope: Any, receive: Receive, send: Send) -> None:
    await send(RESPONSE)
    await send({**BODY, "more_body": True})
    await send(BODY)


async def respond_late(scope: Any, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await trio.sleep(1)
    await respond(scope, receive, send)


async def close_unaccepted(scope: Any, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close", "code": 4000})


async def close_with_a_code(scope: Any, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    await send({"type": "websocket.close", "code": 4000, "reason": "enough"})


async def do_nothing(scope: Any, receive: Receive, send: Send) -> None:
    await trio.lowlevel.checkpoint()


async def fail(scope: Any, receive: Receive, send: Send) -> None:
    msg = "the app fails"
    raise RuntimeError(msg)


async def fail_after_accepting(scope: Any, receive: Receive, send: Send) -> None:
    await receive()
    await send(ACCEPT)
    await fail(scope, receive, send)


async def fail_in_a_group(scope: Any, receive: Receive, send: Send) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await fail(scope, receive, send)


async def receive_in_one_task_and_answer_in_another(scope: Any, receive: Receive, send: Send) -> None:
    """As Quart does."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, ACCEPT)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        nursery.cancel_scope.cancel()


async def say_nothing_to_what_comes(scope: Any, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    await trio.sleep(10)


SCRIPTS: list[Script] = [
    echo,
    accept_and_ask_later,
    respond,
    respond_late,
    close_unaccepted,
    close_with_a_code,
    do_nothing,
    fail,
    fail_after_accepting,
    fail_in_a_group,
    receive_in_one_task_and_answer_in_another,
    say_nothing_to_what_comes,
]

CLIENTS = {
    "says goodbye": [BYE],
    "talks": [frame(TEXT, b"one") + frame(BINARY, b"two"), frame(PING, b"?"), BYE],
    "sends what is wrong": [frame(TEXT, b"\xff"), b"\x81\x01x"],
    "sends half": [frame(TEXT, b"half of it")[:5]],
}


async def outcome(script: Script, pieces: list[bytes], *, early: bool) -> tuple[bytes, list[Any], float]:
    """What the client is answered, what the app receives, and how many seconds the connection lasts."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        async def note() -> Any:
            seen.append(await receive())
            return seen[-1]

        await script(scope, note, send)

    async with served(app) as connection:
        answer = await talk(connection.client, pieces, early=early)
    assert connection.ended_after is not None
    return re.sub(rb"date: [^\r]*", b"", answer), seen, round(connection.ended_after, 3)


async def send(client: trio.SocketStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):  # the server has closed the connection already
        await client.send_all(data)


async def talk(client: trio.SocketStream, pieces: list[bytes], *, early: bool) -> bytes:
    """All that the server sends to a client that says one thing after the other and then leaves, or is left."""
    answer = b""

    async def read() -> None:
        nonlocal answer
        with suppress(trio.BrokenResourceError):
            while data := await client.receive_some():
                answer += data
        nursery.cancel_scope.cancel()

    await client.send_all(request())
    await wait_all_tasks_blocked()
    if early:
        await send(client, pieces[0])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for piece in pieces[early:]:
            await trio.sleep(0.1)
            await send(client, piece)
        await trio.sleep(READ_TIMEOUT / 2)
        nursery.cancel_scope.cancel()
    await client.aclose()
    return answer


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("pieces", CLIENTS.values(), ids=CLIENTS)
@pytest.mark.parametrize("script", SCRIPTS)
async def test_it_goes_as_through_hypercorn(
    script: Script, pieces: list[bytes], early: bool, paths: Paths, autojump_clock: MockClock
) -> None:
    directly = await outcome(script, pieces, early=early)
    paths.answer = False
    assert directly == await outcome(script, pieces, early=early)
    assert directly[0].startswith(b"HTTP/1.1 ")


# Claiming after all


@asynccontextmanager
async def claimed_by(script: Script) -> AsyncIterator[Connection]:
    """A connection whose app claims it at some time, with the client's first message in flight."""
    async with served(script) as connection:
        await connection.client.send_all(request())
        await wait_all_tasks_blocked()
        await send(connection.client, frame(TEXT, b"early"))
        yield connection


class Claim:
    """What came of a handshake that was claimed."""

    def __init__(self) -> None:
        self.received = b""
        self.done = trio.Event()

    async def __call__(self, upgrade: Upgrade) -> None:
        pipe, self.received, answer = await upgrade.accept(None, [])
        await pipe.write(answer)
        while len(self.received) < len(frame(TEXT, b"early")):
            self.received += await pipe.read()
        self.done.set()
        assert await pipe.read() == b""


def claimable(scope: Any) -> Upgrade:
    upgrade = upgrade_in(scope)
    assert isinstance(upgrade, DirectUpgrade)
    return upgrade


async def answered_and_over(connection: Connection, claim: Claim) -> None:
    answer = await connection.client.receive_some()
    assert answer.startswith(b"HTTP/1.1 101 ")
    await claim.done.wait()
    assert claim.received == frame(TEXT, b"early")
    await connection.client.aclose()
    await wait_all_tasks_blocked()
    assert connection.ended_after is not None


async def test_after_it_has_received_an_event(autojump_clock: MockClock) -> None:
    claim = Claim()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await claim(claimable(scope))

    async with claimed_by(app) as connection:
        await answered_and_over(connection, claim)


async def test_while_another_task_receives_which_never_hears_anything_again(autojump_clock: MockClock) -> None:
    claim, heard = Claim(), []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        async def pump() -> None:
            while True:
                heard.append((await receive())["type"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump)
            await wait_all_tasks_blocked()
            await claim(claimable(scope))
            nursery.cancel_scope.cancel()

    async with claimed_by(app) as connection:
        await answered_and_over(connection, claim)
    assert heard == ["websocket.connect"]


async def test_before_hypercorn_has_taken_the_request(autojump_clock: MockClock) -> None:
    """Its task was started, and has not run yet."""
    claim = Claim()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        with trio.CancelScope() as impatient:
            impatient.cancel()
            await receive()
        await claim(claimable(scope))

    async with claimed_by(app) as connection:
        await answered_and_over(connection, claim)


async def test_a_claim_is_heard_of_by_nobody_who_receives_later(autojump_clock: MockClock) -> None:
    """Where hypercorn was never asked, too."""
    claim, heard = Claim(), []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            await claim.done.wait()
            heard.append(await receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await claim(claimable(scope))
            await send({"type": "websocket.close"})
            nursery.cancel_scope.cancel()

    async with claimed_by(app) as connection:
        await answered_and_over(connection, claim)
    assert heard == []


@pytest.mark.parametrize("refusal", [ACCEPT, {"type": "websocket.close"}])
async def test_not_after_it_was_answered(refusal: Any, autojump_clock: MockClock) -> None:
    raised: list[int] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(refusal)
        with pytest.raises(WebSocketDisconnect) as error:
            await claimable(scope).accept(None, [])
        raised.append(error.value.code)

    async with claimed_by(app) as connection:
        await connection.client.receive_some()
    assert raised == [1006]


async def test_the_scope_that_the_app_has_is_the_one_that_hypercorn_logs(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Tokens are masked in that one."""
    logged: list[Any] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await send(RESPONSE)
        await send(BODY)

    async def access(scope: Any, response: Any, seconds: float) -> None:
        await trio.lowlevel.checkpoint()
        logged.append(scope)

    scopes: list[Any] = []
    async with served(app) as connection:
        monkeypatch.setattr(connection.server.config.log, "access", access)
        await connection.ask(request())
        assert len(logged) == 1
        assert logged[0] is scopes[0]
        assert claimable(scopes[0]).scope is scopes[0]


# The two tasks, and who ends whom


def task_names(nursery: trio.Nursery) -> list[str]:
    return sorted(task.name.rpartition(".")[2] for task in nursery.child_tasks)


async def hang(scope: Any, receive: Receive, send: Send) -> None:
    await trio.sleep_forever()


async def receive_and_hang(scope: Any, receive: Receive, send: Send) -> None:
    await receive()
    await trio.sleep_forever()


async def accept_and_hang(scope: Any, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    await trio.sleep_forever()


@pytest.mark.parametrize(("app", "tasks"), [(hang, ["run"]), (accept_and_hang, ["_run", "run"])])
async def test_hypercorn_costs_a_task_only_where_it_is_needed(
    app: Script, tasks: list[str], autojump_clock: MockClock
) -> None:
    async with served(app) as connection:
        await connection.client.send_all(request())
        await wait_all_tasks_blocked()
        assert [name for name in task_names(connection.nursery) if name != "_watch"] == tasks


@pytest.mark.parametrize("app", [hang, receive_and_hang, accept_and_hang])
async def test_a_shutdown_that_cancels_ends_both(app: Script) -> None:
    ended: list[bool] = []

    async def noting(scope: Any, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        finally:
            ended.append(True)

    with trio.fail_after(5):
        async with served(noting) as connection:
            await connection.client.send_all(request())
            await wait_all_tasks_blocked()
            connection.nursery.cancel_scope.cancel()
    assert ended == [True]


async def test_a_failure_of_hypercorns_ends_the_connection_and_is_logged_once(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """A message that is too big, and then one of the other kind: hypercorn fails over that."""
    async with served(echo, websocket_max_message_size=10) as connection:
        await connection.client.send_all(request())
        await connection.client.receive_some()
        await connection.client.send_all(frame(TEXT, b"x" * 11))
        await connection.client.receive_some()
        await connection.client.send_all(frame(BINARY, b"x"))
        await wait_all_tasks_blocked()
        assert connection.ended_after is not None
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "a connection failed and was dropped"
    ]


async def test_where_hypercorn_fails_before_it_takes_the_request_the_app_is_told_that_it_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def broken(self: Any, event: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        seen.append(await receive())
        await send(ACCEPT)
        with pytest.raises(WebSocketDisconnect):
            await claimable(scope).accept(None, [])
        seen.append("returned")

    seen: list[Any] = []
    monkeypatch.setattr(ProtocolWrapper, "handle", broken)
    async with served(app) as connection:
        await connection.client.send_all(request())
        await wait_all_tasks_blocked()
        assert connection.ended_after is not None
    disconnected = {"type": "websocket.disconnect", "code": 1006}
    assert seen == [disconnected, disconnected, "returned"]
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1


async def test_what_the_app_never_received_does_not_hold_up_its_end(autojump_clock: MockClock) -> None:
    """More than hypercorn keeps for it, so that the reading waits; over hypercorn alone this hangs."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await leaving.wait()

    leaving = trio.Event()
    async with served(app) as connection:
        await connection.client.send_all(request())
        await connection.client.receive_some()
        await connection.client.send_all(frame(TEXT, b"unread") * 50)
        await wait_all_tasks_blocked()
        leaving.set()
        await wait_all_tasks_blocked()
        assert connection.ended_after is not None


async def test_the_connection_lasts_until_hypercorns_task_has_ended_and_frees_a_write_that_is_stuck(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Here of a pong that nobody takes, while hypercorn cannot even end the WebSocket."""
    ended: list[float] = []

    async def stuck(self: Any, event: Any) -> None:
        with trio.CancelScope(shield=True), pytest.raises(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(connection.server._tcp_stream.socket)
        ended.append(trio.current_time())

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        monkeypatch.setattr(UpgradeOverHttp1, "app_send", do_nothing_with)
        left.append(trio.current_time())

    async def do_nothing_with(self: Any, message: Any) -> None:
        await trio.lowlevel.checkpoint()

    left: list[float] = []
    async with served(app) as connection:
        monkeypatch.setattr(type(connection.server), "_read_in_time", stuck)
        await connection.client.send_all(request())
        await trio.sleep(10)
        assert connection.ended_after is not None
    assert ended == [pytest.approx(left[0] + 1)]
