"""A handshake served without HTTP machinery: one that is plain to see, for a route that is sure to take its socket.

Such a connection is one task, the one hypercorn started for it: the app runs in that, and nobody reads until the app
has taken the socket over. Should it refuse instead, hypercorn is given the request after all, and answers as ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.trio import task_group
from websockets.utils import accept_key

from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE
from quart_wshub.protocol.errors import WebSocketDisconnect
from quart_wshub.transport.hypercorn.request import PlainRequest, parse_plain_request
from quart_wshub.transport.hypercorn.upgrade import EXTENSION, Upgrade, pipe_over, switching_protocols

if TYPE_CHECKING:
    from quart_wshub.transport.hypercorn.server import HubTCPServer
    from quart_wshub.transport.pipes import Pipe

__all__ = ["DirectUpgrade", "serve_directly"]

Address = tuple[str, int] | None

TakesOver = Callable[[Any, str], bool]
"""Whether an ASGI app, given a path, neither receives events nor accepts by one: it takes its `Upgrade`, or refuses."""

_routes: WeakKeyDictionary[Any, dict[str, TakesOver]] = WeakKeyDictionary()


def serve_directly(app: Any, path: str, takes_over: TakesOver) -> None:
    """Serve the handshakes for this path of an ASGI app directly, as long as it `takes_over`. Idempotent."""
    _routes.setdefault(app, {})[path] = takes_over


def _routes_of(app: Any) -> dict[str, TakesOver] | None:
    try:
        return _routes.get(app)
    except TypeError:  # a thing with no hash or no weak references, which was never registered
        return None


class DirectUpgrade(Upgrade):
    """One such handshake."""

    __slots__ = ("_claimed", "_hypercorn_send", "_request", "_scope", "_start_time")

    def __init__(self, server: HubTCPServer, request: PlainRequest) -> None:
        super().__init__(server)
        self._request = request
        self._start_time = time()
        self._claimed = False
        self._hypercorn_send: Callable[[Any], Awaitable[None]] | None = None
        self._scope: Any = {}

    @classmethod
    def recognise(cls, server: HubTCPServer, data: bytes) -> DirectUpgrade | None:
        """The handshake that the first bytes of a connection are, if it can be served directly."""
        config = server.config
        if config.server_names or config.root_path or config.h11_pass_raw_headers:
            return None
        app = server.app.app if isinstance(server.app, ASGIWrapper) else None
        routes = _routes_of(app)
        request = parse_plain_request(data) if routes else None
        if not routes or request is None:
            return None
        takes_over = routes.get(request.path)
        return cls(server, request) if takes_over is not None and takes_over(app, request.path) else None

    async def serve(self, *, ssl: bool, client: Address, local: Address) -> None:
        """Run the app to its end."""
        server, request = self._server, self._request
        self._scope = {
            "type": "websocket",
            "asgi": {"spec_version": "2.3", "version": "3.0"},
            "scheme": "wss" if ssl else "ws",
            "http_version": "1.1",
            "path": request.path,
            "raw_path": request.raw_path,
            "query_string": request.query,
            "root_path": "",
            "headers": request.headers,
            "client": client,
            "server": local,
            "state": server.state.copy(),
            "subprotocols": request.subprotocols,
            "extensions": {"websocket.http.response": {}, EXTENSION: self},
        }
        # What hypercorn's own task for an app is: it logs what an app raises, and says when the app has returned.
        await task_group._handle(
            server.app,
            server.config,
            self._scope,
            _receive,
            self._send,
            trio.to_thread.run_sync,
            trio.from_thread.run,
        )

    async def accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        server, request = self._server, self._request
        if self._hypercorn_send is not None:
            raise WebSocketDisconnect(ABNORMAL_CLOSURE)
        self._claimed = True
        accepted = [(b"sec-websocket-protocol", subprotocol.encode())] if subprotocol is not None else []
        accepted += [
            (b"sec-websocket-accept", accept_key(request.key.decode()).encode()),
            (b"upgrade", b"WebSocket"),
            (b"connection", b"Upgrade"),
            *headers,
        ]
        await server.context.mark_request()
        await server.config.log.access(self._scope, {"status": 101, "headers": accepted}, time() - self._start_time)
        del self._request, self._scope  # the connection may go on for days
        return pipe_over(server.stream), b"", switching_protocols(accepted, server.config)

    async def _send(self, message: Any) -> None:
        """What the app's ASGI `send` is; `None` says that the app has returned."""
        if self._claimed:
            return
        if message is not None and message["type"] == "websocket.accept":
            msg = "the hub accepts this handshake itself"
            raise RuntimeError(msg)
        if self._hypercorn_send is None:
            self._hypercorn_send = await self._ask_hypercorn()
        await self._hypercorn_send(message)

    async def _ask_hypercorn(self) -> Callable[[Any], Awaitable[None]]:
        """Have hypercorn take the request, and say what an app would send to it with."""
        caught = _Catcher()
        await self._server.start_http(caught, self._request.head)
        stream = caught.stream
        stream.scope, stream.start_time = self._scope, self._start_time  # this scope is masked
        send: Callable[[Any], Awaitable[None]] = stream.app_send
        return send


async def _receive() -> Any:
    raise RuntimeError("the app said that it takes this socket over, and then received an event")


class _Catcher:
    """In place of hypercorn's task group: the app is running already."""

    stream: Any

    async def spawn_app(self, app: Any, config: Any, scope: Any, send: Any) -> Callable[[Any], Awaitable[None]]:
        self.stream = send.__self__
        return self._ignore

    async def _ignore(self, event: Any) -> None:
        await trio.lowlevel.checkpoint()
