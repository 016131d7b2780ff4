"""Which handshakes are served directly: plain ones, for paths that some app of the process says lead to a hub."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import pytest
from hypercorn.config import Config
from quart_trio import QuartTrio

from quart_wshub import WebSocketHub, make_websocket_blueprint
from quart_wshub.transport.hypercorn import direct
from quart_wshub.transport.hypercorn.direct import DirectUpgrade
from tests.unit.memory import forever, make_app, make_settings, token_is_the_user
from tests.unit.transport.hypercorn.test_request import request


@pytest.fixture(autouse=True)
def no_other_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_hubs", WeakSet())


def is_direct(data: bytes = request(), **config: Any) -> bool:
    connection: Any = SimpleNamespace(config=Config.from_mapping(config))
    return DirectUpgrade.recognise(connection, data) is not None


@pytest.fixture
def app() -> QuartTrio:
    return make_app(forever, WebSocketHub())


def test_the_hubs_path_is(app: QuartTrio) -> None:
    assert is_direct()


@pytest.mark.parametrize("target", [b"/", b"/ws/", b"/ws/x", b"/WS", b"/w%73x", b"/plain"])
def test_no_other_path_is(app: QuartTrio, target: bytes) -> None:
    @app.websocket("/plain")
    async def plain() -> None: ...

    assert not is_direct(request(b"GET %s HTTP/1.1" % target))


@pytest.mark.parametrize(("target", "expected"), [(b"/ws/red", True), (b"/ws/r%C3%A9d", True), (b"/ws/a/b", False)])
def test_a_path_with_variable_parts_is(target: bytes, expected: bool) -> None:
    app = QuartTrio(__name__)
    app.register_blueprint(
        make_websocket_blueprint(
            forever,
            hub=WebSocketHub(),
            bearer_resolver=token_is_the_user,
            settings=make_settings(),
            path="/ws/<room>",
        )
    )
    assert is_direct(request(b"GET %s HTTP/1.1" % target)) is expected


def test_what_is_not_plain_is_not(app: QuartTrio) -> None:
    assert not is_direct(request()[:-2])


@pytest.mark.parametrize(
    "config", [{"server_names": ["example.com"]}, {"root_path": "/prefix"}, {"h11_pass_raw_headers": True}]
)
def test_not_where_the_configuration_has_a_say(app: QuartTrio, config: dict[str, Any]) -> None:
    assert not is_direct(**config)


def test_nothing_is_over_plain_asgi() -> None:
    app = make_app(forever, WebSocketHub(), WS_TRANSPORT="asgi")
    assert not is_direct()
    del app


def test_each_app_of_the_process_is_asked(app: QuartTrio) -> None:
    """Middleware may hide which of them a connection is for."""
    other = QuartTrio(__name__)
    other.register_blueprint(next(iter(app.blueprints.values())), url_prefix="/other")
    assert is_direct(request(b"GET /other/ws HTTP/1.1"))
    assert is_direct()


def test_no_app_is_kept_alive() -> None:
    kept = weakref.ref(make_app(forever, WebSocketHub()))
    gc.collect()
    assert kept() is None
    assert not is_direct()
