"""How the hub gets a WebSocket from Quart, and what of Quart keeps working beside it."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypercorn.middleware import ProxyFixMiddleware
from quart import Quart, websocket
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection
from trio.testing import wait_all_tasks_blocked

from quart_wshub import ConfigurationError, WebSocket, WebSocketConnection, WebSocketHub, make_websocket_blueprint
from quart_wshub.testing import connect
from quart_wshub.web.asgi_classes import TAKEOVER, Takeover, install, require_trio, takeover_of
from tests.unit.memory import (
    assert_open,
    forever,
    make_app,
    make_settings,
    masked,
    read_everything,
    serve,
    token_is_the_user,
    websocket_scope,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

Event = dict[str, Any]


class FakeServer:
    """An ASGI server that gives the events it was told to, and keeps what it was sent.

    Its peer leaves when it is sent `leaves_after`.
    """

    def __init__(self, *events: Event, leaves_after: str = "websocket.accept") -> None:
        self.events = deque(events)
        self.sent: list[Event] = []
        self._leaves_after = leaves_after
        self.asked = 0
        self._more = trio.Event()

    async def receive(self) -> Event:
        self.asked += 1
        while not self.events:
            await self._more.wait()
        await trio.lowlevel.checkpoint_if_cancelled()
        return self.events.popleft()

    async def send(self, event: Event) -> None:
        self.sent.append(event)
        if event["type"] == self._leaves_after:
            self.give({"type": "websocket.disconnect", "code": 1000})
        await trio.lowlevel.checkpoint()

    def give(self, event: Event) -> None:
        self.events.append(event)
        self._more.set()


CONNECT = {"type": "websocket.connect"}


async def test_until_it_is_claimed_quart_receives_and_sends_as_ever() -> None:
    server = FakeServer(CONNECT)
    takeover = Takeover(server.receive, server.send, masked(websocket_scope()))

    assert await takeover.receive_for_quart() == CONNECT
    await takeover.send_for_quart({"type": "websocket.accept"})

    assert server.sent == [{"type": "websocket.accept"}]


async def test_claiming_loses_no_event_to_quarts_message_pump() -> None:
    server = FakeServer()
    takeover = Takeover(server.receive, server.send, masked(websocket_scope()))
    received_by_quart: list[Event] = []

    async def pump() -> None:
        received_by_quart.append(await takeover.receive_for_quart())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump)
        await wait_all_tasks_blocked()
        assert server.asked == 1
        takeover.claim({})
        await wait_all_tasks_blocked()
        server.give({"type": "websocket.receive", "text": "for the hub"})

        assert (await takeover.receive())["text"] == "for the hub"
        assert received_by_quart == []
        nursery.cancel_scope.cancel()


def test_once_claimed_quarts_own_scope_shows_no_token() -> None:
    scope = websocket_scope(token="secret")
    takeover = Takeover(FakeServer().receive, FakeServer().send, masked(scope))

    takeover.claim(scope)

    assert scope["query_string"] == b"token=***"


async def test_once_claimed_quart_never_asks_the_server_again() -> None:
    server = FakeServer(CONNECT)
    takeover = Takeover(server.receive, server.send, masked(websocket_scope()))
    takeover.claim({})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(takeover.receive_for_quart)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert server.asked == 0


@pytest.mark.parametrize("kind", ["websocket.accept", "websocket.send"])
async def test_once_claimed_the_use_of_quarts_own_websocket_is_an_error_that_says_what_to_use(kind: str) -> None:
    takeover = Takeover(FakeServer().receive, FakeServer().send, masked(websocket_scope()))
    takeover.claim({})

    with pytest.raises(RuntimeError, match=r"use the handler's ws, not quart\.websocket"):
        await takeover.send_for_quart({"type": kind})


async def test_once_claimed_quarts_own_close_goes_nowhere() -> None:
    server = FakeServer()
    takeover = Takeover(server.receive, server.send, masked(websocket_scope()))
    takeover.claim({})

    await takeover.send_for_quart({"type": "websocket.close", "code": 1000})

    assert server.sent == []


@pytest.mark.parametrize("use", [lambda: websocket.send("not like this"), lambda: websocket.receive()])
async def test_a_handler_that_uses_quarts_own_websocket_is_told_so(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture, use: Callable[[], Awaitable[object]]
) -> None:
    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await use()

    async with connect(make_app(handler, hub), token="ann") as client:
        assert (await client.closed()).code == 1011

    assert "not quart.websocket" in caplog.text


async def test_an_app_may_have_a_websocket_class_of_its_own(hub: WebSocketHub) -> None:
    called: list[bool] = []

    class OwnWebsocket(TrioASGIWebsocketConnection):
        async def __call__(self, receive: Any, send: Any) -> None:
            called.append(True)
            await super().__call__(receive, send)

    app = QuartTrio(__name__)
    app.asgi_websocket_class = OwnWebsocket
    app.register_blueprint(
        make_websocket_blueprint(read_everything, hub=hub, bearer_resolver=token_is_the_user, settings=make_settings())
    )
    async with connect(app, token="ann") as client:
        await assert_open(client)

    assert called == [True]


async def test_below_a_prefix_another_route_with_the_path_of_the_hubs_keeps_receiving(hub: WebSocketHub) -> None:
    app = QuartTrio(__name__)
    app.register_blueprint(
        make_websocket_blueprint(
            forever, hub=hub, bearer_resolver=token_is_the_user, settings=make_settings(), path="/app/ws"
        )
    )

    @app.websocket("/ws")
    async def echo() -> None:
        await websocket.send(await websocket.receive())

    server = FakeServer(CONNECT, {"type": "websocket.receive", "text": "hello"}, leaves_after="websocket.send")
    await serve(app, websocket_scope("/app/ws", root_path="/app"), server.receive, server.send)

    assert server.sent[1] == {"type": "websocket.send", "bytes": None, "text": "hello"}


def test_installing_is_idempotent_and_keeps_the_apps_own_classes() -> None:
    class OwnWebsocket(TrioASGIWebsocketConnection):
        pass

    app = QuartTrio(__name__)
    app.asgi_websocket_class = OwnWebsocket

    install(app)
    websocket_class, lifespan_class = app.asgi_websocket_class, app.asgi_lifespan_class
    install(app)

    assert issubclass(websocket_class, OwnWebsocket)
    assert (app.asgi_websocket_class, app.asgi_lifespan_class) == (websocket_class, lifespan_class)


def test_installing_in_one_app_leaves_others_as_they_are() -> None:
    install(QuartTrio(__name__))

    assert QuartTrio(__name__).asgi_websocket_class is TrioASGIWebsocketConnection


def test_a_plain_quart_app_is_refused_with_what_to_use_instead() -> None:
    with pytest.raises(
        ConfigurationError, match=r"needs a QuartTrio app, and this is a Quart: use quart_trio.QuartTrio"
    ):
        install(Quart(__name__))


async def test_other_websocket_routes_of_the_app_work_as_before(hub: WebSocketHub) -> None:
    app = make_app(forever, hub)

    @app.websocket("/echo")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    async with connect(app, "/echo") as client:
        await client.send("text")
        assert await client.receive() == "text"
        await client.send(b"binary")
        assert await client.receive() == b"binary"


async def test_the_scope_the_server_logs_from_shows_no_token(hub: WebSocketHub) -> None:
    scope = websocket_scope(token="secret")
    server = FakeServer(CONNECT)

    await serve(make_app(forever, hub, WS_CLOSE_TIMEOUT_SECONDS=0.01), scope, server.receive, server.send)

    assert server.sent[0]["type"] == "websocket.accept"
    assert scope["query_string"] == b"token=***"
    assert TAKEOVER not in scope


async def test_a_server_without_extensions_is_served_too(hub: WebSocketHub) -> None:
    scope = websocket_scope()
    scope["extensions"] = None
    server = FakeServer(CONNECT)

    await serve(make_app(forever, hub, WS_CLOSE_TIMEOUT_SECONDS=0.01), scope, server.receive, server.send)

    assert server.sent[0]["type"] == "websocket.accept"


@pytest.mark.parametrize("scope", [{}, {TAKEOVER: "something else"}])
def test_a_scope_without_a_takeover_says_what_was_done_wrong(scope: Any) -> None:
    with pytest.raises(
        ConfigurationError, match="replaced after make_websocket_blueprint was registered: set it before"
    ):
        takeover_of(scope)


def test_the_takeover_is_found_in_the_scope() -> None:
    takeover = Takeover(FakeServer().receive, FakeServer().send, masked(websocket_scope()))

    assert takeover_of({TAKEOVER: takeover}) is takeover


# What middleware and hooks may do


async def test_a_takeover_in_a_scope_that_is_copied_is_still_the_same() -> None:
    takeover = Takeover(FakeServer().receive, FakeServer().send, masked(websocket_scope()))
    scope = {TAKEOVER: takeover}

    assert takeover_of(copy.deepcopy(scope)) is takeover
    assert copy.copy(takeover) is takeover


@pytest.mark.parametrize("mode", ["legacy", "modern"])
@pytest.mark.parametrize("scheme", ["https", "http", "wss", "ws"])
async def test_what_a_proxy_says_of_the_scheme_is_understood(hub: WebSocketHub, mode: Any, scheme: str) -> None:
    """Proxies speak of http and https, and ASGI of ws and wss."""
    seen: list[str] = []
    app = make_app(read_everything, hub)

    @app.before_websocket
    async def note() -> None:
        seen.append(websocket.scheme)

    headers = {"X-Forwarded-Proto": scheme, "Forwarded": f"proto={scheme}"}
    async with connect(ProxyFixMiddleware(app, mode=mode), token="ann", headers=headers) as client:  # type: ignore[arg-type]
        await assert_open(client)

    assert seen == ["wss" if scheme in {"https", "wss"} else "ws"]


@pytest.mark.parametrize("where", ["path", "path with variable parts"])
async def test_behind_middleware_quarts_pump_rests_too(hub: WebSocketHub, where: str) -> None:
    """Nobody asks for an event but the hub, which asks after it has accepted."""
    app = QuartTrio(__name__)
    app.register_blueprint(
        make_websocket_blueprint(
            forever,
            hub=hub,
            bearer_resolver=token_is_the_user,
            settings=make_settings(WS_TRANSPORT="asgi", WS_REJECT_WITH_HTTP=True),
            path="/ws" if where == "path" else "/<room>",
        )
    )
    app.asgi_app = ProxyFixMiddleware(app.asgi_app)  # type: ignore[method-assign]
    server = FakeServer(CONNECT)

    await serve(app, websocket_scope(token="bad"), server.receive, server.send)

    assert server.sent[0]["status"] == 401
    assert server.asked == 0


@pytest.mark.parametrize("pump", [False, True])
@pytest.mark.parametrize("use", [lambda: websocket.accept(), lambda: websocket.send("too early")])
async def test_a_hook_that_accepts_is_told_that_the_hub_does(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture, use: Callable[[], Awaitable[object]], pump: bool
) -> None:
    app = make_app(forever, hub)
    app.config["SERVER_NAME"] = "localhost" if pump else None

    @app.before_websocket
    async def accept() -> None:
        await use()

    server = FakeServer(CONNECT, leaves_after="websocket.close")
    await serve(app, websocket_scope(), server.receive, server.send)

    assert server.sent[0]["type"] == "websocket.accept"
    assert server.sent[-1]["type"] == "websocket.close"
    assert "a before_websocket hook must leave that to the hub" in caplog.text


async def test_a_hook_that_receives_on_the_hubs_route_is_told_so(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(forever, hub)

    @app.before_websocket
    async def receive() -> None:
        await websocket.receive()

    server = FakeServer(CONNECT)
    with trio.fail_after(5):
        await serve(app, websocket_scope(), server.receive, server.send)

    assert "RuntimeError: this socket belongs to the hub: use the handler's ws, not quart.websocket" in caplog.text


# Servers without Trio


def run_on_asyncio(serving: Coroutine[Any, Any, None]) -> None:
    # In a thread of its own: the browser tests' driver may have left a loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, serving).result()


def test_without_trio_the_app_fails_at_start_and_says_what_to_run() -> None:
    app = QuartTrio(__name__)
    install(app)
    sent: list[Event] = []

    async def receive() -> Event:
        return {"type": "lifespan.startup"}

    async def send(event: Event) -> None:
        sent.append(event)

    run_on_asyncio(serve(app, {"type": "lifespan", "asgi": {}}, receive, send))

    [event] = sent
    assert event["type"] == "lifespan.startup.failed"
    assert "hypercorn -k trio module:app" in event["message"]


def test_without_trio_a_socket_is_refused_with_what_to_run() -> None:
    app = QuartTrio(__name__)
    install(app)

    async def unused(*_: object) -> Any:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="hypercorn -k trio module:app"):
        run_on_asyncio(serve(app, websocket_scope(), unused, unused))


async def test_with_trio_the_app_starts_as_ever() -> None:
    app = QuartTrio(__name__)
    install(app)
    served: list[str] = []

    @app.before_serving
    async def start() -> None:
        served.append("started")

    async with app.test_app():
        assert served == ["started"]
    require_trio()
