"""What the unit tests share: apps whose sockets live in memory, and the proof that nothing of a socket stays behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import trio
from quart_trio import QuartTrio

from quart_wshub import Identity, MessageRouter, WebSocketHub, WebSocketSettings, make_websocket_blueprint
from quart_wshub.auth.credentials import redact_scope
from quart_wshub.hub.websocket_hub import runtime_of

if TYPE_CHECKING:
    from quart_wshub.connection.websocket import WebSocket
    from quart_wshub.connection.websocket_connection import WebSocketConnection
    from quart_wshub.hub.handler import Handler
    from quart_wshub.testing import WebSocketClient

__all__ = [
    "assert_nothing_is_left",
    "assert_open",
    "forever",
    "make_app",
    "make_settings",
    "masked",
    "read_everything",
    "serve",
    "stay_alive",
    "token_is_the_user",
    "websocket_scope",
]

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Resolver = Callable[[str], Awaitable[str | Identity | None]]


def make_settings(**values: Any) -> WebSocketSettings:
    """Settings that no `.env` file has a say in."""
    return WebSocketSettings(_env_file=None, **values)  # type: ignore[call-arg]  # pydantic-settings takes it


async def token_is_the_user(token: str) -> str | None:
    """The bearer resolver of tests in which authentication is not the subject; `bad` is a bad token."""
    await trio.lowlevel.checkpoint()
    return None if token == "bad" else token


async def forever(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """A handler that never reads, and ends only when it is cancelled."""
    await trio.sleep_forever()


async def read_everything(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """A handler that reads to the end and answers nothing."""
    async for _ in ws:
        pass


def make_app(
    handler: Handler | MessageRouter, hub: WebSocketHub, *, resolver: Resolver = token_is_the_user, **settings: Any
) -> QuartTrio:
    """An app with one hub route, at `/ws`."""
    app = QuartTrio(__name__)
    app.register_blueprint(
        make_websocket_blueprint(
            handler, hub=hub, bearer_resolver=resolver, settings=make_settings(**settings), path="/ws"
        )
    )
    return app


def websocket_scope(path: str = "/ws", *, token: str = "ann", root_path: str = "") -> Event:
    """An ASGI scope, for what `quart_wshub.testing.connect` is too polite for."""
    return {
        "type": "websocket",
        "asgi": {"spec_version": "2.3", "version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": f"token={token}".encode(),
        "root_path": root_path,
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }


def masked(scope: dict[str, Any]) -> dict[str, Any]:
    """The scope, with its tokens masked."""
    redact_scope(scope)
    return scope


async def serve(app: QuartTrio, scope: Event, receive: Receive, send: Send) -> None:
    """Run an app as an ASGI server does."""
    asgi: Any = app  # Quart's own types are hypercorn's, event by event
    await asgi(scope, receive, send)


async def stay_alive(client: WebSocketClient, *, every: float = 10) -> None:
    """Prove life until the socket is closed, and take whatever comes."""

    async def send_pongs() -> None:
        while True:
            await client.send('{"type": "pong"}')
            await trio.sleep(every)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_pongs)
        await client.closed()
        nursery.cancel_scope.cancel()


async def assert_open(client: WebSocketClient) -> None:
    """The server still answers on this socket."""
    await client.send('{"type": "ping", "data": {}, "request_id": "are you there"}')
    while (await client.expect("pong")).request_id != "are you there":
        pass


def assert_nothing_is_left(hub: WebSocketHub) -> None:
    """No index entry, no capacity slot and no task of any connection."""
    statistics = hub.statistics()
    assert (statistics.connections, statistics.users, statistics.topics) == (0, 0, 0)
    assert statistics.accepted == sum(statistics.closed.values()), "a connection was not counted as closed"
    if not hub.draining:
        assert not +runtime_of(hub).slots.taken, "a capacity slot was not given back"
        assert not runtime_of(hub).slots.refused
    assert [name for name in _task_names() if name.startswith("quart")] == []


def _task_names() -> Iterator[str]:
    waiting = [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        if task is not None:
            yield task.name
            for nursery in task.child_nurseries:
                waiting.extend(nursery.child_tasks)
