"""The wiring: routes, arguments that cannot work, refusals, and a handshake that anyone may cut short."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import trio
from quart import Quart
from quart_trio import QuartTrio
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub import (
    ConfigurationError,
    WebSocket,
    WebSocketConnection,
    WebSocketHub,
    WSEnvelope,
    make_websocket_blueprint,
)
from quart_wshub.testing import HandshakeRejected, connect
from tests.unit.memory import forever, make_app, make_settings, serve, token_is_the_user, websocket_scope

Event = dict[str, Any]


async def say_where(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """A handler that tells the client where it is, and stays."""
    await ws.send_json({"path": ws.path, "params": dict(ws.path_params), "subprotocol": ws.subprotocol})
    await ws.receive()


def make_blueprint(hub: WebSocketHub, **arguments: Any) -> Any:
    chosen: dict[str, Any] = {
        "handler": say_where,
        "bearer_resolver": token_is_the_user,
        "settings": make_settings(WS_HELLO=False),
        **arguments,
    }
    return make_websocket_blueprint(hub=hub, **chosen)


def make_quart(*blueprints: Any) -> QuartTrio:
    app = QuartTrio(__name__)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


# Routes


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_the_route_is_ws_unless_told_otherwise(hub: WebSocketHub, transport: str) -> None:
    settings = make_settings(WS_HELLO=False, WS_TRANSPORT=transport)
    async with connect(make_quart(make_blueprint(hub, settings=settings)), "/ws", token="ann") as client:
        assert (await client.receive_json())["path"] == "/ws"


async def test_the_url_prefix_goes_before_the_path(hub: WebSocketHub) -> None:
    app = QuartTrio(__name__)
    app.register_blueprint(make_blueprint(hub, path="/live"), url_prefix="/api")

    async with connect(app, "/api/live", token="ann") as client:
        assert (await client.receive_json())["path"] == "/api/live"
    with pytest.raises(HandshakeRejected, match="404"):
        async with connect(app, "/live", token="ann"):
            pass


async def test_variable_parts_of_the_route_reach_the_handler(hub: WebSocketHub) -> None:
    app = make_quart(make_blueprint(hub, path="/ws/<room>/<int:number>"))

    async with connect(app, "/ws/lobby/7", token="ann") as client:
        assert (await client.receive_json())["params"] == {"room": "lobby", "number": 7}


async def test_several_blueprints_of_one_app_may_share_a_hub(hub: WebSocketHub) -> None:
    app = make_quart(
        make_blueprint(hub, path="/one", name="one"),
        make_blueprint(hub, path="/two", name="two"),
    )

    async with connect(app, "/one", token="ann") as one, connect(app, "/two", token="bob") as two:
        for client in (one, two):
            await client.receive()
        assert await hub.broadcast(WSEnvelope(type="news")) == 2
        for client in (one, two):
            await client.expect("news")


async def test_one_blueprint_may_be_registered_in_several_apps(hub: WebSocketHub) -> None:
    blueprint = make_blueprint(hub)

    for app in (make_quart(blueprint), make_quart(blueprint)):
        async with connect(app, token="ann") as client:
            await client.receive()


# Subprotocols


@pytest.mark.parametrize(
    ("offered", "supported", "chosen"),
    [
        ((), (), "bearer"),
        (("chat.v1",), (), "bearer"),
        (("chat.v2", "chat.v1"), ("chat.v1",), "chat.v1"),
        (("chat.v2", "chat.v1"), ("chat.v1", "chat.v2"), "chat.v2"),
    ],
)
async def test_the_app_chooses_among_what_is_offered_and_the_token_is_never_echoed(
    hub: WebSocketHub, offered: tuple[str, ...], supported: tuple[str, ...], chosen: str
) -> None:
    app = make_quart(make_blueprint(hub, subprotocols=supported))
    async with connect(app, token="ann", subprotocols=offered) as client:
        assert client.subprotocol == chosen
        assert (await client.receive_json())["subprotocol"] == chosen


async def test_without_an_offer_no_subprotocol_is_chosen(hub: WebSocketHub) -> None:
    async with connect(make_quart(make_blueprint(hub)), "/ws?token=ann") as client:
        assert client.subprotocol is None


# Refusals


async def test_a_bad_token_is_accepted_and_then_closed_with_4401(hub: WebSocketHub) -> None:
    app = make_quart(make_blueprint(hub))
    async with connect(app, token="bad") as client:
        close = await client.closed()
        assert (close.code, close.reason) == (4401, "token invalid or expired")
        assert client.subprotocol == "bearer"
    async with connect(app) as client:
        close = await client.closed()
        assert (close.code, close.reason) == (4401, "token missing")

    assert hub.statistics().accepted == 0


async def test_a_bad_token_is_answered_with_http_401_where_that_is_asked_for(hub: WebSocketHub) -> None:
    settings = make_settings(WS_REJECT_WITH_HTTP=True)
    app = make_quart(make_blueprint(hub, settings=settings))

    with pytest.raises(HandshakeRejected) as caught:
        async with connect(app, token="bad"):
            pass

    assert (caught.value.status, caught.value.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(("with_http", "expected"), [(False, 1011), (True, 500)])
async def test_a_resolver_that_fails_is_the_servers_fault(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture, with_http: bool, expected: int
) -> None:
    async def resolver(token: str) -> str:
        msg = f"no such table, and the token was {token}"
        raise LookupError(msg)

    settings = make_settings(WS_REJECT_WITH_HTTP=with_http)
    app = make_quart(make_blueprint(hub, bearer_resolver=resolver, settings=settings))

    assert await code_or_status(app, token="s3cr3t") == expected
    assert "LookupError" in caplog.text
    assert "s3cr3t" not in caplog.text


async def code_or_status(app: QuartTrio, token: str) -> int:
    """How a handshake ends that does not get through."""
    try:
        async with connect(app, token=token) as client:
            return (await client.closed()).code
    except HandshakeRejected as rejected:
        return rejected.status


async def test_a_resolver_that_hangs_is_given_up(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async def resolver(token: str) -> str:
        await trio.sleep_forever()
        raise AssertionError

    settings = make_settings(WS_AUTH_TIMEOUT_SECONDS=7)
    app = make_quart(make_blueprint(hub, bearer_resolver=resolver, settings=settings))
    began = trio.current_time()
    async with connect(app, token="ann") as client:
        assert (await client.closed()).code == 1011

    assert trio.current_time() - began == pytest.approx(7)


async def test_another_origin_is_refused_before_the_resolver_runs(hub: WebSocketHub) -> None:
    asked: list[str] = []

    async def resolver(token: str) -> str:
        asked.append(token)
        return token

    settings = make_settings(WS_ALLOWED_ORIGINS=("https://app.example.com",))
    app = make_quart(make_blueprint(hub, bearer_resolver=resolver, settings=settings))

    with pytest.raises(HandshakeRejected, match="HTTP 403: this origin may not connect"):
        async with connect(app, token="ann", headers={"Origin": "https://evil.example.com"}):
            pass
    assert asked == []

    async with connect(app, token="ann", headers={"Origin": "https://app.example.com"}) as client:
        await client.receive()


async def test_at_capacity_the_handshake_is_refused_and_says_when_to_come_back(hub: WebSocketHub) -> None:
    app = make_quart(make_blueprint(hub, settings=make_settings(WS_MAX_CONNECTIONS=1)))
    async with connect(app, token="ann") as client:
        await client.receive()
        with pytest.raises(HandshakeRejected, match="HTTP 503") as caught:
            async with connect(app, token="bob"):
                pass
        assert int(caught.value.headers["retry-after"]) > 0
    async with connect(app, token="bob"):
        pass


async def test_handshakes_that_are_pending_have_a_limit_of_their_own(hub: WebSocketHub) -> None:
    async def resolver(token: str) -> str:
        await trio.sleep_forever()
        raise AssertionError

    settings = make_settings(WS_MAX_PENDING_HANDSHAKES=1)
    app = make_quart(make_blueprint(hub, bearer_resolver=resolver, settings=settings))

    async def wait_for_login() -> None:
        async with connect(app, token="ann"):
            raise AssertionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_login)
        await wait_all_tasks_blocked()
        with pytest.raises(HandshakeRejected, match="503"):
            async with connect(app, token="bob"):
                pass
        nursery.cancel_scope.cancel()


async def test_slow_logins_do_not_get_past_the_capacity(hub: WebSocketHub) -> None:
    both_asked = trio.Event()
    asked: list[str] = []

    async def resolver(token: str) -> str:
        asked.append(token)
        if len(asked) == 2:
            both_asked.set()
        await both_asked.wait()
        return token

    app = make_quart(make_blueprint(hub, bearer_resolver=resolver, settings=make_settings(WS_MAX_CONNECTIONS=1)))
    outcomes: list[str] = []
    done = trio.Event()

    async def log_in(token: str) -> None:
        try:
            async with connect(app, token=token) as client:
                await client.receive()
                outcomes.append("open")
                await done.wait()
        except HandshakeRejected as error:
            outcomes.append(str(error.status))
            done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(log_in, "ann")
        nursery.start_soon(log_in, "bob")
    assert sorted(outcomes) == ["503", "open"]


async def test_query_tokens_can_be_turned_off(hub: WebSocketHub) -> None:
    app = make_quart(make_blueprint(hub, settings=make_settings(WS_ALLOW_QUERY_TOKEN=False)))
    async with connect(app, "/ws?token=ann") as client:
        assert (await client.closed()).reason == "token missing"


# Below a prefix of the server


@pytest.mark.parametrize(
    ("root_path", "path", "found"),
    [("/pfx", "/pfx/ws", True), ("/pfx/", "/pfx/ws", True), ("/pfx", "/x/pfx/ws", False), ("/pfx", "/pfxy/ws", False)],
)
async def test_the_prefix_the_app_is_mounted_at_is_matched_strictly(
    hub: WebSocketHub, root_path: str, path: str, found: bool
) -> None:
    sent = await serve_raw(make_quart(make_blueprint(hub)), websocket_scope(path, root_path=root_path))

    assert sent[0]["type"] == ("websocket.accept" if found else "websocket.http.response.start")
    if not found:
        assert sent[0]["status"] == 404


async def serve_raw(app: QuartTrio, scope: Event, *, answers_close: bool = True) -> list[Event]:
    """Run the app with a peer that sends nothing, and leaves when it is accepted. Returns what it was sent."""
    sent: list[Event] = []
    to_app, app_receives = trio.open_memory_channel[Event](math.inf)
    to_app.send_nowait({"type": "websocket.connect"})

    async def send(event: Event) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(event)
        if answers_close and event["type"] in {"websocket.accept", "websocket.close"}:
            to_app.send_nowait({"type": "websocket.disconnect", "code": 1006})

    await serve(app, scope, app_receives.receive, send)
    return sent


# Peers that leave during the handshake


@pytest.mark.parametrize("token", ["ann", "bad"])
async def test_a_peer_that_has_vanished_before_the_accept_leaves_nothing_behind(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    async def receive() -> Event:
        await trio.sleep_forever()
        raise AssertionError

    async def send(event: Event) -> None:
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError

    await serve(make_quart(make_blueprint(hub)), websocket_scope(token=token), receive, send)

    assert hub.statistics().accepted == 0
    assert caplog.records == []


async def test_a_refused_peer_that_never_answers_the_close_is_given_up(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    app = make_quart(make_blueprint(hub, settings=make_settings(WS_CLOSE_TIMEOUT_SECONDS=3)))
    began = trio.current_time()

    sent = await serve_raw(app, websocket_scope(token="bad"), answers_close=False)

    assert [event.get("code") for event in sent] == [None, 4401]
    assert trio.current_time() - began == pytest.approx(3)


async def test_a_handshake_cancelled_from_outside_leaves_nothing_behind(hub: WebSocketHub) -> None:
    async def resolver(token: str) -> str:
        await trio.sleep_forever()
        raise AssertionError

    app = make_app(forever, hub, resolver=resolver)

    async def handshake() -> None:
        async with connect(app, token="ann"):
            raise AssertionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(handshake)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


# Arguments that cannot work


class Callable3:
    async def __call__(self, ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await say_where(ws, connection, hub)

    async def method(self, ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await say_where(ws, connection, hub)


async def four(extra: str, ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    await say_where(ws, connection, hub)


@pytest.mark.parametrize("handler", [Callable3(), Callable3().method, functools.partial(four, "x")])
async def test_a_handler_may_be_any_async_callable_of_three(hub: WebSocketHub, handler: Any) -> None:
    async with connect(make_quart(make_blueprint(hub, handler=handler)), token="ann") as client:
        await client.receive()


def not_async(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None: ...


@pytest.mark.parametrize(
    ("handler", "match"),
    [
        (not_async, "must be an async function: async def handler"),
        (None, "must be an async function"),
        (four, "must take three arguments: async def handler"),
    ],
)
def test_a_handler_that_cannot_work_is_refused_at_once(handler: Any, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        make_blueprint(WebSocketHub(), handler=handler)


def test_a_resolver_that_cannot_work_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="bearer_resolver must be callable, not str"):
        make_blueprint(WebSocketHub(), bearer_resolver="ann")


@pytest.mark.parametrize("subprotocols", ["chat.v1", ["chat.v1", "bearer"]])
def test_subprotocols_that_cannot_work_are_refused_at_once(subprotocols: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a sequence of names other than 'bearer'"):
        make_blueprint(WebSocketHub(), subprotocols=subprotocols)


def test_a_plain_quart_app_is_refused_at_registration() -> None:
    with pytest.raises(ConfigurationError, match="QuartTrio"):
        Quart(__name__).register_blueprint(make_blueprint(WebSocketHub()))
