"""`make_websocket_blueprint`: the Quart wiring, from an upgrade request to a running connection."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import trio
from quart import Blueprint, Response, abort, websocket

from quart_wshub import heartbeat
from quart_wshub.auth import BearerResolver, Identity, is_async_callable
from quart_wshub.connection import WebSocketConnection
from quart_wshub.errors import ConfigurationError, WebSocketDisconnect
from quart_wshub.handshake import Refusal, authenticate, choose_subprotocol, origin_allowed
from quart_wshub.lifecycle import Handler, Lifecycle
from quart_wshub.opening import open_transport
from quart_wshub.takeover import install, takeover_of, takes_over
from quart_wshub.tokens import BEARER, extract_credentials
from quart_wshub.transport.direct import serve_directly
from quart_wshub.transport.hypercorn import install as install_native_transport
from quart_wshub.websocket import HandshakeInfo, WebSocket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart.blueprints import BlueprintSetupState

    from quart_wshub.hub import WebSocketHub
    from quart_wshub.settings import WebSocketSettings
    from quart_wshub.transport.base import Transport

__all__ = ["make_websocket_blueprint"]

RETRY_AFTER_SECONDS = 5


def make_websocket_blueprint(
    handler: Handler,
    *,
    hub: WebSocketHub,
    bearer_resolver: BearerResolver,
    settings: WebSocketSettings,
    path: str = "/ws",
    name: str = "wshub",
    subprotocols: Sequence[str] = (),
) -> Blueprint:
    """A Quart `Blueprint` with one authenticated WebSocket route. Register it on a `QuartTrio` app.

    Several blueprints may share a hub, and an app may have several; give each its own `name`.

    Args:
        handler: ``async def handler(ws, connection, hub)``; one call per connection. Returning closes with 1000, an
            exception with 1011, or with the peer's own code where only the peer is to blame (`PeerError`).
        hub: where the connections are entered.
        bearer_resolver: from a token to a user; see `BearerResolver`.
        settings: limits and timeouts.
        path: the route, which may have variable parts (``/ws/<room>``, see `WebSocket.path_params`); the blueprint's
            `url_prefix` goes before it.
        name: the blueprint's name.
        subprotocols: what the app speaks besides `bearer`; of a client's offers the first of these is chosen.

    Raises:
        ConfigurationError: here, where an argument cannot work; at registration, where the app is no `QuartTrio`.
    """
    _check_handler(handler)
    _check_resolver(bearer_resolver)
    if isinstance(subprotocols, str) or BEARER in subprotocols:
        msg = f"subprotocols={subprotocols!r} must be a sequence of names other than {BEARER!r}"
        raise ConfigurationError(msg)
    blueprint = Blueprint(name, __name__)
    endpoint = _Endpoint(handler, hub, bearer_resolver, settings, tuple(subprotocols))
    blueprint.add_websocket(path, "socket", endpoint.serve)

    def on_registration(state: BlueprintSetupState) -> None:
        prefix = (state.url_prefix or "").rstrip("/")
        full_path = f"{prefix}/{path.lstrip('/')}"
        install(state.app, full_path)  # type: ignore[arg-type]  # Flask's type for an app that is a Quart
        if settings.WS_TRANSPORT == "auto" and install_native_transport():
            serve_directly(state.app, full_path, takes_over)

    blueprint.record(on_registration)
    return blueprint


def _check_handler(handler: Handler) -> None:
    if not is_async_callable(handler):
        msg = f"handler {handler!r} must be an async function: async def handler(ws, connection, hub)"
        raise ConfigurationError(msg)
    try:
        inspect.signature(handler).bind(None, None, None)
    except TypeError:
        msg = f"handler {handler!r} must take three arguments: async def handler(ws, connection, hub)"
        raise ConfigurationError(msg) from None


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
    ) -> None:
        self._handler = handler
        self._hub = hub
        self._bearer_resolver = bearer_resolver
        self._settings = settings
        self._subprotocols = subprotocols

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
        verdict = await authenticate(credentials, self._bearer_resolver, self._settings)
        if isinstance(verdict, Refusal) and self._settings.WS_REJECT_WITH_HTTP:
            return _refuse_with_http(verdict)
        subprotocol = choose_subprotocol(credentials, self._subprotocols)
        try:
            transport = await open_transport(self._hub, self._settings, subprotocol)
        except WebSocketDisconnect:
            return None
        if isinstance(verdict, Refusal):
            await self._refuse_with_close(transport, verdict)
        else:
            handshake = HandshakeInfo(takeover_of(websocket.scope).masked_scope, path_params, subprotocol)
            await self._run(transport, verdict, handshake)
        return None

    async def _refuse_with_close(self, transport: Transport, refusal: Refusal) -> None:
        """Accepted, then closed: a browser sees no code of a handshake that fails."""
        with trio.move_on_after(self._settings.WS_CLOSE_TIMEOUT_SECONDS) as patience:
            await transport.close(refusal.code, refusal.reason)
        if patience.cancelled_caught:
            transport.abort()

    async def _run(self, transport: Transport, identity: Identity, handshake: HandshakeInfo) -> None:
        connection = WebSocketConnection(identity, hub=self._hub, transport=transport, settings=self._settings)
        connection.attach(WebSocket(connection, handshake))
        if self._settings.WS_HELLO:
            connection.offer(heartbeat.hello_frame(connection.connection_id, self._settings))
        self._hub.register(connection)
        await Lifecycle(transport, connection, self._hub, self._handler, self._settings).run()


def _refuse_with_http(refusal: Refusal) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if refusal.http_status == 401 else None
    return Response(f"{refusal.reason}\n", refusal.http_status, headers)


def _is_below_root_path(scope: Any) -> bool:
    """Whether the path really starts with the prefix the app is mounted at.

    Quart-Trio cuts at the first place the prefix stands in the path, so `/x/pfx/ws` would pass for `/pfx/ws`.
    """
    root_path = scope.get("root_path", "").rstrip("/")
    return not root_path or scope["path"].startswith(f"{root_path}/")
