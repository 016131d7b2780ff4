"""Which handshakes are sure to get to a hub's view: exactly those that Quart itself routes there, or fewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection
from werkzeug.routing import BaseConverter

from quart_wshub import WebSocketHub, make_websocket_blueprint
from quart_wshub.web.asgi_classes import ROUTES, install
from tests.unit.memory import forever, make_settings, token_is_the_user

if TYPE_CHECKING:
    from quart import Blueprint

    from quart_wshub.web.hub_routes import HubRoutes


def hub_at(path: str, *, name: str = "wshub") -> Blueprint:
    return make_websocket_blueprint(
        forever,
        hub=WebSocketHub(),
        bearer_resolver=token_is_the_user,
        settings=make_settings(),
        path=path,
        name=name,
    )


def routes_of(app: QuartTrio) -> HubRoutes:
    routes: HubRoutes = app.extensions[ROUTES]
    return routes


async def plain(**path_params: Any) -> None:
    """A WebSocket route that is Quart's own."""


PATHS = ["/", "/ws", "/ws/", "//ws", "/ws/1", "/ws/red", "/ws/red/blue", "/ws/lobby", "/other", "/api/ws", "ws", ""]

RULES = {
    "/ws": {"/ws", "//ws"},
    "/ws/": {"/ws/"},
    "/ws/<room>": {"/ws/1", "/ws/red", "/ws/lobby"},
    "/ws/<int:room>": {"/ws/1"},
    "/ws/<path:room>": {"/ws/1", "/ws/red", "/ws/red/blue", "/ws/lobby"},
    "/<any(ws, other):room>": {"/ws", "//ws", "/other"},
}


@pytest.mark.parametrize(("rule", "expected"), RULES.items())
def test_every_kind_of_rule_is_understood(rule: str, expected: set[str]) -> None:
    app = QuartTrio(__name__)
    app.register_blueprint(hub_at(rule))
    assert {path for path in PATHS if routes_of(app).serves(path)} == expected


def test_a_prefix_and_a_name_may_be_given_at_registration() -> None:
    inner, outer = hub_at("/ws"), hub_at("/inner", name="outer")
    outer.register_blueprint(inner, url_prefix="/in")
    app = QuartTrio(__name__)
    app.register_blueprint(outer, url_prefix="/out", name="renamed")
    app.register_blueprint(inner, url_prefix="/again", name="again")
    paths = ["/out/inner", "/out/in/ws", "/again/ws", "/ws", "/in/ws"]
    assert [routes_of(app).serves(path) for path in paths] == [True, True, True, False, False]


def test_where_two_rules_match_quarts_choice_counts() -> None:
    app = QuartTrio(__name__)
    app.register_blueprint(hub_at("/ws/<room>"))
    app.add_websocket("/ws/lobby", "lobby", plain)
    app.add_websocket("/<path:rest>", "rest", plain)
    assert routes_of(app).serves("/ws/red")
    assert not routes_of(app).serves("/ws/lobby")
    assert not routes_of(app).serves("/ws/red/blue")


@pytest.mark.parametrize("hub_first", [True, False])
def test_of_two_equal_rules_the_first_counts(hub_first: bool) -> None:
    app = QuartTrio(__name__)
    if not hub_first:
        app.add_websocket("/ws", "plain", plain)
    app.register_blueprint(hub_at("/ws"))
    app.add_websocket("/ws", "later", plain)
    assert routes_of(app).serves("/ws") is hub_first


def test_a_route_of_http_beside_it_means_nothing() -> None:
    app = QuartTrio(__name__)
    app.add_url_rule("/ws", "page", lambda: "a page")
    app.register_blueprint(hub_at("/ws"))
    assert routes_of(app).serves("/ws")


def test_a_converter_that_fails_is_left_to_quart() -> None:
    class Failing(BaseConverter):
        def to_python(self, value: str) -> str:
            raise ZeroDivisionError

    app = QuartTrio(__name__)
    app.url_map.converters["failing"] = Failing
    app.register_blueprint(hub_at("/ws/<failing:room>"))
    assert not routes_of(app).serves("/ws/red")


class WithOwnAdapter(QuartTrio):
    def create_url_adapter(self, request: Any) -> Any:
        return super().create_url_adapter(request)


class OwnWebsocket(TrioASGIWebsocketConnection):
    pass


class WithOwnWebsocket(QuartTrio):
    asgi_websocket_class = OwnWebsocket


def matching_hosts() -> QuartTrio:
    return QuartTrio(__name__, host_matching=True, static_host="localhost")


def matching_subdomains() -> QuartTrio:
    return QuartTrio(__name__, subdomain_matching=True)


def with_a_server_name() -> QuartTrio:
    """Then a subdomain is looked at even if `subdomain_matching` is off."""
    app = QuartTrio(__name__)
    app.config["SERVER_NAME"] = "example.com"
    return app


@pytest.mark.parametrize(
    "make",
    [
        matching_hosts,
        matching_subdomains,
        with_a_server_name,
        lambda: WithOwnAdapter(__name__),
        lambda: WithOwnWebsocket(__name__),
    ],
)
def test_nothing_is_sure_where_more_than_the_path_counts(make: Any) -> None:
    app = make()
    app.register_blueprint(hub_at("/ws"))
    assert not routes_of(app).serves("/ws")


def test_nothing_is_sure_after_the_websocket_class_was_replaced() -> None:
    app = QuartTrio(__name__)
    app.register_blueprint(hub_at("/ws"))
    app.asgi_websocket_class = TrioASGIWebsocketConnection
    assert not routes_of(app).serves("/ws")


def test_an_app_has_one() -> None:
    app = QuartTrio(__name__)
    assert install(app) is install(app) is routes_of(app)
