"""`hello`, pings, pongs, and the timeout of a silent peer."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from tests.harness.clients import closed_with, connect, drain_hello, envelope, recv_json
from tests.harness.raw import BINARY, TEXT, RawClient, raw_client
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

PING: dict[str, Any] = {"type": "ping", "data": {}, "request_id": None}
PONG: dict[str, Any] = {"type": "pong", "data": {}, "request_id": None}

HEARTBEAT, TIMEOUT = 0.9, 1.0
BUSY_TIMEOUT = 0.5


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    settings = {
        "WS_HEARTBEAT_SECONDS": str(HEARTBEAT),
        "WS_HEARTBEAT_TIMEOUT_SECONDS": str(TIMEOUT),
        "WS_CLOSE_TIMEOUT_SECONDS": "0.5",
    }
    with run_server(env=settings) as server:
        yield server


@pytest.fixture(scope="module")
def busy_server() -> Iterator[Server]:
    settings = {
        "WS_HEARTBEAT_SECONDS": "0.05",
        "WS_HEARTBEAT_TIMEOUT_SECONDS": str(BUSY_TIMEOUT),
        "WS_CLOSE_TIMEOUT_SECONDS": "0.5",
    }
    with run_server(env=settings) as server:
        yield server


@pytest.fixture(scope="module")
def quiet_server() -> Iterator[Server]:
    with run_server(env={"WS_HELLO": "false"}) as server:
        yield server


def test_the_first_message_is_hello(server: Server) -> None:
    with connect(server, hello=True) as client:
        hello = recv_json(client)
        UUID(hello["data"].pop("connection_id"))
        facts = {"heartbeat_seconds": HEARTBEAT, "heartbeat_timeout_seconds": TIMEOUT}
        assert hello == {"type": "hello", "data": facts, "request_id": None}


def test_every_connection_has_an_id_of_its_own(server: Server) -> None:
    with connect(server, hello=True) as first, connect(server, hello=True) as second:
        ids = {drain_hello(client)["data"]["connection_id"] for client in (first, second)}
        assert len(ids) == 2


def test_hello_can_be_turned_off(quiet_server: Server) -> None:
    with connect(quiet_server, hello=True) as client:
        client.send("first")
        assert client.recv(10) == "first"


def test_a_ping_comes_after_every_interval(server: Server) -> None:
    with connect(server) as client:
        start = time.monotonic()
        for number in (1, 2):
            assert recv_json(client) == PING
            assert number * HEARTBEAT * 0.9 < time.monotonic() - start < number * HEARTBEAT + 0.5
            client.send(json.dumps(PONG))


def test_a_silent_peer_is_closed_with_4408_on_time_and_not_at_the_next_ping(server: Server) -> None:
    start = time.monotonic()
    with connect(server) as client:
        assert closed_with(client) == (4408, "heartbeat timeout")
        assert TIMEOUT * 0.95 < time.monotonic() - start < 2 * HEARTBEAT


def test_a_peer_that_sends_nothing_after_the_upgrade_is_closed_too(server: Server) -> None:
    with raw_client(server, "/deaf?token=alice") as client:
        client.finish(4408)


def test_a_silent_peer_that_does_not_answer_the_close_is_dropped(server: Server) -> None:
    with raw_client(server, "/echo?token=alice") as client:
        assert client.read_close().close_code == 4408
        client.read_to_end()


def test_pongs_keep_a_connection_alive(busy_server: Server) -> None:
    with connect(busy_server, "/deaf") as client:
        deadline = time.monotonic() + 2 * BUSY_TIMEOUT
        while time.monotonic() < deadline:
            assert recv_json(client) == PING
            client.send(json.dumps(PONG))


@pytest.mark.parametrize(("opcode", "payload"), [(TEXT, b"anything"), (TEXT, b""), (BINARY, b""), (BINARY, b"\xff")])
def test_any_message_resets_the_timeout(busy_server: Server, opcode: int, payload: bytes) -> None:
    with raw_client(busy_server, "/deaf?token=alice") as client:
        _answer_pings_with(client, opcode, payload, seconds=2 * BUSY_TIMEOUT)


def test_pongs_and_pings_never_reach_the_handler(server: Server) -> None:
    with connect(server) as client:
        spellings = ['{"type":"pong"}', '{ "data": {}, "type" : "pong" }', '{"type":"ping"}', '{"type":"\\u0070ong"}']
        for spelling in spellings:
            client.send(spelling)
        client.send("a message")
        assert recv_json(client) == PONG
        assert client.recv(10) == "a message"


def test_what_only_looks_like_a_heartbeat_reaches_the_handler(server: Server) -> None:
    texts = ('{"type":"pong","data":{', '["pong"]', '"pong"', "pong", '{"type":"pongs"}', '{"x":"pong"}')
    with connect(server) as client:
        for message in (*texts, '{"type":["ping"]}', b'{"type":"pong"}'):
            client.send(message)
            assert client.recv(10) == message


def test_a_clients_ping_is_answered_with_its_request_id(server: Server) -> None:
    with connect(server) as client:
        for request_id in (None, "7"):
            client.send(envelope("ping", request_id))
            assert recv_json(client) == {**PONG, "request_id": request_id}


def test_a_clients_ping_is_answered_while_the_handler_is_busy(server: Server) -> None:
    with connect(server, "/deaf") as client:
        for number in range(50):
            client.send(f"unread {number}")
        client.send(envelope("ping", "7"))
        assert recv_json(client)["request_id"] == "7"


def test_a_peer_whose_messages_stay_unread_is_closed_with_1008_not_4408(
    busy_server: Server,
) -> None:
    with raw_client(busy_server, "/deaf?token=alice") as client:
        for _ in range(8):
            client.send_frame(BINARY, b"x" * 60_000)
        closing = client.read_close()
        assert (closing.close_code, closing.payload[2:]) == (1008, b"handler too slow")


def test_protocol_pings_are_answered_too(server: Server) -> None:
    with connect(server, "/deaf") as client:
        assert client.ping("x").wait(5)


def _answer_pings_with(client: RawClient, opcode: int, payload: bytes, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        received = client.read_frame()
        assert received.opcode == TEXT, received
        if b'"ping"' in received.payload:
            client.send_frame(opcode, payload)
