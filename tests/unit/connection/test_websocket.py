"""The socket as a handler sees it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import trio
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from quart_wshub import (
    InvalidEnvelopeError,
    InvalidJSONError,
    UnsupportedDataError,
    WebSocket,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    WSEnvelope,
)
from quart_wshub.connection.ending import EndingKind
from quart_wshub.testing import WebSocketClient, connect
from tests.unit.fakes import delivered, join, texts, ws_of
from tests.unit.memory import make_app, masked, websocket_scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@asynccontextmanager
async def echo(
    hub: WebSocketHub, work: Callable[[WebSocket], Awaitable[object]]
) -> AsyncIterator[tuple[WebSocketClient, list[object]]]:
    """A client whose server does `work` with its socket; leaving the block waits for it. What it returns is listed."""
    results: list[object] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        results.append(await work(ws))

    async with connect(make_app(handler, hub, WS_HELLO=False), token="ann") as client:
        yield client, results


# Receiving


@pytest.mark.parametrize("message", ["text", "", b"binary", b"", "grüße"])
async def test_text_comes_as_str_and_binary_as_bytes_also_when_empty(hub: WebSocketHub, message: str | bytes) -> None:
    async with echo(hub, lambda ws: ws.receive()) as (client, results):
        await client.send(message)
        await client.closed()

    assert results == [message]
    assert type(results[0]) is type(message)


async def test_receive_json_returns_the_parsed_text(hub: WebSocketHub) -> None:
    async with echo(hub, lambda ws: ws.receive_json()) as (client, results):
        await client.send('{"a": [1, 2.5, null, "ü"]}')
        await client.closed()

    assert results == [{"a": [1, 2.5, None, "ü"]}]


async def test_receive_envelope_returns_an_envelope(hub: WebSocketHub) -> None:
    async with echo(hub, lambda ws: ws.receive_envelope()) as (client, results):
        await client.send('{"type": "chat", "request_id": "1"}')
        await client.closed()

    assert results == [WSEnvelope(type="chat", request_id="1")]


@pytest.mark.parametrize(
    ("method", "message", "error"),
    [
        ("receive_json", b"{}", UnsupportedDataError),
        ("receive_json", "{", InvalidJSONError),
        ("receive_envelope", b"{}", UnsupportedDataError),
        ("receive_envelope", "{", InvalidJSONError),
        ("receive_envelope", "{}", InvalidEnvelopeError),
    ],
)
async def test_a_message_of_the_wrong_kind_raises_and_the_next_can_be_received(
    hub: WebSocketHub, method: str, message: str | bytes, error: type[Exception]
) -> None:
    async def work(ws: WebSocket) -> object:
        with pytest.raises(error):
            await getattr(ws, method)()
        return await ws.receive()

    async with echo(hub, work) as (client, results):
        await client.send(message)
        await client.send("next")
        await client.closed()

    assert results == ["next"]


async def test_iteration_yields_every_message_and_ends_with_the_socket(hub: WebSocketHub) -> None:
    async def work(ws: WebSocket) -> list[str | bytes]:
        return [message async for message in ws]

    async with echo(hub, work) as (client, results):
        await client.send("one")
        await client.send(b"two")
        await client.close()

    assert results == [["one", b"two"]]


async def test_a_cancelled_receive_loses_nothing(hub: WebSocketHub) -> None:
    async def work(ws: WebSocket) -> str | bytes:
        with trio.CancelScope() as scope:
            scope.cancel()
            await ws.receive()
        return await ws.receive()

    async with echo(hub, work) as (client, results):
        await client.send("kept")
        await client.closed()

    assert results == ["kept"]


# Sending


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("text", "text"),
        ("", ""),
        (b"binary", b"binary"),
        (b"", b""),
        (bytearray(b"array"), b"array"),
        (memoryview(b"view"), b"view"),
    ],
)
async def test_str_goes_out_as_text_and_bytes_as_binary_also_when_empty(
    hub: WebSocketHub, message: Any, expected: str | bytes
) -> None:
    async with echo(hub, lambda ws: ws.send(message)) as (client, _):
        assert await client.receive() == expected


async def test_a_buffer_that_changes_after_the_send_changes_nothing_that_was_sent() -> None:
    connection = join(WebSocketHub())
    buffer = bytearray(b"before")

    await ws_of(connection).send(buffer)  # type: ignore[arg-type]
    buffer[:] = b"after!"

    assert [frame.payload for frame in await delivered(connection)] == [b"before"]


@pytest.mark.parametrize("message", [None, 3, {"type": "chat"}, ["a"]])
async def test_other_objects_are_refused_and_the_error_says_what_to_use(message: Any) -> None:
    connection = join(WebSocketHub())

    with pytest.raises(TypeError, match=f"not {type(message).__name__}; for other objects there is send_json"):
        await ws_of(connection).send(message)

    assert await delivered(connection) == []


async def test_send_json_supports_common_types() -> None:
    @dataclass
    class Point:
        x: int

    class Model(BaseModel):
        name: str

    connection = join(WebSocketHub())
    await ws_of(connection).send_json(
        {
            "id": UUID(int=1),
            "at": datetime(2030, 1, 2, tzinfo=UTC),
            "point": Point(1),
            "model": Model(name="ü"),
            "tuple": (1, None),
        }
    )

    assert texts(await delivered(connection)) == [
        '{"id":"00000000-0000-0000-0000-000000000001","at":"2030-01-02T00:00:00Z",'
        '"point":{"x":1},"model":{"name":"ü"},"tuple":[1,null]}'
    ]


async def test_send_json_refuses_what_cannot_be_serialised() -> None:
    connection = join(WebSocketHub())

    with pytest.raises(PydanticSerializationError):
        await ws_of(connection).send_json({"no": object()})

    assert await delivered(connection) == []


async def test_send_envelope_sends_all_three_keys() -> None:
    connection = join(WebSocketHub())

    await ws_of(connection).send_envelope(WSEnvelope(type="chat"))

    assert texts(await delivered(connection)) == ['{"type":"chat","data":{},"request_id":null}']


async def test_a_cancelled_send_sends_nothing() -> None:
    connection = join(WebSocketHub())

    with trio.CancelScope() as scope:
        scope.cancel()
        await ws_of(connection).send("x")

    assert scope.cancelled_caught
    assert await delivered(connection) == []


async def test_once_closed_everything_raises_the_disconnect() -> None:
    connection = join(WebSocketHub())
    ws = ws_of(connection)
    connection.begin_close(4000, "bye", kind=EndingKind.SERVER_CLOSED)
    calls: list[Callable[[], Awaitable[object]]] = [
        ws.receive,
        ws.receive_json,
        ws.receive_envelope,
        lambda: ws.send("x"),
        lambda: ws.send_json({}),
        lambda: ws.send_envelope(WSEnvelope(type="x")),
    ]

    for call in calls:
        with pytest.raises(WebSocketDisconnect) as caught:
            await call()
        assert (caught.value.code, caught.value.reason) == (4000, "bye")


# Closing


async def test_close_closes_with_its_code_and_reason() -> None:
    connection = join(WebSocketHub())

    await ws_of(connection).close(4000, "enough")
    await ws_of(connection).close(4001, "twice")

    assert connection.ending is not None
    assert (connection.ending.code, connection.ending.reason) == (4000, "enough")


async def test_close_without_arguments_is_1000() -> None:
    connection = join(WebSocketHub())

    await ws_of(connection).close()

    assert connection.ending is not None
    assert (connection.ending.code, connection.ending.reason) == (1000, "")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
async def test_a_code_that_may_not_be_sent_is_refused(code: int) -> None:
    connection = join(WebSocketHub())

    with pytest.raises(ValueError, match=f"close code {code} cannot be sent"):
        await ws_of(connection).close(code)

    assert connection.ending is None


async def test_a_reason_that_is_too_long_for_a_close_frame_is_refused() -> None:
    connection = join(WebSocketHub())

    with pytest.raises(ValueError, match="124 bytes"):
        await ws_of(connection).close(4000, "ü" * 62)
    await ws_of(connection).close(4000, "x" * 123)


async def test_a_cancelled_close_closes_nothing() -> None:
    connection = join(WebSocketHub())

    with trio.CancelScope() as scope:
        scope.cancel()
        await ws_of(connection).close()

    assert scope.cancelled_caught
    assert connection.ending is None


# The handshake


def ws_after(**changes: Any) -> WebSocket:
    """The socket after a handshake with these changes."""
    return WebSocket(join(WebSocketHub()), masked({**websocket_scope("/live/ws"), **changes}), {"room": "a"}, "bearer")


async def test_the_socket_has_the_handshakes_path_headers_arguments_and_subprotocol() -> None:
    ws = ws_after(
        query_string=b"a=1&a=2&empty=&bad=%ff",
        headers=[(b"user-agent", b"tester"), (b"x-odd", b"\xe9")],
    )

    assert ws.path == "/live/ws"
    assert ws.path_params == {"room": "a"}
    assert ws.subprotocol == "bearer"
    assert ws.args.getlist("a") == ["1", "2"]
    assert ws.args["empty"] == ""
    assert ws.args["bad"] == "\N{REPLACEMENT CHARACTER}"
    assert ws.headers["User-Agent"] == "tester"
    assert ws.headers["X-Odd"] == "é"


async def test_no_token_can_be_found_in_the_handshake() -> None:
    ws = ws_after(
        query_string=b"token=secret&a=1",
        headers=[
            (b"authorization", b"Bearer secret"),
            (b"sec-websocket-protocol", b"bearer, secret"),
            (b"referer", b"https://example.com/?token=secret"),
        ],
        subprotocols=["bearer", "secret"],
    )

    assert "secret" not in f"{ws.headers} {ws.args} {ws.path} {ws.path_params} {ws.subprotocol}"
    assert ws.args["token"] == "***"


async def test_no_token_reaches_the_handler(hub: WebSocketHub) -> None:
    shown: list[str] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        shown.append(f"{ws.headers} {ws.args} {ws.path} {ws.path_params} {ws.subprotocol} {ws!r} {connection!r}")

    async with connect(
        make_app(handler, hub, resolver=always_ann),
        "/ws?token=secret1",
        token="secret2",
        headers={"Authorization": "Bearer secret3"},
    ):
        pass

    assert "secret" not in shown[0]


async def always_ann(token: str) -> str:
    return "ann"


async def test_path_parameters_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        ws_after().path_params["room"] = "b"  # type: ignore[index]


async def test_the_handler_sees_the_handshake_through_its_socket(hub: WebSocketHub) -> None:
    seen: list[Any] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        seen.extend([ws.path, ws.args["a"], ws.headers["X-App"], ws.subprotocol, dict(ws.path_params)])
        assert connection.ws is ws
        assert repr(ws) == f"<WebSocket {connection.connection_id}>"

    app = make_app(handler, hub)
    async with connect(app, "/ws?a=1", token="ann", headers={"X-App": "7"}) as client:
        assert (await client.closed()).code == 1000

    assert seen == ["/ws", "1", "7", "bearer", {}]
