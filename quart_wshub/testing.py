"""For an app's own tests: a client that talks to a blueprint in memory.

The whole app runs, Quart included, but no socket and no server, so Trio's autojump clock works: a heartbeat timeout of
60 s is tested in milliseconds.

    async def test_silent_clients_are_dropped(autojump_clock):
        async with connect(app, "/ws", token=token) as client:
            assert (await client.closed()).code == CloseCode.HEARTBEAT_TIMEOUT

Under the autojump clock use an async bearer resolver: a sync one runs in a thread, which that clock does not wait for.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import trio
from pydantic_core import to_json

from quart_wshub.auth.credentials import BEARER
from quart_wshub.auth.identity import utc_now
from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE, CloseCode
from quart_wshub.protocol.envelope import BACKGROUND_TYPES, WSEnvelope
from quart_wshub.protocol.errors import WebSocketDisconnect, WSHubError
from quart_wshub.protocol.inbound import loads
from quart_wshub.web.endpoint import WALL_CLOCK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from quart import Quart

    from quart_wshub.auth.identity import WallClock

__all__ = ["HandshakeRejected", "WebSocketClient", "connect"]

Event = dict[str, Any]


@dataclass
class HandshakeRejected(WSHubError):  # noqa: N818 - reads as what happened
    """The handshake was answered with an HTTP response instead of an upgrade."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.body.decode(errors='replace').strip()}"


class WebSocketClient:
    """The client's end of a socket in memory. Made by `connect`."""

    def __init__(self, buffer: float) -> None:
        self.subprotocol: str | None = None
        self._to_app, self._app_receives = trio.open_memory_channel[Event](math.inf)
        self._app_sends, self._from_app = trio.open_memory_channel[str | bytes](buffer)
        self._answered = trio.Event()
        self._rejected: HandshakeRejected | None = None
        self._close: WebSocketDisconnect | None = None
        self._to_app.send_nowait({"type": "websocket.connect"})

    async def send(self, message: str | bytes) -> None:
        """Send a text or a binary message."""
        key = "text" if isinstance(message, str) else "bytes"
        await self._to_app.send({"type": "websocket.receive", key: message})

    async def send_json(self, obj: Any) -> None:
        """Send an object as JSON text."""
        await self.send(to_json(obj).decode())

    async def send_envelope(self, envelope: WSEnvelope) -> None:
        """Send an envelope."""
        await self.send(envelope.encode())

    async def receive(self) -> str | bytes:
        """The next message, `hello` and heartbeats included.

        Raises:
            WebSocketDisconnect: the server has closed the socket.
        """
        try:
            return await self._from_app.receive()
        except trio.EndOfChannel:
            assert self._close is not None
            raise WebSocketDisconnect(self._close.code, self._close.reason) from None

    async def receive_json(self) -> Any:
        """The next message, parsed."""
        message = await self.receive()
        assert isinstance(message, str), f"expected text, got {message!r}"
        return loads(message)

    async def expect(self, envelope_type: str) -> WSEnvelope:
        """The next envelope, which must be of this type; `hello`, heartbeats, `auth.expiring` and `gap` are skipped.

        Raises:
            AssertionError: an envelope of another type came.
            WebSocketDisconnect: the server has closed the socket.
        """
        while True:
            envelope = WSEnvelope.model_validate(await self.receive_json())
            if envelope.type == envelope_type:
                return envelope
            assert envelope.type in BACKGROUND_TYPES, f"expected {envelope_type!r}, got {envelope!r}"

    async def closed(self) -> WebSocketDisconnect:
        """Wait until the server closes the socket, and return its code and reason. Messages before that are dropped."""
        while True:
            try:
                await self.receive()
            except WebSocketDisconnect as close:
                return close

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the socket with a close frame."""
        self._leave(code, reason)
        await trio.lowlevel.checkpoint()

    async def drop(self) -> None:
        """Disconnect without a close frame; the app sees 1006."""
        self._leave(ABNORMAL_CLOSURE, "")
        await trio.lowlevel.checkpoint()

    def _leave(self, code: int, reason: str) -> None:
        self._close = self._close or WebSocketDisconnect(code, reason)
        self._to_app.send_nowait({"type": "websocket.disconnect", "code": int(code), "reason": reason})
        self._app_sends.close()

    async def _asgi_send(self, event: Event) -> None:
        match event["type"]:
            case "websocket.accept":
                self.subprotocol = event.get("subprotocol")
                self._answered.set()
            case "websocket.send":
                text = event.get("text")
                await self._app_sends.send(event["bytes"] if text is None else text)
            case "websocket.close":
                if not self._answered.is_set():
                    self._rejected = HandshakeRejected(403)
                    self._answered.set()
                self._leave(event.get("code", CloseCode.NORMAL), event.get("reason") or "")
            case "websocket.http.response.start":
                headers = {name.decode().lower(): value.decode() for name, value in event["headers"]}
                self._rejected = HandshakeRejected(event["status"], headers)
            case "websocket.http.response.body" if self._rejected is not None:
                self._rejected.body += event.get("body", b"")
                if not event.get("more_body", False):
                    self._answered.set()

    async def _run(self, app: Quart, scope: Event) -> None:
        await app(scope, self._app_receives.receive, self._asgi_send)  # type: ignore[arg-type]
        self._answered.set()


@asynccontextmanager
async def connect(
    app: Quart,
    path: str = "/ws",
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    buffer: float = math.inf,
    wall_clock: WallClock | None = None,
) -> AsyncIterator[WebSocketClient]:
    """Connect to an app's WebSocket route in memory; leaving the block closes the socket and waits for the app.

    Args:
        app: the app; its lifespan is not run (if you need it, put `app.test_app()` around this).
        path: path and query.
        token: sent as the `bearer` subprotocol.
        headers: further request headers.
        subprotocols: offered after `bearer`.
        buffer: messages the network holds for a client that does not receive, before the server's send has to wait.
            With 0 the client is a stuck peer.
        wall_clock: by which the connection's token expires. By default it starts at the present time and then follows
            Trio's clock, so that tokens expire under the autojump clock too.

    Raises:
        HandshakeRejected: the handshake was answered with an HTTP response.
    """
    offered = [*((BEARER, token) if token is not None else ()), *subprotocols]
    client = WebSocketClient(buffer)
    scope = _scope(path, offered, headers or {}, wall_clock or _clock_that_follows_trio())
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client._run, app, scope)
        try:
            await client._answered.wait()
            if client._rejected is not None:
                raise client._rejected
            yield client
        except Exception as error:
            failure = error  # raised below, outside the nursery, which would wrap it in a group
        finally:
            client._leave(CloseCode.NORMAL, "")
    if failure is not None:
        raise failure


def _clock_that_follows_trio() -> WallClock:
    wall, began = utc_now(), trio.current_time()
    return lambda: wall + timedelta(seconds=trio.current_time() - began)


def _scope(path: str, offered: Sequence[str], headers: Mapping[str, str], wall_clock: WallClock) -> Event:
    parts = urlsplit(path)
    raw_headers = [(b"host", b"localhost"), *((k.lower().encode(), v.encode("latin-1")) for k, v in headers.items())]
    if offered:
        raw_headers.append((b"sec-websocket-protocol", ", ".join(offered).encode()))
    return {
        "type": "websocket",
        "asgi": {"spec_version": "2.3", "version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": parts.path,
        "raw_path": quote(parts.path).encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": raw_headers,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
        "subprotocols": list(offered),
        "state": {},
        "extensions": {"websocket.http.response": {}, WALL_CLOCK: wall_clock},
    }
