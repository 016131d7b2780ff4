"""Hypercorn's per-connection class as the hub has it, on a socket pair and a clock that does not wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.unit.memory import forever, make_app
from tests.unit.socket_peers import tls_pair
from tests.unit.transport.hypercorn.serving import KEEP_ALIVE, REQUEST, App, make_server, served
from tests.unit.transport.hypercorn.test_request import request as handshake

if TYPE_CHECKING:
    from quart_wshub import WebSocketHub

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}


async def respond(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


async def respond_as_quart_trio_does(scope: Any, receive: Any, send: Any) -> None:
    """A task beside the one that responds ends both when hypercorn says that the response is out."""
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(listen)
        await wait_all_tasks_blocked()
        await send(START)
        await send(BODY)
        await trio.sleep_forever()


async def respond_in_a_second(scope: Any, receive: Any, send: Any) -> None:
    """If nobody says that the client has gone."""
    with trio.move_on_after(1):
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await respond(scope, receive, send)


async def test_a_client_that_says_nothing_is_let_go(autojump_clock: MockClock) -> None:
    async with served(respond) as connection:
        pass
    assert connection.ended_after == pytest.approx(KEEP_ALIVE)


async def test_a_client_that_says_half_of_what_it_wants_is_let_go(autojump_clock: MockClock) -> None:
    async with served(respond) as connection:
        await trio.sleep(1)
        await connection.client.send_all(REQUEST[:10])
    assert connection.ended_after == pytest.approx(1 + KEEP_ALIVE)


@pytest.mark.parametrize("app", [respond, respond_as_quart_trio_does])
async def test_a_client_that_wants_nothing_more_is_let_go(app: App, autojump_clock: MockClock) -> None:
    """Also where the response's task is cancelled at the very moment from which the next request is waited for."""
    async with served(app) as connection:
        assert (await connection.ask()).startswith(b"HTTP/1.1 200 ")
        await trio.sleep(KEEP_ALIVE - 1)
        assert (await connection.ask()).startswith(b"HTTP/1.1 200 ")
    assert connection.ended_after == pytest.approx(2 * KEEP_ALIVE - 1)


async def test_a_shutdown_lets_a_request_under_way_be_answered(autojump_clock: MockClock) -> None:
    async with served(respond_in_a_second) as connection, trio.open_nursery() as nursery:

        async def shut_down() -> None:
            await trio.sleep(0.5)
            connection.server.stop_waiting()

        nursery.start_soon(shut_down)
        assert (await connection.ask()).endswith(b"ok")


@pytest.mark.parametrize("error", [trio.BrokenResourceError, trio.BusyResourceError, trio.ClosedResourceError])
async def test_a_response_that_nobody_takes_ends_the_connection_in_silence(
    error: type[Exception],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Busy is what a socket is while its end is being said."""

    async def fail(data: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    async with served(respond) as connection:
        connection.server.stream.send_all = fail  # type: ignore[method-assign]
        await connection.client.send_all(REQUEST)
    assert connection.ended_after is not None
    assert caplog.text + capfd.readouterr().err == ""


@pytest.mark.parametrize(("token", "status"), [("ann", 101), ("bad", 401)])
async def test_a_direct_handshake_is_one_request_of_those_a_worker_serves(
    token: str, status: int, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async with served(make_app(forever, hub, WS_REJECT_WITH_HTTP=True)) as connection:
        await connection.client.send_all(handshake(b"GET /ws?token=%s HTTP/1.1" % token.encode()))
        answer = await connection.client.receive_some()
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert connection.server.context.requests == 1


async def test_to_abort_closes_the_socket_below_tls() -> None:
    async with tls_pair() as wire:
        server = make_server(respond, wire.server)
        server.abort()
        server.abort()
        assert server._tcp_stream.socket.fileno() == -1
