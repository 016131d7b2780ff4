"""The blueprint on an app that is not a `QuartTrio`: importing this module fails with a clear error."""

from __future__ import annotations

from quart import Quart

from quart_wshub import WebSocketHub, WebSocketSettings, make_websocket_blueprint
from tests.server.apps import handlers, resolvers

__all__ = ["app"]

app = Quart(__name__)
app.register_blueprint(
    make_websocket_blueprint(
        handlers.echo, hub=WebSocketHub(), bearer_resolver=resolvers.resolve, settings=WebSocketSettings()
    )
)
