"""How the hub gets at a WebSocket below Quart: its own ASGI classes, set at Quart's own places for that.

`app.asgi_websocket_class` puts a `Takeover` into the scope. A view that claims it has the server's
`receive` and `send` to itself, and Quart's own message pump rests. Every other route runs as it did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from quart import Quart
from quart.asgi import ASGIWebsocketConnection
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection

from quart_wshub.auth.credentials import redact_scope
from quart_wshub.protocol.errors import ConfigurationError
from quart_wshub.transport.upgrade import upgrade_in
from quart_wshub.web.hub_routes import HubRoutes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["Takeover", "install", "takeover_of"]

TAKEOVER = "quart_wshub.takeover"
"""The key in Quart's scope that holds a socket's `Takeover`."""

ROUTES = "quart_wshub"
"""The app extension that holds an app's `HubRoutes`."""

Event = dict[str, Any]

NOT_TRIO = (
    "quart-wshub runs on Trio, and this server does not. Run the app with: hypercorn -k trio module:app "
    "(or app.run() for development)"
)

BELONGS_TO_THE_HUB = "this socket belongs to the hub: use the handler's ws, not quart.websocket"

ACCEPTED_ALREADY = (
    "the app accepted this WebSocket before the hub could, as quart.websocket.accept(), send() and receive() do: "
    "a before_websocket hook must leave that to the hub"
)


class Takeover:
    """The server's `receive` and `send` for one WebSocket, to be claimed once.

    A copy of it is itself: an app may copy the scope it is in, and there is only one socket.

    Attributes:
        masked_scope: what the handshake said, without its tokens.
    """

    __slots__ = ("_accepted", "_claimed", "_quart_is_receiving", "masked_scope", "receive", "send")

    def __init__(
        self,
        receive: Callable[[], Awaitable[Event]],
        send: Callable[[Event], Awaitable[None]],
        masked_scope: Mapping[str, Any],
    ) -> None:
        self.receive: Callable[[], Awaitable[Event]] = receive
        self.send: Callable[[Event], Awaitable[None]] = send
        self.masked_scope: Mapping[str, Any] = masked_scope
        self._accepted = False
        self._claimed = False
        self._quart_is_receiving: trio.CancelScope | None = None

    def claim(self, scope: Any) -> None:
        """From now on Quart receives nothing, and sends nothing but errors; and its scope shows no token any more.

        Raises:
            RuntimeError: Quart has accepted the handshake already.
        """
        if self._accepted:
            raise RuntimeError(ACCEPTED_ALREADY)
        self._claimed = True
        for name in ("headers", "query_string", "subprotocols"):
            scope[name] = self.masked_scope[name]
        if self._quart_is_receiving is not None:
            self._quart_is_receiving.cancel()

    async def receive_for_quart(self) -> Event:
        """What Quart's message pump awaits. Being cancelled while it waits loses no event."""
        with trio.CancelScope() as self._quart_is_receiving:
            if not self._claimed:
                return await self.receive()
        await trio.sleep_forever()
        raise AssertionError  # not reached

    async def send_for_quart(self, event: Event) -> None:
        """What Quart sends with. Once claimed, only the app's use of Quart's own `websocket` can end up here."""
        if not self._claimed:
            self._accepted = self._accepted or event["type"] == "websocket.accept"
            await self.send(event)
        elif event["type"] in {"websocket.accept", "websocket.send"}:
            raise RuntimeError(BELONGS_TO_THE_HUB)

    def __copy__(self) -> Takeover:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Takeover:
        return self


