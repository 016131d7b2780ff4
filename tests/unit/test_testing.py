"""`quart_wshub.testing`: the client for apps' own tests."""

from __future__ import annotations

import pytest
import trio
from quart import websocket
from quart_trio import QuartTrio
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub import WebSocket, WebSocketConnection, WebSocketDisconnect, WebSocketHub, WSEnvelope
from quart_wshub.testing import HandshakeRejected, connect
from tests.unit.memory import forever, make_app, read_everything


async def echo(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    async for message in ws:
        await ws.send(message)


async def test_messages_in_both_directions(hub: WebSocketHub) -> None:
    async with connect(make_app(echo, hub, WS_HELLO=False), token="ann") as client:
        await client.send("text")
        await client.send(b"")
        await client.send_json({"a": 1})
        await client.send_envelope(WSEnvelope(type="chat"))

        assert await client.receive() == "text"
        assert await client.receive() == b""
        assert await client.receive_json() == {"a": 1}
        assert await client.expect("chat") == WSEnvelope(type="chat")


async def test_expect_skips_hello_and_heartbeats_only(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async with connect(make_app(echo, hub), token="ann") as client:
        await trio.sleep(31)
        await client.send_envelope(WSEnvelope(type="chat"))
        await client.expect("chat")
        await client.send_envelope(WSEnvelope(type="other"))
        with pytest.raises(AssertionError, match="expected 'chat', got WSEnvelope"):
            await client.expect("chat")


async def test_expect_skips_what_the_server_sends_by_itself(hub: WebSocketHub) -> None:
    async with connect(make_app(echo, hub), token="ann") as client:
        for envelope_type in ("auth.expiring", "gap", "chat"):
            await client.send_envelope(WSEnvelope(type=envelope_type))
        await client.expect("chat")


async def test_expect_can_wait_for_hello_and_heartbeats(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async with connect(make_app(echo, hub), token="ann") as client:
        assert "connection_id" in (await client.expect("hello")).data
        await client.expect("ping")


async def test_receive_json_refuses_binary_messages(hub: WebSocketHub) -> None:
    async with connect(make_app(echo, hub, WS_HELLO=False), token="ann") as client:
        await client.send(b"{}")
        with pytest.raises(AssertionError, match=r"expected text, got b'\{\}'"):
            await client.receive_json()


async def test_the_servers_close_comes_after_its_messages(hub: WebSocketHub) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await ws.send("last words")
        await ws.close(4000, "bye")

    async with connect(make_app(handler, hub, WS_HELLO=False), token="ann") as client:
        await wait_all_tasks_blocked()
        assert await client.receive() == "last words"
        with pytest.raises(WebSocketDisconnect, match="4000"):
            await client.receive()
        close = await client.closed()
        assert (close.code, close.reason) == (4000, "bye")


@pytest.mark.parametrize(("close_frame", "code"), [(True, 1000), (False, 1006)])
async def test_a_client_may_close_or_drop_the_connection(hub: WebSocketHub, close_frame: bool, code: int) -> None:
    async with connect(make_app(read_everything, hub), token="ann") as client:
        await (client.close() if close_frame else client.drop())
        await wait_all_tasks_blocked()
        assert (await client.closed()).code == code

    assert hub.statistics().closed == {code: 1}


async def test_leaving_the_block_closes_and_waits_for_the_handler(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    ended: list[bool] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await read_everything(ws, connection, hub)
        await trio.sleep(1)
        ended.append(True)

    async with connect(make_app(handler, hub), token="ann"):
        await wait_all_tasks_blocked()

    assert ended == [True]
    assert hub.statistics().closed == {1000: 1}


async def test_an_exception_in_the_block_is_raised_ungrouped(hub: WebSocketHub) -> None:
    async def failing_test() -> None:
        async with connect(make_app(read_everything, hub), token="ann"):
            msg = "mine"
            raise KeyError(msg)

    with pytest.raises(KeyError, match="mine"):
        await failing_test()


async def test_cancelling_the_block_cancels_the_app(hub: WebSocketHub) -> None:
    with trio.CancelScope() as scope:
        async with connect(make_app(forever, hub), token="ann"):
            await wait_all_tasks_blocked()
            scope.cancel()
            await trio.lowlevel.checkpoint()

    assert scope.cancelled_caught


async def test_a_refused_handshake_has_status_headers_and_body(hub: WebSocketHub) -> None:
    app = make_app(forever, hub)

    @app.websocket("/refused")
    async def refused() -> tuple[str, int, dict[str, str]]:
        return "not you\n", 418, {"X-Why": "tea"}

    with pytest.raises(HandshakeRejected) as caught:
        async with connect(app, "/refused"):
            raise AssertionError

    assert (caught.value.status, caught.value.headers["x-why"], caught.value.body) == (418, "tea", b"not you\n")
    assert str(caught.value) == "HTTP 418: not you"


async def test_an_app_that_closes_before_it_accepts_refuses_with_403() -> None:
    app = QuartTrio(__name__)

    @app.websocket("/ws")
    async def closes() -> None:
        await websocket.close(1000)

    with pytest.raises(HandshakeRejected, match="HTTP 403"):
        async with connect(app):
            raise AssertionError


async def test_plain_quart_routes_can_be_tested_too() -> None:
    app = QuartTrio(__name__)

    @app.websocket("/ws")
    async def greet() -> None:
        await websocket.send(f"hello {websocket.args['name']} from {websocket.headers['X-From']}")

    async with connect(app, "/ws?name=ann", headers={"X-From": "here"}) as client:
        assert await client.receive() == "hello ann from here"
        assert (await client.closed()).code == 1000


async def test_with_buffer_0_the_server_waits_until_the_client_receives(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    sent: list[int] = []

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        for number in range(10):
            await ws.send(str(number))
            sent.append(number)

    app = make_app(handler, hub, WS_HELLO=False, WS_SEND_QUEUE_MESSAGES=2)
    async with connect(app, token="ann", buffer=0) as client:
        await wait_all_tasks_blocked()
        assert len(sent) < 5
        assert [await client.receive() for _ in range(10)] == [str(number) for number in range(10)]
