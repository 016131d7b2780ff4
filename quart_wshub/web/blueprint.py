"""`make_websocket_blueprint`: the Quart wiring."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from quart import Blueprint

from quart_wshub.auth.credentials import BEARER
from quart_wshub.auth.identity import BearerResolver, Identity, is_async_callable
from quart_wshub.hub.websocket_hub import runtime_of
from quart_wshub.messages.router import MessageRouter, bind
from quart_wshub.protocol.errors import ConfigurationError
from quart_wshub.transport.hypercorn.install import install as install_native_transport
from quart_wshub.web.asgi_classes import install
from quart_wshub.web.asyncapi_route import add_asyncapi_route
from quart_wshub.web.client_route import add_client_routes
from quart_wshub.web.endpoint import Endpoint
from quart_wshub.web.lifespan import run_with_app
from quart_wshub.web.ready_route import add_readiness_route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart.blueprints import BlueprintSetupState

    from quart_wshub.auth.handshake import Refusal
    from quart_wshub.description.asyncapi import AsyncAPIOptions
    from quart_wshub.hub.handler import Handler
    from quart_wshub.hub.websocket_hub import WebSocketHub
    from quart_wshub.settings import WebSocketSettings

    Verdict = Identity | Refusal

__all__ = ["make_websocket_blueprint"]

ENDPOINT = "socket"
"""Of the hub's view, in its blueprint."""


def make_websocket_blueprint(
    handler: Handler | MessageRouter,
    *,
    hub: WebSocketHub,
    bearer_resolver: BearerResolver,
    settings: WebSocketSettings,
    path: str = "/ws",
    name: str = "wshub",
    subprotocols: Sequence[str] = (),
    ready_path: str | None = None,
    announce_expiry: bool | None = None,
    serve_client: bool = True,
    serve_asyncapi: bool | AsyncAPIOptions = False,
) -> Blueprint:
    """A Quart `Blueprint` with one authenticated WebSocket route. Register it on a `QuartTrio` app.

    Several blueprints may share a hub, and an app may have several; give each its own `name`.

    Args:
        handler: ``async def handler(ws, connection, hub)``; one call per connection. Returning closes with 1000, an
            exception with 1011, or with the peer's own code where only the peer is to blame (`PeerError`). Or a
            `MessageRouter`, which has a handler for each type of message.
        hub: where the connections are entered.
        bearer_resolver: from a token to a user; see `BearerResolver`.
        settings: limits and timeouts.
        path: the route, which may have variable parts (``/ws/<room>``, see `WebSocket.path_params`); the blueprint's
            `url_prefix` goes before it.
        name: the blueprint's name.
        subprotocols: what the app speaks besides `bearer`; of a client's offers the first of these is chosen.
        ready_path: a second route, for load balancers: HTTP 200 while the hub is ready for clients, else 503.
        announce_expiry: whether a client is sent `auth.expiring` before its token expires. By default a router's is,
            which can answer with `auth.refresh`, and a plain handler's is not.
        serve_client: whether to serve the JavaScript client at ``<path>/client.js``.
        serve_asyncapi: whether to serve a `MessageRouter`'s AsyncAPI document at ``<path>/asyncapi.json``, or what it
            shall say besides the messages: ``{"title": "Chat", "version": "2.1.0"}``.

    Raises:
        ConfigurationError: here, where an argument cannot work; at registration, where the app is no `QuartTrio`; when
            the app starts, where a router's handler still has an annotation that is not defined.
    """
    _check_resolver(bearer_resolver)
    messages = handler
    if announce_expiry is None:
        announce_expiry = isinstance(handler, MessageRouter)
    if isinstance(handler, MessageRouter):
        handler = bind(handler, settings, bearer_resolver)
    _check_handler(handler)
    if isinstance(subprotocols, str) or BEARER in subprotocols:
        msg = f"subprotocols={subprotocols!r} must be a sequence of names other than {BEARER!r}"
        raise ConfigurationError(msg)
    blueprint = Blueprint(name, __name__)
    if isinstance(messages, MessageRouter):
        _check_at_the_start(blueprint, messages)
    add_asyncapi_route(blueprint, path, messages, settings, serve_asyncapi)
    endpoint = Endpoint(handler, hub, bearer_resolver, settings, tuple(subprotocols), announce_expiry)
    blueprint.add_websocket(path, ENDPOINT, endpoint.serve)
    run_with_app(blueprint, runtime_of(hub))
    if ready_path is not None:
        add_readiness_route(blueprint, hub, ready_path)
    if serve_client:
        add_client_routes(blueprint, path)

    def on_registration(state: BlueprintSetupState) -> None:
        routes = install(state.app)  # type: ignore[arg-type]  # Flask's type for an app that is a Quart
        routes.add(f"{state.name_prefix}.{state.name}.{ENDPOINT}".lstrip("."))
        install_native_transport(settings.WS_TRANSPORT, routes)

    blueprint.record(on_registration)
    return blueprint


def _check_handler(handler: Handler) -> None:
    if not is_async_callable(handler):
        msg = (
            f"handler {handler!r} must be an async function: async def handler(ws, connection, hub), or a MessageRouter"
        )
        raise ConfigurationError(msg)
    try:
        inspect.signature(handler).bind(None, None, None)
    except TypeError:
        msg = f"handler {handler!r} must take three arguments: async def handler(ws, connection, hub)"
        raise ConfigurationError(msg) from None


def _check_at_the_start(blueprint: Blueprint, messages: MessageRouter) -> None:
    """Handlers that were registered after `bind` are read before the first client comes, who could not be served."""

    async def check() -> None:
        _ = messages.routes

    blueprint.before_app_serving(check)


def _check_resolver(bearer_resolver: BearerResolver) -> None:
    if not callable(bearer_resolver):
        msg = f"bearer_resolver must be callable, not {type(bearer_resolver).__name__}: (token) -> user id or None"
        raise ConfigurationError(msg)
