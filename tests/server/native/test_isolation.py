"""What would end the whole server upstream ends at most the connection it comes from (hypercorn#225 and others)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import connect
from tests.harness.raw import BINARY, CLOSE, TEXT, frame, raw_client, upgrade
from tests.server.native.http2 import http2_client
from tests.server.native.launching import EVERY_WAY, Way, bystanders, launched, worker_pids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.server import Server

FAILED = "a connection failed and was dropped"


@pytest.fixture(scope="module", params=EVERY_WAY)
def way(request: pytest.FixtureRequest) -> Way:
    way: Way = request.param
    return way


@pytest.fixture(scope="module")
def running(way: Way) -> Iterator[Server]:
    with launched(way, env={"WS_CLOSE_TIMEOUT_SECONDS": "1"}) as running:
        yield running


def a_byte_behind_the_upgrade(server: Server, path: str) -> None:
    with raw_client(server) as client:
        client.send(upgrade(path) + b"x")
        assert client.read_response() == 101


def a_byte_behind_an_upgrade_that_is_refused(server: Server, path: str) -> None:
    with raw_client(server) as client:
        client.send(upgrade(path) + b"x")
        assert client.read_response() >= 400
        client.send(b"x" * 1000)
        assert client.read_to_end() in (True, False)


def a_subprotocol_that_is_not_ascii(server: Server, path: str) -> None:
    with raw_client(server) as client:
        client.send(upgrade(path, {"Sec-WebSocket-Protocol": b"b\xffd"}))
        assert client.read_to_end()


def an_extension_that_is_not_ascii(server: Server, path: str) -> None:
    with raw_client(server) as client:
        client.send(upgrade(path, {"Sec-WebSocket-Extensions": b"b\xffd"}))
        assert client.read_to_end()


def a_message_that_is_too_big_and_one_of_the_other_kind(server: Server, path: str) -> None:
    with raw_client(server, path) as client:
        client.send(frame(TEXT, b"x" * ((1 << 24) + 1)))
        assert client.read_close().close_code == 1009
        client.send_frame(BINARY, b"x")
        client.send_frame(CLOSE, (1009).to_bytes(2, "big"))
        client.read_to_end()


def an_http2_path_that_is_not_ascii(server: Server, path: str) -> None:
    with http2_client(server) as client, pytest.raises(EOFError):
        client.get("/ä".encode())


def an_http2_client_that_answers_the_close(server: Server, path: str) -> None:
    with http2_client(server) as client:
        websocket = client.open_websocket(path)
        code = websocket.read_close().payload
        websocket.send_frame(CLOSE, code)
        websocket.end()
        websocket.wait_until_ended()
        assert client.get("/process")[0] == 200


HUB, PLAIN = "/echo?token=a", "/plain/echo"

TRIGGERS: list[tuple[Callable[[Server, str], None], str, str | None]] = [
    (a_byte_behind_the_upgrade, HUB, None),
    (a_byte_behind_the_upgrade, PLAIN, None),
    (a_byte_behind_an_upgrade_that_is_refused, "/nowhere", None),
    (a_byte_behind_an_upgrade_that_is_refused, "/plain/refuse", None),
    (a_subprotocol_that_is_not_ascii, HUB, FAILED),
    (a_subprotocol_that_is_not_ascii, PLAIN, FAILED),
    (an_extension_that_is_not_ascii, HUB, FAILED),
    (a_message_that_is_too_big_and_one_of_the_other_kind, HUB, "closing with 1009"),
    (a_message_that_is_too_big_and_one_of_the_other_kind, PLAIN, FAILED),
    (an_http2_path_that_is_not_ascii, "", FAILED),
    (an_http2_client_that_answers_the_close, "/leave?token=a", None),
    (an_http2_client_that_answers_the_close, "/plain/close", None),
]
"""What is sent, to which route, and the one line that it makes the server log, if any."""


@pytest.mark.parametrize(("trigger", "path", "line"), TRIGGERS, ids=[f"{f.__name__}-{p}" for f, p, _ in TRIGGERS])
def test_the_server_and_its_other_sockets_live(
    running: Server, way: Way, trigger: Callable[[Server, str], None], path: str, line: str | None
) -> None:
    workers = worker_pids(running, way)
    start = len(running.log())
    with bystanders(running):
        trigger(running, path)
        if line is not None:
            running.wait_for_log(line, since=start)
    with connect(running) as client:
        client.send("served")
        assert client.recv(10) == "served"
    assert worker_pids(running, way) == workers
    log = running.log()[start:]
    assert log.count(FAILED) == (line == FAILED)
    assert "Traceback" not in log
    if line is not None:
        assert log.count(line) == 1
