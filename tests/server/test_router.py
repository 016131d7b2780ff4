"""A `MessageRouter` on a real server: how connections end. Its answers are in the wire vectors."""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.clients import closed_with, connect
from tests.harness.http import get
from tests.harness.polling import poll
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = "tests.server.apps.router:app"
SETTINGS = {"WS_CLOSE_TIMEOUT_SECONDS": "1", "WS_MAX_CONNECTIONS_PER_USER": "1"}


@pytest.fixture(scope="module")
def server(transport: str) -> Iterator[Server]:
    with run_server(APP, env={**SETTINGS, "WS_TRANSPORT": transport}) as server:
        yield server


def notes_of(server: Server, user: str, *, count: int) -> list[Any]:
    """What was noted for a user, once there is so much of it."""

    def read() -> list[Any]:
        found: list[Any] = get(server, "/notes").json().get(user, [])
        return found

    return poll(read, until=lambda found: len(found) >= count, timeout=5, what=f"{count} notes")


@pytest.mark.both_transports
def test_what_was_sent_before_the_client_left_is_handled_and_then_the_hook_runs(server: Server) -> None:
    texts = [str(number) for number in range(20)]
    with connect(server, token="leaver") as client:
        for text in texts:
            client.send(json.dumps({"type": "note", "data": {"text": text}, "request_id": text}))
        client.close(4123)
    *noted, left = notes_of(server, "leaver", count=21)
    assert noted == texts
    assert not left["online"]
    if server.native:
        assert left["left"] == 4123


@pytest.mark.both_transports
def test_a_client_that_resets_the_connection_is_1006(server: Server) -> None:
    with connect(server, token="vanisher") as client:
        client.send('{"type": "wait"}')
        client.send('{"type": "note", "data": {"text": "before"}, "request_id": "1"}')
        client.recv(10)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.shutdown(socket.SHUT_RDWR)
        client.socket.close()
        assert notes_of(server, "vanisher", count=3) == ["before", "cancelled", {"left": 1006, "online": False}]


def test_the_user_of_an_evicted_connection_is_still_online(server: Server) -> None:
    with connect(server, token="twice") as first:
        first.send('{"type": "wait"}')
        first.send('{"type": "note", "data": {"text": "before"}, "request_id": "1"}')
        first.recv(10)
        with connect(server, token="twice"):
            assert closed_with(first)[0] == 4429
            assert notes_of(server, "twice", count=3) == ["before", "cancelled", {"left": 4429, "online": True}]


def test_a_server_that_shuts_down_runs_the_hooks() -> None:
    with run_server(APP, env=SETTINGS) as server, connect(server, token="last") as client:
        client.send('{"type": "wait"}')
        client.send('{"type": "note", "data": {"text": "before"}, "request_id": "1"}')
        client.recv(10)
        server.stop()
        assert closed_with(client)[0] == 1012
        assert "on_disconnect ran to its end for last" in server.log()
