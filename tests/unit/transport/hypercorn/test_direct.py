"""Which handshakes are served directly: only where the view at the path is sure to take the socket."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypercorn.config import Config
from hypercorn.utils import wrap_app
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection

from quart_wshub import WebSocketHub, make_websocket_blueprint
from quart_wshub.transport.hypercorn.direct import DirectUpgrade
from tests.unit.memory import forever, make_app, make_settings, token_is_the_user
from tests.unit.transport.hypercorn.test_request import request

if TYPE_CHECKING:
    from collections.abc import Callable


def is_direct(app: Any, data: bytes = request(), **config: Any) -> bool:
    server: Any = SimpleNamespace(app=wrap_app(app, 0, None), config=Config.from_mapping(config))
    return DirectUpgrade.recognise(server, data) is not None


@pytest.fixture
def app() -> QuartTrio:
    return make_app(forever, WebSocketHub())


def test_the_hubs_path_is(app: QuartTrio) -> None:
    assert is_direct(app)


@pytest.mark.parametrize("target", [b"/", b"/ws/", b"/ws/x", b"//ws", b"/WS", b"/w%73x"])
def test_no_other_path_is(app: QuartTrio, target: bytes) -> None:
    assert not is_direct(app, request(b"GET %s HTTP/1.1" % target))


def test_what_is_not_plain_is_not(app: QuartTrio) -> None:
    assert not is_direct(app, request()[:-2])


@pytest.mark.parametrize(
    "config", [{"server_names": ["example.com"]}, {"root_path": "/prefix"}, {"h11_pass_raw_headers": True}]
)
def test_not_where_the_configuration_has_a_say(app: QuartTrio, config: dict[str, Any]) -> None:
    assert not is_direct(app, **config)


def test_not_over_plain_asgi() -> None:
    assert not is_direct(make_app(forever, WebSocketHub(), WS_TRANSPORT="asgi"))


def test_not_over_plain_asgi_beside_a_path_that_is(app: QuartTrio) -> None:
    portable = make_websocket_blueprint(
        forever,
        hub=WebSocketHub(),
        bearer_resolver=token_is_the_user,
        settings=make_settings(WS_TRANSPORT="asgi"),
        path="/portable",
        name="portable",
    )
    app.register_blueprint(portable)
    assert is_direct(app)
    assert not is_direct(app, request(b"GET /portable HTTP/1.1"))


def test_not_where_hosts_matter_too() -> None:
    app = QuartTrio(__name__, host_matching=True, static_host="localhost")
    app.register_blueprint(next(iter(make_app(forever, WebSocketHub()).blueprints.values())))
    assert not is_direct(app)


def wrapped(app: QuartTrio) -> Any:
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return middleware


def wrapped_inside(app: QuartTrio) -> Any:
    inner = app.asgi_app

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    app.asgi_app = middleware  # type: ignore[method-assign]
    return app


def with_another_websocket_class(app: QuartTrio) -> Any:
    app.asgi_websocket_class = TrioASGIWebsocketConnection
    return app


class Slotted:
    """Of this there are no weak references."""

    __slots__ = ()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def without_weak_references(app: QuartTrio) -> Any:
    return Slotted()


@pytest.mark.parametrize("change", [wrapped, wrapped_inside, with_another_websocket_class, without_weak_references])
def test_not_where_something_comes_before_the_view(app: QuartTrio, change: Callable[[QuartTrio], Any]) -> None:
    assert not is_direct(change(app))


def test_not_where_a_subclass_comes_before_the_view() -> None:
    class Own(QuartTrio):
        async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
            await super().asgi_app(scope, receive, send)

    class OwnWebsocket(TrioASGIWebsocketConnection):
        pass

    class WithOwnWebsocket(QuartTrio):
        asgi_websocket_class = OwnWebsocket

    for kind in (Own, WithOwnWebsocket):
        app = kind(__name__)
        app.register_blueprint(next(iter(make_app(forever, WebSocketHub()).blueprints.values())))
        assert not is_direct(app)


def test_of_several_apps_each_has_its_own_paths(app: QuartTrio) -> None:
    other = QuartTrio(__name__)
    other.register_blueprint(next(iter(app.blueprints.values())), url_prefix="/other")
    assert is_direct(other, request(b"GET /other/ws HTTP/1.1"))
    assert not is_direct(other)
    assert not is_direct(app, request(b"GET /other/ws HTTP/1.1"))


def test_no_app_is_kept_alive() -> None:
    kept = weakref.ref(make_app(forever, WebSocketHub()))
    gc.collect()
    assert kept() is None