class _TakeoverWebsocket:
    """Mixed into the app's `asgi_websocket_class`."""

    app: Any
    scope: Any
    receive_channel: Any
    send_channel: Any

    async def __call__(self, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]) -> None:
        require_trio()
        takeover = self._prepare_scope(receive, send)
        if self._needs_no_pump():
            send = takeover.send_for_quart
            self.send_channel = self.receive_channel = _NOTHING  # of Quart-Trio 0.12
            websocket = self._create_websocket_from_scope(send)  # type: ignore[attr-defined]
            websocket.buffer = _NOTHING  # of Quart-Trio 0.13
            await ASGIWebsocketConnection.handle_websocket(self, websocket, send)  # type: ignore[arg-type]
        else:
            await super().__call__(takeover.receive_for_quart, takeover.send_for_quart)  # type: ignore[misc]

    def _prepare_scope(
        self, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
    ) -> Takeover:
        """Give Quart a scope of its own, with a `Takeover` in it, and mask the tokens in the one it was given."""
        given = self.scope
        takeover = Takeover(receive, send, given)
        self.scope = {
            **given,
            # Proxy middleware writes what is right for HTTP (hypercorn#198), for which Quart has no WebSocket routes.
            "scheme": _WEBSOCKET_SCHEMES.get(given["scheme"], given["scheme"]),
            TAKEOVER: takeover,
        }
        # The server's access log prints query and headers out of the scope that it handed out, which middleware may
        # have replaced by a copy.
        redact_scope(given)
        upgrade = upgrade_in(given)
        if upgrade is not None and upgrade.scope is not given:
            redact_scope(upgrade.scope)
        return takeover

    def _needs_no_pump(self) -> bool:
        """Whether the view is sure to claim, so that Quart's pump, a nursery and two tasks, would idle for good."""
        scope = self.scope
        routes: HubRoutes = self.app.extensions[ROUTES]
        return not scope.get("root_path") and type(self) is routes.websocket_class and routes.serves(scope["path"])


_WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}


class _NothingToReceive:
    """In place of what Quart's pump would fill."""

    async def receive(self) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError(BELONGS_TO_THE_HUB)

    get = receive


_NOTHING = _NothingToReceive()


class _TrioLifespan:
    """Mixed into the app's `asgi_lifespan_class`: fail at start, not at the first request, where Trio is missing."""

    async def __call__(self, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]) -> None:
        if trio.lowlevel.in_trio_run():
            await super().__call__(receive, send)  # type: ignore[misc]
        else:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": NOT_TRIO})


def require_trio() -> None:
    """Refuse to run on another event loop.

    Raises:
        ConfigurationError: this is not Trio.
    """
    if not trio.lowlevel.in_trio_run():
        raise ConfigurationError(NOT_TRIO)


def install(app: Quart) -> HubRoutes:
    """Make an app's WebSockets claimable. Keeps the app's own ASGI classes as bases. Idempotent.

    Returns where the app's hub routes are to be registered.

    Raises:
        ConfigurationError: the app is no `QuartTrio`.
    """
    if not isinstance(app, QuartTrio):
        msg = (
            f"quart-wshub needs a QuartTrio app, and this is a {type(app).__name__}: use quart_trio.QuartTrio(__name__)"
        )
        raise ConfigurationError(msg)
    app.asgi_websocket_class = _mix(_TakeoverWebsocket, app.asgi_websocket_class)
    app.asgi_lifespan_class = _mix(_TrioLifespan, app.asgi_lifespan_class)
    if ROUTES not in app.extensions:
        app.extensions[ROUTES] = HubRoutes(app, app.asgi_websocket_class if _is_quarts_own(app) else None)
    routes: HubRoutes = app.extensions[ROUTES]
    return routes


def _is_quarts_own(app: QuartTrio) -> bool:
    """Whether nothing of the app's own is in how a WebSocket gets to its view."""
    return (
        app.asgi_websocket_class.__mro__[1:3] == (_TakeoverWebsocket, TrioASGIWebsocketConnection)
        and type(app).create_url_adapter is Quart.create_url_adapter
    )


def _mix(mixin: type, base: type) -> Any:
    return base if issubclass(base, mixin) else type(f"Hub{base.__name__}", (mixin, base), {})


def takeover_of(scope: Any) -> Takeover:
    """The takeover in a scope.

    Raises:
        ConfigurationError: there is none: the app's ASGI class was replaced after the blueprint was registered.
    """
    takeover = scope.get(TAKEOVER)
    if not isinstance(takeover, Takeover):
        msg = "app.asgi_websocket_class was replaced after make_websocket_blueprint was registered: set it before"
        raise ConfigurationError(msg)
    return takeover
