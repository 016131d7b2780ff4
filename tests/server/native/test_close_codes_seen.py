"""Close codes, both ways: what the peer said reaches the handler, and what the server says reaches the peer."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as websockets_connect

from tests.harness.clients import ClientConnection, closed_with, connect, drain_hello
from tests.harness.http import get
from tests.harness.polling import poll
from tests.harness.raw import BINARY, CLOSE, CONTINUATION, PING, TEXT, RawClient, frame, raw_client
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 65536

TIMES = 40


@pytest.fixture(scope="module")
def noting_server() -> Iterator[Server]:
    # Long enough that no test passes by a timeout of the server's.
    env = {"WS_CLOSE_TIMEOUT_SECONDS": "8", "WS_MAX_MESSAGE_BYTES": str(LIMIT)}
    with run_server("tests.server.native.apps.codes:app", env=env) as server:
        yield server


@pytest.fixture
def server(noting_server: Server) -> Server:
    return noting_server


@pytest.fixture
def key() -> str:
    """Where the handler of this test notes what it saw."""
    return uuid4().hex


def ends(server: Server, key: str, *, count: int = 1) -> list[list[object]]:
    """What the handler, or two tasks of it, had in their `WebSocketDisconnect`."""
    seen: list[list[object]] = poll(
        lambda: get(server, f"/ends/{key}").json()["ends"], until=lambda seen: len(seen) == count
    )
    return seen


class TestTheHandlerSees:
    @pytest.mark.parametrize(
        ("code", "reason"),
        [(1000, ""), (1000, "done"), (1001, "going away"), (3000, "ünï¢ødé"), (4999, "x" * 123)],
    )
    def test_the_code_and_reason_of_the_peer(self, server: Server, key: str, code: int, reason: str) -> None:
        with connect(server, "/note", key=key) as client:
            client.close(code, reason)
        assert ends(server, key) == [[code, reason]]

    def test_them_as_another_client_sends_them(self, server: Server, key: str) -> None:
        with raw_client(server, f"/note?token=alice&key={key}") as client:
            client.send(frame(TEXT, b"first") + frame(CLOSE, (4001).to_bytes(2, "big") + b"raw"))
            assert client.read_close().payload == (4001).to_bytes(2, "big") + b"raw"
            assert client.read_to_end()
        assert ends(server, key) == [[4001, "raw"]]

    def test_1005_where_the_peer_gave_no_code(self, server: Server, key: str) -> None:
        with raw_client(server, f"/note?token=alice&key={key}") as client:
            client.send_frame(CLOSE)
            assert client.read_close().payload == b""
            assert client.read_to_end()
        assert ends(server, key) == [[1005, ""]]

    @pytest.mark.parametrize("how", ["close", "reset", "half-close", "in a frame", "in a close frame"])
    def test_1006_where_the_peer_vanished(self, server: Server, key: str, how: str) -> None:
        with raw_client(server, f"/note?token=alice&key={key}") as client:
            client.read_frame()
            vanish(client, how)
            assert ends(server, key) == [[1006, ""]]

    def test_the_same_code_in_sending_as_in_receiving(self, server: Server, key: str) -> None:
        with raw_client(server, f"/talk?token=alice&key={key}") as client:
            client.send_frame(CLOSE, (4002).to_bytes(2, "big") + b"enough")
            client.read_to_end()
        assert ends(server, key, count=2) == [[4002, "enough"]] * 2


def vanish(client: RawClient, how: str) -> None:
    match how:
        case "close":
            client.close()
        case "reset":
            client.reset()
        case "half-close":
            client.socket.shutdown(socket.SHUT_WR)
        case "in a frame":
            client.send(frame(TEXT, b"x" * 1000)[:500])
            client.socket.shutdown(socket.SHUT_WR)
        case _:
            client.send(frame(CLOSE, (1000).to_bytes(2, "big"))[:-1])
            client.socket.shutdown(socket.SHUT_WR)


class TestCloseFramesOfThePeer:
    @pytest.mark.parametrize(
        "code", [*range(1000, 1004), *range(1007, 1015), 3000, 3001, 3999, 4000, 4401, 4429, 4998, 4999]
    )
    def test_with_a_code_that_may_be_sent_are_echoed(self, server: Server, key: str, code: int) -> None:
        with raw_client(server, f"/note?token=alice&key={key}") as client:
            client.send_frame(CLOSE, code.to_bytes(2, "big") + "why ünï".encode())
            assert client.read_close().payload == code.to_bytes(2, "big") + "why ünï".encode()
            assert client.read_to_end()
        assert ends(server, key) == [[code, "why ünï"]]

    @pytest.mark.parametrize(
        "code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 5001, 65535]
    )
    def test_with_a_code_that_may_not_be_sent_are_1002(self, server: Server, code: int) -> None:
        refused_with(1002, server, frame(CLOSE, code.to_bytes(2, "big")))

    @pytest.mark.parametrize(
        ("payload", "code"),
        [
            (b"\x03", 1002),
            ((1000).to_bytes(2, "big") + b"x" * 124, 1002),
            ((1000).to_bytes(2, "big") + b"\xff", 1007),
            ((1000).to_bytes(2, "big") + "ä".encode()[:1], 1007),
        ],
        ids=["one byte", "126 bytes", "a reason that is not UTF-8", "a reason that breaks off"],
    )
    def test_that_are_malformed_are_refused(self, server: Server, payload: bytes, code: int) -> None:
        refused_with(code, server, frame(CLOSE, payload))

    def test_in_pieces_are_1002(self, server: Server) -> None:
        refused_with(1002, server, frame(CLOSE, (1000).to_bytes(2, "big"), fin=False))

    def test_end_it_whatever_comes_behind_them(self, server: Server, key: str) -> None:
        with raw_client(server, f"/note?token=alice&key={key}") as client:
            client.read_frame()
            client.send(frame(CLOSE, (4003).to_bytes(2, "big")) + frame(TEXT, b"too late") + b"\xff" * 1000)
            assert client.read_frame() == (CLOSE, (4003).to_bytes(2, "big"))
            client.read_to_end()
        assert ends(server, key) == [[4003, ""]]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x01x", 1002),
        (frame(0x3, b"x"), 1002),
        (frame(0xB, b"x"), 1002),
        (frame(TEXT | 0x10, b"x"), 1002),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(TEXT, b"\xc3"), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"x"), 1007),
        (frame(BINARY, b"x" * (LIMIT + 1)), 1009),
        (frame(BINARY, b"x" * LIMIT, fin=False) + frame(CONTINUATION, b"x"), 1009),
        (b"\x82\xff" + (1 << 62).to_bytes(8, "big") + b"mask", 1009),
    ],
)
def test_what_is_wrong_has_its_code_on_the_wire_and_then_the_stream_ends(
    server: Server, sent: bytes, code: int
) -> None:
    refused_with(code, server, sent)


def refused_with(code: int, server: Server, sent: bytes) -> None:
    """The close frame is the next thing, nothing follows it, and the client has to do nothing for that."""
    with raw_client(server, "/note?token=alice&key=refused", timeout=4) as client:
        client.read_frame()
        client.send(sent)
        assert client.read_frame().close_code == code
        with pytest.raises(EOFError):
            client.read_frame()


def send_forever(client: ClientConnection) -> None:
    while True:
        client.send(b"x" * 20_000)


class TestWhileMuchIsUnderWay:
    """A reset would drop what the client has not read yet, the close frame with it; so it must never come."""

    def test_the_servers_code_reaches_a_client_that_still_sends(self, server: Server) -> None:
        seen = []
        for number in range(TIMES):
            with raw_client(server, f"/command?token=alice&key=in-flight-{number}") as client:
                client.send_frame(TEXT, b'{"close": [%d, "enough"]}' % (4000 + number))
                for _ in range(50):
                    client.send_frame(BINARY, b"x" * 20_000)
                seen.append(client.read_close().payload)
                client.send_frame(CLOSE, (4000 + number).to_bytes(2, "big"))
                assert client.read_to_end()
        assert seen == [(4000 + number).to_bytes(2, "big") + b"enough" for number in range(TIMES)]

    def test_and_one_that_finds_out_only_by_sending(self, server: Server) -> None:
        seen = []
        for number in range(TIMES):
            url = server.ws(f"/command?token=alice&key=sending-{number}")
            with websockets_connect(url, ping_interval=None, proxy=None) as client:
                drain_hello(client)
                client.send(json.dumps({"close": [4000 + number]}))
                with pytest.raises(ConnectionClosed) as caught:
                    send_forever(client)
                assert caught.value.rcvd is not None
                seen.append(caught.value.rcvd.code)
                assert closed_with(client)[0] == 4000 + number
        assert seen == [4000 + number for number in range(TIMES)]

    def test_the_clients_code_reaches_a_handler_that_still_sends(self, server: Server) -> None:
        for number in range(TIMES):
            code = (4000 + number).to_bytes(2, "big")
            with raw_client(server, f"/talk?token=alice&key=talk-{number}") as client:
                for _ in range(10):
                    client.read_frame()
                client.send(frame(BINARY, b"x" * 20_000) * 50 + frame(CLOSE, code + b"mine"))
                assert client.read_close().payload == code + b"mine"
                assert client.read_to_end()
            assert ends(server, f"talk-{number}", count=2) == [[4000 + number, "mine"]] * 2

    def test_the_clients_code_reaches_a_handler_even_if_it_is_gone_at_once(self, server: Server) -> None:
        for number in range(TIMES):
            with raw_client(server, f"/note?token=alice&key=gone-{number}") as client:
                client.read_frame()
                client.send(frame(BINARY, b"x" * 20_000) * 50 + frame(CLOSE, (4000 + number).to_bytes(2, "big")))
            assert ends(server, f"gone-{number}") == [[4000 + number, ""]]

    def test_and_one_that_fails_to_send_to_it_before_that(self, server: Server) -> None:
        """What the client leaves unread makes its end a reset; what it said before that is still there to be read."""
        for number in range(TIMES):
            with raw_client(server, f"/talk?token=alice&key=reset-{number}") as client:
                client.read_frame()
                client.send(frame(BINARY, b"x" * 1000) * 5 + frame(CLOSE, (4000 + number).to_bytes(2, "big")))
            assert [4000 + number, ""] in ends(server, f"reset-{number}", count=2)
