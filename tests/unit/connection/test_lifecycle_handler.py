"""How a handler ends: which close code the client sees, what is logged, and what never leaves the server."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import pytest
import trio
from pydantic import BaseModel
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub import (
    InvalidEnvelopeError,
    MessageTooBigError,
    PeerError,
    WebSocket,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    WSEnvelope,
)
from quart_wshub.testing import WebSocketClient, connect
from tests.unit.memory import make_app, read_everything

Ending = Callable[[WebSocket, WebSocketConnection, WebSocketHub], Awaitable[object]]


def logged(caplog: pytest.LogCaptureFixture, level: int) -> list[logging.LogRecord]:
    """What was logged at this level or above, by anyone."""
    return [record for record in caplog.records if record.levelno >= level]


async def test_a_handler_that_returns_closes_with_1000(hub: WebSocketHub) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await ws.send("done")

    async with connect(make_app(handler, hub, WS_HELLO=False), token="ann") as client:
        assert await client.receive() == "done", "what was sent before goes out first"
        close = await client.closed()
        assert (close.code, close.reason) == (1000, "")
        assert hub.connection_count() == 0


async def test_an_exception_closes_with_1011_is_logged_once_with_ids_and_does_not_reach_the_client(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    ids: list[str] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        ids.append(str(connection.connection_id))
        msg = "the database password is hunter2"
        raise RuntimeError(msg)

    caplog.set_level(logging.DEBUG)
    async with connect(make_app(handler, hub, WS_HELLO=False), token="ann") as client:
        close = await client.closed()

    assert (close.code, close.reason) == (1011, "internal error")
    [record] = logged(caplog, logging.WARNING)
    assert record.name == "quart_wshub"
    assert f"connection={ids[0]} user='ann'" in record.getMessage()
    assert record.exc_info is not None
    assert "hunter2" in str(record.exc_info[1])


async def test_an_exception_in_one_handler_leaves_other_connections_alone(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        async for message in ws:
            if message == "fail":
                raise RuntimeError
            await ws.send(message)

    app = make_app(handler, hub, WS_HELLO=False)
    async with connect(app, token="ann") as healthy, connect(app, token="bob") as failing:
        await failing.send("fail")
        assert (await failing.closed()).code == 1011
        await healthy.send("still here")
        assert await healthy.receive() == "still here"


async def json_of_binary(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    await ws.receive_json()


async def envelope(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    await ws.receive_envelope()


async def model_validate(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    WSEnvelope.model_validate(await ws.receive_json())


async def subscribe_to_what_comes(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    while True:
        await hub.subscribe(connection.connection_id, await ws.receive_json())


@pytest.mark.parametrize(
    ("handler", "message", "code"),
    [
        (json_of_binary, b"{}", 1003),
        (json_of_binary, b"", 1003),
        (json_of_binary, "", 1007),
        (json_of_binary, "{not json", 1007),
        (json_of_binary, "NaN", 1007),
        (envelope, b"{}", 1003),
        (envelope, "{not json", 1007),
        (envelope, "[]", 1007),
        (envelope, '{"type": ""}', 1007),
        (envelope, '{"type": "t", "data": 3}', 1007),
        (model_validate, '{"type": 3}', 1007),
        (model_validate, "null", 1007),
        (subscribe_to_what_comes, '""', 1008),
        (subscribe_to_what_comes, "3", 1008),
        (subscribe_to_what_comes, '"third topic"', 1008),
    ],
)
async def test_an_error_of_the_peer_closes_with_its_code_and_logs_one_line(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture, handler: Ending, message: str | bytes, code: int
) -> None:
    async def run(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        for topic in ("one", "two"):
            await hub.subscribe(connection.connection_id, topic)
        await handler(ws, connection, hub)

    caplog.set_level(logging.INFO, "quart_wshub")
    app = make_app(run, hub, WS_HELLO=False, WS_MAX_TOPICS_PER_CONNECTION=2)
    async with connect(app, token="ann") as client:
        await client.send(message)
        assert (await client.closed()).code == code

    assert logged(caplog, logging.WARNING) == []
    [line] = [record for record in caplog.records if "closing with" in record.getMessage()]
    assert str(code) in line.getMessage()
    assert line.exc_info is None


async def test_a_message_over_the_limit_closes_with_1009(hub: WebSocketHub) -> None:
    got: list[str | bytes] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        while True:
            got.append(await ws.receive())

    async with connect(make_app(handler, hub, WS_MAX_MESSAGE_BYTES=4), token="ann") as client:
        await client.send("1234")
        await client.send("12ä")
        await wait_all_tasks_blocked()
        assert got == ["1234", "12ä"]
        await client.send("123ä")
        close = await client.closed()

    assert (close.code, close.reason) == (1009, "message too big")


async def test_a_validation_error_of_another_model_is_the_servers_fault(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    class Order(BaseModel):
        amount: int

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        Order.model_validate(await ws.receive_json())

    async with connect(make_app(handler, hub), token="ann") as client:
        await client.send('{"amount": "many"}')
        assert (await client.closed()).code == 1011

    assert len(logged(caplog, logging.ERROR)) == 1


class NastyError(PeerError):
    """An app's own."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NastyError("of the app"), 1008),
        (MessageTooBigError("of the app"), 1009),
        (WebSocketDisconnect(4000), 1000),
        (ExceptionGroup("", [WebSocketDisconnect(4000)]), 1000),
        (ExceptionGroup("", [InvalidEnvelopeError("no"), WebSocketDisconnect(4000)]), 1007),
        (ExceptionGroup("", [InvalidEnvelopeError("no"), ExceptionGroup("", [KeyError("ours")])]), 1011),
    ],
)
async def test_the_close_code_is_that_of_the_worst_exception_in_a_group(
    hub: WebSocketHub, error: Exception, code: int
) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        raise error

    async with connect(make_app(handler, hub), token="ann") as client:
        assert (await client.closed()).code == code


