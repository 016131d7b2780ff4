"""The `websockets` client with defaults for these tests, and helpers for it."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as websockets_connect
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from websockets.http11 import Response

    from tests.harness.server import Server

__all__ = ["ClientConnection", "closed_with", "connect", "drain_hello", "envelope", "recv_json", "refused", "subscribe"]

RECV_SECONDS = 10


@contextmanager
def connect(
    server: Server,
    path: str = "/echo",
    *,
    token: str | None = "alice",
    subprotocols: Sequence[str] | None = None,
    headers: dict[str, str] | None = None,
    hello: bool = False,
    close_timeout: float = 5,
    **arguments: str,
) -> Iterator[ClientConnection]:
    """Open a connection; unless `hello` is true, that first message is already read.

    Args:
        token: goes into the query; `None` leaves it out.
        arguments: further query arguments.
    """
    query = urlencode({**({} if token is None else {"token": token}), **arguments})
    with websockets_connect(
        server.ws(f"{path}?{query}" if query else path),
        subprotocols=None if subprotocols is None else [Subprotocol(name) for name in subprotocols],
        additional_headers=headers,
        close_timeout=close_timeout,
        open_timeout=10,
        ping_interval=None,
        proxy=None,
    ) as client:
        if not hello:
            drain_hello(client)
        yield client


def drain_hello(client: ClientConnection) -> dict[str, Any]:
    hello: dict[str, Any] = recv_json(client)
    assert hello["type"] == "hello"
    return hello


def recv_json(client: ClientConnection, *, timeout: float = RECV_SECONDS) -> Any:
    return json.loads(client.recv(timeout))


def envelope(kind: str, request_id: str | None = None, /, **data: object) -> str:
    return json.dumps({"type": kind, "data": data, "request_id": request_id})


def subscribe(client: ClientConnection, topic: str) -> None:
    """Subscribe through the chat handler, and wait for its acknowledgement."""
    client.send(envelope("subscribe", topic=topic))
    assert recv_json(client) == {"subscribed": True}


def closed_with(client: ClientConnection, *, timeout: float = RECV_SECONDS) -> tuple[int, str]:
    """Read until the server closes; returns the code and reason it sent, or `(1006, "")` if it sent none."""
    try:
        while True:
            client.recv(timeout)
    except ConnectionClosed as closed:
        return (1006, "") if closed.rcvd is None else (closed.rcvd.code, closed.rcvd.reason)


def refused(server: Server, path: str = "/echo", **options: Any) -> Response:
    """The HTTP response that refuses a handshake."""
    with ExitStack() as stack, pytest.raises(InvalidStatus) as caught:
        stack.enter_context(connect(server, path, hello=True, **options))
    return caught.value.response
