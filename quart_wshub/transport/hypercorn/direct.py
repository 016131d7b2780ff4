"""A handshake served without HTTP machinery: a plain upgrade request for a path that probably leads to a hub.

Such a connection is one task, the one hypercorn started for it: the app runs in that, and nobody reads until the app
has claimed the byte stream. If it uses ASGI instead, hypercorn is given the request after all and serves on as ever,
so a wrong guess costs time and nothing else.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import trio
from websockets.utils import accept_key

from quart_wshub.transport.hypercorn.fallback import Fallback
from quart_wshub.transport.hypercorn.intercepted_upgrade import pipe_over, switching_protocols
from quart_wshub.transport.hypercorn.request import PlainRequest, parse_plain_request
from quart_wshub.transport.upgrade import UPGRADE, HubPaths, Upgrade

if TYPE_CHECKING:
    from quart_wshub.transport.hypercorn.served_connection import ServedConnection
    from quart_wshub.transport.hypercorn.shutdown import Worker
    from quart_wshub.transport.pipes import Pipe

__all__ = ["DirectUpgrade", "serve_directly"]

_hubs: WeakSet[HubPaths] = WeakSet()
"""Of every app in this process that has hubs: which one a connection is for, middleware around it may hide."""


def serve_directly(paths: HubPaths) -> None:
    """Serve handshakes for these paths directly. Idempotent."""
    _hubs.add(paths)


class DirectUpgrade(Upgrade):
    """One such handshake."""

    __slots__ = ("_claimed", "_connection", "_fallback", "_request", "_start_time", "scope")

    def __init__(self, connection: ServedConnection, request: PlainRequest) -> None:
        self._connection = connection
        self._request = request
        self._start_time = time()
        self._claimed = False
        self._fallback: Fallback | None = None
        self.scope: Any = None

    @classmethod
    def recognise(cls, connection: ServedConnection, data: bytes) -> DirectUpgrade | None:
        """The handshake that the first bytes of a connection are, if it can be served directly."""
        config = connection.config
        if not _hubs or config.server_names or config.root_path or config.h11_pass_raw_headers:
            return None
        request = parse_plain_request(data)
        if request is None or not any(hub.serves(request.path) for hub in _hubs):
            return None
        return cls(connection, request)

    @property
    def worker(self) -> Worker:
        return self._connection.worker

    async def serve(self) -> None:
        """Run the app to its end."""
        connection = self._connection
        self.scope = self._make_scope()
        try:
            # As in hypercorn's own task for an app.
            await connection.app(self.scope, self._receive, self._send, trio.to_thread.run_sync, trio.from_thread.run)
        except Exception:
            await connection.config.log.exception("Error in ASGI Framework")
        finally:
            await self._send(None)
            if self._fallback is not None:
                await self._fallback.end()

    def _make_scope(self) -> Any:
        connection, request = self._connection, self._request
        return {
            "type": "websocket",
            "asgi": {"spec_version": "2.3", "version": "3.0"},
            "scheme": "wss" if connection.secure else "ws",
            "http_version": "1.1",
            "path": request.path,
            "raw_path": request.raw_path,
            "query_string": request.query,
            "root_path": "",
            "headers": request.headers,
            "client": connection.client,
            "server": connection.local,
            "state": connection.state.copy(),
            "subprotocols": request.subprotocols,
            "extensions": {"websocket.http.response": {}, UPGRADE: self},
        }

    async def accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        if self._fallback is not None:
            return await self._fallback.accept(subprotocol, headers)
        self._claimed = True
        connection, request = self._connection, self._request
        accepted = [(b"sec-websocket-protocol", subprotocol.encode())] if subprotocol is not None else []
        accepted += [
            (b"sec-websocket-accept", accept_key(request.key.decode()).encode()),
            (b"upgrade", b"WebSocket"),
            (b"connection", b"Upgrade"),
            *headers,
        ]
        await connection.context.mark_request()
        response: Any = {"status": 101, "headers": accepted}
        await connection.config.log.access(self.scope, response, time() - self._start_time)
        del self._request, self.scope  # the connection may go on for days
        return pipe_over(connection.stream), b"", switching_protocols(accepted, connection.config)

    async def _receive(self) -> Any:
        """The app's ASGI `receive`."""
        if self._claimed:
            await trio.sleep_forever()
        return await self._fall_back().receive()

    async def _send(self, message: Any) -> None:
        """The app's ASGI `send`; `None` when the app has returned."""
        if not self._claimed:
            await self._fall_back().send(message)

    def _fall_back(self) -> Fallback:
        if self._fallback is None:
            self._fallback = Fallback(self._connection, self.scope, self._start_time)
            self._fallback.start(self._request.head)
        return self._fallback
