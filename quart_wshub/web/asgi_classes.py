"""How the hub gets at a WebSocket below Quart: its own ASGI classes, set at Quart's own places for that.

`app.asgi_websocket_class` puts a `Takeover` into the scope's extensions. A view that claims it has the server's
`receive` and `send` to itself, and Quart's own message pump rests. Every other route runs as it did.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import trio
from quart import Quart
from quart.asgi import ASGIWebsocketConnection
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection

from quart_wshub.auth.credentials import redact_scope
from quart_wshub.protocol.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["Takeover", "install", "takeover_of", "takes_over"]

log: logging.Logger = logging.getLogger("quart_wshub")

EXTENSION = "quart_wshub"

Event = dict[str, Any]

NOT_TRIO = (
    "quart-wshub runs on Trio, and this server does not. Run the app with: hypercorn -k trio module:app "
    "(or app.run() for development)"
)


BELONGS_TO_THE_HUB = "this socket belongs to the hub: use the handler's ws, not quart.websocket"


class Takeover:
    """The server's `receive` and `send` for one WebSocket, to be claimed once.

    Attributes:
        masked_scope: what the handshake said, without its tokens.
    """

    __slots__ = ("_claimed", "_quart_is_receiving", "masked_scope", "receive", "send")

    def __init__(
        self,
        receive: Callable[[], Awaitable[Event]],
        send: Callable[[Event], Awaitable[None]],
        masked_scope: Mapping[str, Any],
    ) -> None:
        self.receive: Callable[[], Awaitable[Event]] = receive
        self.send: Callable[[Event], Awaitable[None]] = send
        self.masked_scope: Mapping[str, Any] = masked_scope
        self._claimed = False
        self._quart_is_receiving: trio.CancelScope | None = None

    def claim(self, scope: Any) -> None:
        """From now on Quart receives nothing, and sends nothing but errors; and its scope shows no token any more."""
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
            await self.send(event)
        elif event["type"] in {"websocket.accept", "websocket.send"}:
            raise RuntimeError(BELONGS_TO_THE_HUB)


class _TakeoverWebsocket:
    """Mixed into the app's `asgi_websocket_class`."""

    app: Any
    scope: Any
    send_channel: Any
    receive_channel: Any

    async def __call__(self, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]) -> None:
        require_trio()
        shown_by_the_server = self.scope
        takeover = Takeover(receive, send, shown_by_the_server)
        extensions = {**(self.scope.get("extensions") or {}), EXTENSION: takeover}
        self.scope = {**self.scope, "extensions": extensions}
        # The server's access log prints query and headers out of the scope it handed over; Quart has its copy.
        redact_scope(shown_by_the_server)
        if self._needs_no_pump():
            self.send_channel = self.receive_channel = _NothingToReceive()
            websocket = self._create_websocket_from_scope(takeover.send_for_quart)  # type: ignore[attr-defined]
            await ASGIWebsocketConnection.handle_websocket(self, websocket, takeover.send_for_quart)  # type: ignore[arg-type]
        else:
            await super().__call__(takeover.receive_for_quart, takeover.send_for_quart)  # type: ignore[misc]

    def _needs_no_pump(self) -> bool:
        """Whether the view is sure to claim, so that Quart's pump, a nursery and two tasks, would idle for good."""
        return not self.scope.get("root_path") and _is_sure_to_claim(self.app, type(self), self.scope["path"])


def _is_sure_to_claim(app: Quart, websocket_class: Any, path: str) -> bool:
    """Whether a path's view always claims, and nothing of the app's own comes before it but its hooks."""
    return (
        path in app.extensions.get(EXTENSION, ())
        # An app's own class may rely on being called.
        and websocket_class.__mro__[1:3] == (_TakeoverWebsocket, TrioASGIWebsocketConnection)
    )


class _NothingToReceive:
    """In place of the channel that Quart's pump would fill."""

    async def receive(self) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError(BELONGS_TO_THE_HUB)


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


def install(app: Quart, path: str) -> None:
    """Make an app's WebSockets claimable; the view at `path` always claims. Keeps the app's own ASGI classes as bases.

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
    if not app.url_map.host_matching:  # else the same path may be somebody else's on another host
        app.extensions.setdefault(EXTENSION, set()).add(path)


def takes_over(app: QuartTrio, path: str) -> bool:
    """Whether a handshake for this path may be served without anything but the app's `Upgrade`.

    Not where the app is wrapped, as in `app.asgi_app = Middleware(app.asgi_app)`: that may change the path.
    """
    return (
        _is_sure_to_claim(app, app.asgi_websocket_class, path)
        and getattr(app.asgi_app, "__func__", None) is Quart.asgi_app
        and type(app).__call__ is Quart.__call__
    )


def _mix(mixin: type, base: type) -> Any:
    return base if issubclass(base, mixin) else type(f"Hub{base.__name__}", (mixin, base), {})


def takeover_of(scope: Any) -> Takeover:
    """The takeover in a scope.

    Raises:
        ConfigurationError: there is none: the app's ASGI class was replaced after the blueprint was registered.
    """
    takeover = (scope.get("extensions") or {}).get(EXTENSION)
    if not isinstance(takeover, Takeover):
        msg = "app.asgi_websocket_class was replaced after make_websocket_blueprint was registered: set it before"
        raise ConfigurationError(msg)
    return takeover
