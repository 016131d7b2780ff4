"""Middleware that serves plain routes at the paths of hubs, and the other way round: every guess by path is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import closed_with, connect, recv_json, refused
from tests.harness.raw import TEXT, frame, raw_client, upgrade
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def rewriting_server() -> Iterator[Server]:
    env = {"MIDDLEWARE": "rewrite", "WS_CLOSE_TIMEOUT_SECONDS": "1"}
    with run_server("tests.server.apps.behind_middleware:app", env=env) as server:
        with connect(server, "/below/echo"):  # starts what all connections share
            pass
        yield server


@pytest.fixture
def server(rewriting_server: Server) -> Server:
    return rewriting_server


def test_a_plain_route_serves(server: Server) -> None:
    with connect(server, "/echo", hello=True) as client:
        for message in ("text", b"binary", "x" * 60_000):
            client.send(message)
            assert client.recv(10) == message


def test_a_plain_route_has_what_was_sent_ahead(server: Server) -> None:
    with raw_client(server) as client:
        client.send(upgrade("/echo"))
        client.send(frame(TEXT, b"one"))
        assert client.read_response() == 101
        assert client.read_frame() == (TEXT, b"one")


@pytest.mark.parametrize("path", ["/plain/echo", "/below/echo"])
def test_a_hub_serves(server: Server, path: str) -> None:
    with connect(server, path) as client:
        client.send("hello")
        assert client.recv(10) == "hello"
        client.close(4000)


def test_a_hub_with_variable_parts_in_its_path_serves(server: Server) -> None:
    with connect(server, "/below/rooms/red/show") as client:
        assert recv_json(client)["path_params"] == {"room": "red"}
    with connect(server, "/below/echo", token="bad", hello=True) as client:
        assert closed_with(client)[0] == 4401


def test_what_is_not_there_is_a_404(server: Server) -> None:
    assert refused(server, "/show").status_code == 404
