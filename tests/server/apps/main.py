"""The app most server tests run against: one hub, a route for each handler, settings from the environment."""

from __future__ import annotations

import logging
from typing import Any

from quart_trio import QuartTrio

from quart_wshub import WebSocketHub, WebSocketSettings, make_websocket_blueprint
from tests.server.apps import handlers, resolvers
from tests.server.apps.asking import make_asking_blueprints
from tests.server.apps.console import log_to_console
from tests.server.apps.delivery import make_delivery_blueprint
from tests.server.apps.introspection import make_introspection_blueprint
from tests.server.apps.plain import make_plain_blueprint

__all__ = ["app"]

log_to_console(logging.INFO)

settings = WebSocketSettings()
hub = WebSocketHub(max_per_user=settings.WS_MAX_CONNECTIONS_PER_USER)

ROUTES = {
    "/ws": handlers.chat,
    "/echo": handlers.echo,
    "/json": handlers.json_echo,
    "/show": handlers.show,
    "/rooms/<room>/show": handlers.show,
    "/boom": handlers.boom,
    "/boom-in-a-nursery": handlers.boom_in_a_nursery,
    "/leave": handlers.leave,
    "/deaf": handlers.deaf,
    "/flood": handlers.flood,
    "/record": handlers.record,
    "/command": handlers.command,
}

app = QuartTrio(__name__)
app.register_blueprint(make_introspection_blueprint(hub))
app.register_blueprint(make_delivery_blueprint(hub))
app.register_blueprint(make_plain_blueprint())
for blueprint in make_asking_blueprints(hub, settings):
    app.register_blueprint(blueprint)

for number, (path, handler) in enumerate(ROUTES.items()):
    app.register_blueprint(
        make_websocket_blueprint(
            handler,
            hub=hub,
            bearer_resolver=resolvers.resolve,
            settings=settings,
            path=path,
            name=f"wshub{number}",
            subprotocols=("v2.test", "v1.test"),
        )
    )

app.register_blueprint(
    make_websocket_blueprint(
        handlers.show,
        hub=hub,
        bearer_resolver=resolvers.resolve_in_thread,
        settings=settings,
        path="/show",
        name="below",
    ),
    url_prefix="/below",
)


@app.get("/records")
async def records() -> dict[str, list[Any]]:
    return dict(handlers.RECORDS)


@app.post("/release/<key>")
async def release(key: str) -> dict[str, None]:
    """Let the handler that waits before it records start to read."""
    handlers.GATES[key].set()
    return {}
