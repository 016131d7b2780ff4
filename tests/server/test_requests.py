"""Requests to clients over a real socket, from a route and from the connection's own handler."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.clients import ClientConnection, connect, drain_hello, envelope, recv_json
from tests.harness.http import post

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.server import Server

NOBODY = "00000000-0000-4000-8000-000000000000"


class Desk:
    """A client, and a route that sends it requests."""

    def __init__(self, server: Server, client: ClientConnection, pool: ThreadPoolExecutor) -> None:
        self.client = client
        self._server = server
        self._pool = pool
        self._connection_id = drain_hello(client)["data"]["connection_id"]

    def ask(self, *, timeout: float = 10, **data: Any) -> Any:
        arguments = {
            "connection_id": self._connection_id,
            "envelope": {"type": "where", "data": data},
            "timeout": timeout,
        }
        return self._pool.submit(post, self._server, "/hub/request", arguments)


@pytest.fixture
def desk(server: Server) -> Iterator[Desk]:
    with ThreadPoolExecutor(8) as pool, connect(server, "/echo", hello=True) as client:
        yield Desk(server, client, pool)


def test_a_route_asks_a_client_and_gets_its_reply(desk: Desk) -> None:
    outcome = desk.ask(unit="m")
    asked = recv_json(desk.client)
    assert (asked["type"], asked["data"]) == ("where", {"unit": "m"})
    desk.client.send(envelope("where.reply", asked["request_id"], x=1))
    assert outcome.result(10) == {"type": "where.reply", "data": {"x": 1}, "request_id": asked["request_id"]}

    desk.client.send("the handler echoes this and has seen nothing else")
    assert "nothing else" in str(desk.client.recv(5))


def test_several_requests_may_wait_at_once(desk: Desk) -> None:
    outcomes = [desk.ask(number=number) for number in range(8)]
    for asked in [recv_json(desk.client) for _ in outcomes][::-1]:
        desk.client.send(envelope("where.reply", asked["request_id"], number=asked["data"]["number"]))
    assert [outcome.result(10)["data"]["number"] for outcome in outcomes] == list(range(8))


def test_a_clients_error_is_raised_to_the_caller(desk: Desk) -> None:
    outcome = desk.ask()
    desk.client.send(envelope("error", recv_json(desk.client)["request_id"], code="denied", message="no"))
    assert outcome.result(10) == "RequestFailedError: the client answered with an error: 'denied': 'no'"


def test_a_client_that_disconnects_ends_the_wait(desk: Desk) -> None:
    outcome = desk.ask()
    recv_json(desk.client)
    desk.client.close(4000, "bye")
    assert outcome.result(10).startswith("WebSocketDisconnect: closed with 4000 (bye)")


def test_a_late_reply_is_dropped(desk: Desk) -> None:
    outcome = desk.ask(timeout=0.1)
    asked = recv_json(desk.client)
    assert outcome.result(10) == "RequestTimeoutError: no reply to 'where' within 0.1 s"
    desk.client.send(envelope("where.reply", asked["request_id"]))
    desk.client.send("next")
    assert desk.client.recv(5) == "next"


def test_an_unknown_connection_cannot_be_asked(server: Server) -> None:
    arguments = {"connection_id": NOBODY, "envelope": {"type": "where"}, "timeout": 1}
    assert post(server, "/hub/request", arguments) == f"UnknownConnectionError: there is no connection {NOBODY}"


def test_a_handler_sends_a_request_to_its_own_client(server: Server) -> None:
    with connect(server, "/curious", token="ann:60") as client:
        for text in ("one", "two"):
            client.send(text)
            asked = recv_json(client)
            assert (asked["type"], asked["data"]) == ("why", {"message": text})
            client.send(json.dumps({"type": "why.reply", "data": {"because": text}, "request_id": asked["request_id"]}))
            assert recv_json(client) == {"you said": {"because": text}}