async def test_an_exception_grouped_with_a_cancellation_is_logged_too(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        async def fail_when_cancelled() -> None:
            try:
                await trio.sleep_forever()
            finally:
                msg = "cleanup failed"
                raise ValueError(msg)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_when_cancelled)
            nursery.start_soon(trio.sleep_forever)

    async with connect(make_app(handler, hub), token="ann") as client:
        await wait_all_tasks_blocked()
        assert await hub.disconnect(user_id="ann", code=4000) == 1
        assert (await client.closed()).code == 4000

    [record] = logged(caplog, logging.ERROR)
    assert "handler failed" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], BaseExceptionGroup)
    assert record.exc_info[1].subgroup(ValueError) is not None
    assert record.exc_info[1].subgroup(trio.Cancelled) is None


async def test_an_exception_in_a_handler_whose_peer_has_left_is_logged_too(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await read_everything(ws, connection, hub)
        msg = "after the end"
        raise ValueError(msg)

    async with connect(make_app(handler, hub), token="ann") as client:
        await client.close(4000)

    assert len(logged(caplog, logging.ERROR)) == 1
    assert hub.statistics().closed == {4000: 1}


async def test_a_handler_cancelled_by_the_close_is_no_failure(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()

    async with connect(make_app(handler, hub), token="ann") as client:
        await wait_all_tasks_blocked()
        await hub.disconnect(user_id="ann")
        await client.closed()

    assert logged(caplog, logging.WARNING) == []


async def test_a_handler_that_ignores_the_disconnect_and_keeps_sending_blocks_no_other_task(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    tries = 0

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        nonlocal tries
        while True:
            try:
                await ws.send("tick")
            except WebSocketDisconnect:
                tries += 1
                if tries == 1000:
                    return

    async with connect(make_app(handler, hub), token="ann") as client:
        await client.drop()

    assert tries == 1000


async def leaves(hub: WebSocketHub, client: WebSocketClient) -> None:
    await client.close()


async def vanishes(hub: WebSocketHub, client: WebSocketClient) -> None:
    await client.drop()


async def is_disconnected(hub: WebSocketHub, client: WebSocketClient) -> None:
    await hub.disconnect(user_id="ann")


async def is_revoked(hub: WebSocketHub, client: WebSocketClient) -> None:
    await hub.revoke("ann")


async def is_silent(hub: WebSocketHub, client: WebSocketClient) -> None:
    await client.closed()


async def makes_the_handler_return(hub: WebSocketHub, client: WebSocketClient) -> None:
    await client.send("return")


@pytest.mark.parametrize(
    ("what_happens", "online"),
    [
        (leaves, False),
        (vanishes, False),
        (is_disconnected, False),
        (is_revoked, False),
        (is_silent, False),
        (makes_the_handler_return, True),
    ],
)
async def test_in_a_handlers_cleanup_the_user_is_offline_unless_the_handler_ended_by_itself(
    hub: WebSocketHub,
    autojump_clock: MockClock,
    what_happens: Callable[[WebSocketHub, WebSocketClient], Awaitable[None]],
    online: bool,
) -> None:
    seen: list[tuple[frozenset[object], frozenset[str]]] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await hub.subscribe(connection.connection_id, "news")
        try:
            while await ws.receive() != "return":
                pass
        finally:
            seen.append((hub.online_users(), connection.topics))

    async with connect(make_app(handler, hub), token="ann") as client:
        await wait_all_tasks_blocked()
        await what_happens(hub, client)
        await wait_all_tasks_blocked()

    assert seen == [(frozenset({"ann"}), frozenset({"news"})) if online else (frozenset(), frozenset())]
