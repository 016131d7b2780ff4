"""WebSockets over TLS: all that works over a plain socket, through Trio's TLS stream."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect as websockets_connect

from tests.harness.clients import ClientConnection, closed_with, drain_hello, envelope, recv_json, subscribe
from tests.harness.footprint import introspect, leaves_nothing_behind
from tests.harness.http import get, post
from tests.harness.polling import poll
from tests.harness.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, frame, raw_client
from tests.harness.server import Server, run_server
from tests.server.native.certificates import make_certificate
from tests.server.native.launching import APP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 3_000_000


@dataclass(frozen=True)
class Secure:
    """The port of a server where it speaks TLS, and how to trust it."""

    at: Server
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def both_ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Secure]]:
    """One server with a plain port, which the harness asks what is left, and a port with TLS."""
    directory: Path = tmp_path_factory.mktemp("tls")
    certificate = make_certificate()
    pem, key = certificate.write_to(directory)
    args = ("--certfile", str(pem), "--keyfile", str(key), "--insecure-bind", "127.0.0.1:0")
    env = {"WS_CLOSE_TIMEOUT_SECONDS": "1", "WS_MAX_MESSAGE_BYTES": str(LIMIT)}
    with run_server(APP, args=args, env=env) as server:
        secure = copy(server)
        server.port, secure.port = _port_of(server, "http"), _port_of(server, "https")
        yield server, Secure(secure, ssl.create_default_context(cadata=certificate.pem))


def _port_of(server: Server, scheme: str) -> int:
    pattern = re.compile(rf"on {scheme}://127\.0\.0\.1:(\d+)")
    found = poll(lambda: pattern.search(server.log()), what=f"the server listens for {scheme}")
    assert found is not None
    return int(found[1])


@pytest.fixture
def server(both_ports: tuple[Server, Secure]) -> Server:
    return both_ports[0]


@pytest.fixture
def secure(both_ports: tuple[Server, Secure], server: Server) -> Secure:
    return both_ports[1]


@contextmanager
def connect(secure: Secure, path: str = "/echo?token=alice") -> Iterator[ClientConnection]:
    url = f"wss://127.0.0.1:{secure.at.port}{path}"
    with websockets_connect(url, ssl=secure.context, max_size=None, ping_interval=None, proxy=None) as client:
        drain_hello(client)
        yield client


@contextmanager
def secure_raw_client(secure: Secure, path: str, *, receive_buffer: int | None = None) -> Iterator[RawClient]:
    with raw_client(secure.at, receive_buffer=receive_buffer) as client:
        client.socket = secure.context.wrap_socket(client.socket, server_hostname="localhost")
        assert client.open(path) == 101
        assert b"hello" in client.read_frame().payload
        yield client


@pytest.mark.parametrize("message", ["text", "ünï¢ødé", b"binary", "", b"", "x" * 125, "x" * 126, b"x" * 65536])
def test_messages_are_echoed(secure: Secure, message: str | bytes) -> None:
    with connect(secure) as client:
        client.send(message)
        assert client.recv(10) == message


def test_many_messages_in_one_piece_are_echoed_in_order(secure: Secure) -> None:
    with secure_raw_client(secure, "/echo?token=alice") as client:
        client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(2000)))
        assert [client.read_frame().payload for _ in range(2000)] == [b"%d" % number for number in range(2000)]


def test_a_message_in_fragments_and_a_ping_between_them(secure: Secure) -> None:
    with secure_raw_client(secure, "/echo?token=alice") as client:
        client.send_frame(TEXT, b"two ", fin=False)
        client.send_frame(PING, b"now")
        assert client.read_frame() == (PONG, b"now")
        client.send_frame(CONTINUATION, b"halves")
        assert client.read_frame() == (TEXT, b"two halves")


def test_a_message_as_big_as_is_taken_goes_in_and_out(secure: Secure) -> None:
    message = bytes(range(256)) * (LIMIT // 256) + b"x" * (LIMIT % 256)
    with connect(secure) as client:
        client.send(message)
        assert client.recv(10) == message


def test_big_messages_go_out_whole(secure: Secure) -> None:
    with connect(secure, "/burst?token=alice&size=8000000&count=3") as client:
        client.send("now")
        for _ in range(3):
            assert client.recv(10) == "x" * 8_000_000


def test_a_fan_out_reaches_every_socket_in_order_plain_or_not(server: Server, secure: Secure) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(secure, f"/ws?token=user{number}")) for number in range(10)]
        plain = websockets_connect(server.ws("/ws?token=plain"), ping_interval=None, proxy=None)
        clients.append(stack.enter_context(plain))
        drain_hello(clients[-1])
        for client in clients:
            subscribe(client, "news")
        post(server, "/hub/sequence", {"publisher": "p", "topic": "news", "count": 200})
        for client in clients:
            assert [recv_json(client)["data"]["number"] for _ in range(200)] == list(range(200))


class TestCloses:
    def test_of_the_server_arrive_with_code_and_reason(self, secure: Secure) -> None:
        with connect(secure, "/command?token=alice&key=tls") as client:
            client.send('{"close": [4321, "enough"]}')
            assert closed_with(client) == (4321, "enough")

    def test_of_the_client_reach_the_handler_and_are_answered(self, server: Server, secure: Secure) -> None:
        with connect(secure, "/record?token=alice&key=tls-client") as client:
            client.close(4567, "bye")
            assert client.protocol.close_rcvd is not None
            assert client.protocol.close_rcvd.code == 4567
        records = poll(lambda: get(server, "/records").json().get("tls-client", []), until=lambda it: len(it) > 2)
        assert records == ["disconnect 4567", "send raised 4567", "cleaned up"]

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"\x81\x01x", 1002),
            (frame(CONTINUATION, b"x"), 1002),
            (frame(TEXT, b"\xff"), 1007),
            (frame(BINARY, b"x" * (LIMIT + 1)), 1009),
        ],
        ids=["unmasked", "continues nothing", "not UTF-8", "too big"],
    )
    def test_for_what_is_wrong_are_on_the_wire_and_then_the_stream_ends(
        self, secure: Secure, data: bytes, code: int
    ) -> None:
        with secure_raw_client(secure, "/echo?token=alice") as client:
            client.send(data)
            assert client.read_close().close_code == code
            client.send_frame(CLOSE, code.to_bytes(2, "big"))
            # By a reset, after WS_CLOSE_TIMEOUT_SECONDS, which some versions of Python report as an end in order: the
            # answer to the close frame cannot be told from the rest, and TLS has no half-close to ask for an end with.
            client.read_to_end()

    def test_come_in_order_though_the_client_still_sends(self, secure: Secure) -> None:
        with secure_raw_client(secure, "/command?token=alice&key=tls-in-flight") as client:
            client.send_frame(TEXT, b'{"close": [4000, "enough"]}')
            client.send(frame(TEXT, b"x" * 10_000) * 200)
            assert client.read_close().close_code == 4000
            client.send_frame(CLOSE, (4000).to_bytes(2, "big"))
            assert client.read_to_end()


class TestPeers:
    def test_that_do_not_read_are_dropped_when_their_queue_is_full(self, server: Server, secure: Secure) -> None:
        note = {"envelope": {"type": "note", "data": {"text": "x" * 10_000}}, "topic": "news"}
        before = introspect(server)["closed"].get("1013", 0)
        with ExitStack() as stack:
            with leaves_nothing_behind(server):
                stuck = stack.enter_context(secure_raw_client(secure, "/ws?token=tardy", receive_buffer=4096))
                stuck.send_frame(TEXT, envelope("subscribe", topic="news").encode())
                assert b"true" in stuck.read_frame().payload
                while post(server, "/hub/broadcast", {**note, "times": 10}, timeout=1):
                    pass
                assert introspect(server)["connections"] == 0
            # Here it still has its socket, and has read nothing.
            assert introspect(server)["closed"]["1013"] == before + 1
            with ssl_below(stuck) as plain:
                assert not plain.read_to_end(), "not a reset: the kernel kept what the peer had not taken"

    @pytest.mark.parametrize("how", ["close", "reset"])
    def test_that_vanish_leave_with_1006(self, server: Server, secure: Secure, how: str) -> None:
        with secure_raw_client(secure, f"/record?token=alice&key=tls-{how}") as client:
            getattr(client, how)()
        records = poll(lambda: get(server, "/records").json().get(f"tls-{how}", []), until=lambda it: len(it) > 2)
        assert records[0] == "disconnect 1006"

    def test_that_do_not_speak_tls_are_dropped_and_disturb_nobody(self, server: Server, secure: Secure) -> None:
        with connect(secure) as client:
            for nonsense in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 70_000):
                with raw_client(secure.at) as other:
                    other.send(nonsense)
                    other.read_to_end()
            client.send("undisturbed")
            assert client.recv(10) == "undisturbed"

    def test_that_break_off_inside_a_tls_record_end_only_themselves(self, server: Server, secure: Secure) -> None:
        with connect(secure) as client, secure_raw_client(secure, "/echo?token=bob") as other:
            with ssl_below(other) as plain:
                plain.send(b"\x17\x03\x03\x40\x00half a record")
            client.send("undisturbed")
            assert client.recv(10) == "undisturbed"
            poll(lambda: introspect(server)["connections"], until=lambda count: count == 1)


@contextmanager
def ssl_below(client: RawClient) -> Iterator[RawClient]:
    """The TCP connection below TLS, on which anything can be sent; closed at the end."""
    plain = copy(client)
    plain.socket = socket.socket(fileno=client.socket.detach())
    try:
        yield plain
    finally:
        plain.close()
