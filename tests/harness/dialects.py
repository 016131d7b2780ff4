"""One async interface to two client libraries, for tests that run with both."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import trio
import trio_websocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as websockets_connect
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["DIALECTS", "Dialect", "DialectClient"]

RECEIVE_SECONDS = 10


class DialectClient(Protocol):
    """An open socket."""

    @property
    def subprotocol(self) -> str | None: ...

    async def send(self, message: str | bytes) -> None: ...

    async def receive(self) -> str | bytes: ...

    async def wait_closed(self) -> tuple[int, str]:
        """Read until the server closes; returns the code and reason it sent."""
        ...


class Dialect(Protocol):
    """A client library."""

    def connect(self, url: str, subprotocols: Sequence[str] = ()) -> AbstractAsyncContextManager[DialectClient]: ...


class _WebsocketsClient:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    async def send(self, message: str | bytes) -> None:
        await trio.to_thread.run_sync(self._connection.send, message)

    async def receive(self) -> str | bytes:
        return await trio.to_thread.run_sync(self._connection.recv, RECEIVE_SECONDS)

    async def wait_closed(self) -> tuple[int, str]:
        try:
            while True:
                await self.receive()
        except ConnectionClosed as closed:
            return (1006, "") if closed.rcvd is None else (closed.rcvd.code, closed.rcvd.reason)


class _Websockets:
    def __str__(self) -> str:
        return "websockets"

    @asynccontextmanager
    async def connect(self, url: str, subprotocols: Sequence[str] = ()) -> AsyncIterator[DialectClient]:
        with websockets_connect(
            url, subprotocols=[Subprotocol(name) for name in subprotocols] or None, ping_interval=None, proxy=None
        ) as connection:
            yield _WebsocketsClient(connection)


class _TrioClient:
    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    async def send(self, message: str | bytes) -> None:
        await self._connection.send_message(message)

    async def receive(self) -> str | bytes:
        with trio.fail_after(RECEIVE_SECONDS):
            message: str | bytes = await self._connection.get_message()
            return message

    async def wait_closed(self) -> tuple[int, str]:
        try:
            while True:
                await self.receive()
        except trio_websocket.ConnectionClosed as closed:
            return (1006, "") if closed.reason is None else (closed.reason.code, closed.reason.reason or "")


class _TrioWebsocket:
    def __str__(self) -> str:
        return "trio-websocket"

    @asynccontextmanager
    async def connect(self, url: str, subprotocols: Sequence[str] = ()) -> AsyncIterator[DialectClient]:
        # Not `open_websocket_url`: if the server closes, it leaves the socket to the garbage collector.
        where = urlsplit(url)
        async with (
            await trio.open_tcp_stream(where.hostname or "", where.port or 80) as stream,
            trio.open_nursery() as nursery,
        ):
            connection = await trio_websocket.wrap_client_stream(
                nursery, stream, where.netloc, f"{where.path}?{where.query}", subprotocols=list(subprotocols)
            )
            yield _TrioClient(connection)
            await connection.aclose()


DIALECTS: tuple[Dialect, ...] = (_Websockets(), _TrioWebsocket())
