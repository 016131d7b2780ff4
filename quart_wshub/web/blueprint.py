"""`make_websocket_blueprint`: the Quart wiring, from an upgrade request to a running connection."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import trio
from quart import Blueprint, Response, abort, websocket

from quart_wshub.auth.credentials import BEARER, extract_credentials
from quart_wshub.auth.handshake import Refusal, authenticate, choose_subprotocol, origin_allowed
from quart_wshub.auth.identity import BearerResolver, Identity, WallClock, is_async_callable, utc_now
from quart_wshub.connection.lifecycle import Handler, Lifecycle
from quart_wshub.connection.session import WebSocketConnection
from quart_wshub.connection.websocket import HandshakeInfo, WebSocket
from quart_wshub.messages.router import MessageRouter
from quart_wshub.protocol import heartbeat
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.errors import ConfigurationError, WebSocketDisconnect
from quart_wshub.transport.hypercorn.install import install as install_native_transport
from quart_wshub.web.accept import open_transport
from quart_wshub.web.asgi_classes import install, takeover_of
from quart_wshub.web.asyncapi_route import add_asyncapi_route
from quart_wshub.web.client_route import add_client_routes
from quart_wshub.web.lifespan import run_with_app
from quart_wshub.web.ready_route import add_readiness_route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quart.blueprints import BlueprintSetupState

    from quart_wshub.auth.revocations import Admission
    from quart_wshub.description.asyncapi import AsyncAPIOptions
    from quart_wshub.hub.websocket_hub import WebSocketHub
    from quart_wshub.settings import WebSocketSettings
    from quart_wshub.transport.base import Transport

    Verdict = Identity | Refusal

__all__ = ["WALL_CLOCK", "make_websocket_blueprint"]

WALL_CLOCK = "quart_wshub.wall_clock"
"""The ASGI scope extension that brings a wall clock of its own for tokens to expire by: `quart_wshub.testing` does."""

RETRY_AFTER_SECONDS = 5

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
        handler = handler.bind(settings, bearer_resolver)
    _check_handler(handler)
    if isinstance(subprotocols, str) or BEARER in subprotocols:
        msg = f"subprotocols={subprotocols!r} must be a sequence of names other than {BEARER!r}"
        raise ConfigurationError(msg)
    blueprint = Blueprint(name, __name__)
    if isinstance(messages, MessageRouter):
        _check_at_the_start(blueprint, messages)
    add_asyncapi_route(blueprint, path, messages, settings, serve_asyncapi)
    endpoint = _Endpoint(handler, hub, bearer_resolver, settings, tuple(subprotocols), announce_expiry)
    blueprint.add_websocket(path, ENDPOINT, endpoint.serve)
    run_with_app(blueprint, hub)
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


class _Endpoint:
    """What one blueprint's route does."""

    def __init__(
        self,
        handler: Handler,
        hub: WebSocketHub,
        bearer_resolver: BearerResolver,
        settings: WebSocketSettings,
        subprotocols: tuple[str, ...],
        announce_expiry: bool,
    ) -> None:
        self._handler = handler
        self._hub = hub
        self._bearer_resolver = bearer_resolver
        self._settings = settings
        self._subprotocols = subprotocols
        self._announce_expiry = announce_expiry

    async def serve(self, **path_params: Any) -> Response | None:
        """The view. A response refuses the handshake; `None` says that the connection is over."""
        if not _is_below_root_path(websocket.scope):
            abort(404)
        if not origin_allowed(websocket.headers.get("Origin"), self._settings):
            return Response("this origin may not connect\n", 403)
        if not self._hub.take_slot(self._settings.WS_MAX_CONNECTIONS):
            return Response("no room for another connection\n", 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})
        try:
            return await self._admit(path_params)
        finally:
            self._hub.free_slot()

    async def _admit(self, path_params: dict[str, Any]) -> Response | None:
        credentials = extract_credentials(
            websocket.requested_subprotocols,
            websocket.headers.get("Authorization"),
            websocket.query_string,
            allow_query=self._settings.WS_ALLOW_QUERY_TOKEN,
        )
        extensions: Any = websocket.scope["extensions"]
        clock: WallClock = extensions.get(WALL_CLOCK, utc_now)
        with self._hub.revocations.admission() as admission:
            verdict = await authenticate(credentials, self._bearer_resolver, self._settings)
            verdict = _still_good(verdict, admission, clock)
            if isinstance(verdict, Refusal) and self._settings.WS_REJECT_WITH_HTTP:
                return _refuse_with_http(verdict)
            subprotocol = choose_subprotocol(credentials, self._subprotocols)
            try:
                transport = await open_transport(self._hub, self._settings, subprotocol)
            except WebSocketDisconnect:
                return None
            handshake = HandshakeInfo(takeover_of(websocket.scope).masked_scope, path_params, subprotocol)
            entered = await self._enter(transport, verdict, handshake, lambda it: _still_good(it, admission, clock))
        if isinstance(entered, Refusal):
            await self._refuse_with_close(transport, entered)
        else:
            await self._run(transport, entered, clock)
        return None

    async def _refuse_with_close(self, transport: Transport, refusal: Refusal) -> None:
        """Accepted, then closed: a browser sees no code of a handshake that fails."""
        with trio.move_on_after(self._settings.WS_CLOSE_TIMEOUT_SECONDS) as patience:
            await transport.close(refusal.code, refusal.reason)
        if patience.cancelled_caught:
            transport.abort()

    async def _enter(
        self, transport: Transport, verdict: Verdict, handshake: HandshakeInfo, look_again: Callable[[Verdict], Verdict]
    ) -> WebSocketConnection | Refusal:
        """Register the connection, once what other nodes send to its user arrives here; or say why not any more."""
        if isinstance(verdict, Refusal):
            return verdict
        try:
            async with self._hub.expecting(verdict.user_id):
                # From this look to the registration nothing else runs.
                verdict = look_again(verdict)
                return verdict if isinstance(verdict, Refusal) else self._register(transport, verdict, handshake)
        except BaseException:  # cancelled while it waited
            transport.abort()
            raise

    def _register(self, transport: Transport, identity: Identity, handshake: HandshakeInfo) -> WebSocketConnection:
        connection = WebSocketConnection(identity, hub=self._hub, transport=transport, settings=self._settings)
        connection.attach(WebSocket(connection, handshake))
        if self._settings.WS_HELLO:
            connection.offer(heartbeat.hello_frame(connection.connection_id, self._settings))
        self._hub.register(connection)
        return connection

    async def _run(self, transport: Transport, connection: WebSocketConnection, clock: WallClock) -> None:
        await Lifecycle(
            transport,
            connection,
            self._hub,
            self._handler,
            self._settings,
            announce_expiry=self._announce_expiry,
            wall_clock=clock,
        ).run()


def _still_good(verdict: Identity | Refusal, admission: Admission, clock: WallClock) -> Identity | Refusal:
    """The verdict, unless something has happened to the token since its resolver was asked."""
    if isinstance(verdict, Refusal):
        return verdict
    if admission.is_revoked(verdict.user_id):
        return Refusal(CloseCode.UNAUTHORIZED, "token revoked", 401)
    if verdict.has_expired(clock()):
        return Refusal(CloseCode.UNAUTHORIZED, "token expired", 401)
    return verdict


def _refuse_with_http(refusal: Refusal) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if refusal.http_status == 401 else None
    return Response(f"{refusal.reason}\n", refusal.http_status, headers)


def _is_below_root_path(scope: Any) -> bool:
    """Whether the path really starts with the prefix the app is mounted at.

    Quart-Trio cuts at the first place the prefix stands in the path, so `/x/pfx/ws` would pass for `/pfx/ws`.
    """
    root_path = scope.get("root_path", "").rstrip("/")
    return not root_path or scope["path"].startswith(f"{root_path}/")
