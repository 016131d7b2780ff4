"""What only a broken or hostile client sends: a clear code, one log line at most, no other client disturbed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import closed_with, connect, recv_json, refused
from tests.harness.footprint import introspect
from tests.harness.raw import BINARY, CLOSE, CONTINUATION, PING, TEXT, RawClient, frame, raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.harness.server import Server


pytestmark = pytest.mark.both_transports

BIG = "x" * 10_240

QUERIES = ("token=bad.%FF%00%0A", "token=bad.%", "token=bad.%zz", "token[]=x", "token", "&&=&")
AUTHORIZATIONS = (b"Bearer bad.\xff\xfe", b"Bearer", b"Bearer bad.\xc3\xa4", b"bearer bad.a b", b"Basic \xff")
SUBPROTOCOLS = ("bearer", "bearer,", "bearer, ,", ",,", "bearer,bad", "BEARER ,  bad")

BAD_TOKENS: list[tuple[str, Mapping[str, str | bytes]]] = [
    *((f"/echo?{query}", {}) for query in QUERIES),
    *(("/echo", {"Authorization": value}) for value in AUTHORIZATIONS),
    *(("/echo", {"Sec-WebSocket-Protocol": offered}) for offered in SUBPROTOCOLS),
]

BAD_FRAMES = {
    "bad UTF-8": (frame(TEXT, b"\xff\xff"), 1007),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "no mask": (b"\x81\x01x", 1002),
    "an unknown opcode": (frame(0x3, b"x"), 1002),
    "a ping that is too long": (frame(PING, b"x" * 126), 1002),
    "a bad close code": (frame(CLOSE, (5).to_bytes(2, "big")), 1002),
}


@contextmanager
def undisturbed(server: Server) -> Iterator[None]:
    """Check that a well-behaved client notices nothing of the block, and that it logs one line at most."""
    with connect(server, "/echo", token="bystander") as client:
        start = len(server.log())
        yield
        client.send("undisturbed")
        assert client.recv(5) == "undisturbed"
        assert server.log().count("\n", start) <= 1, server.log()[start:]
        assert introspect(server)["connections"] == 1


@contextmanager
def attacker(server: Server) -> Iterator[RawClient]:
    """An open connection whose `hello` is read, beside a well-behaved one."""
    with undisturbed(server), raw_client(server, "/echo?token=alice") as client:
        client.read_frame()
        yield client


def test_a_token_of_10_kb_reaches_the_resolver(server: Server) -> None:
    with undisturbed(server), connect(server, "/show", token=f"alice.{BIG}") as client:
        assert recv_json(client)["user_id"] == "alice"
    headers = {"Authorization": f"Bearer alice.{BIG}"}
    with undisturbed(server), connect(server, "/show", token=None, headers=headers) as client:
        assert recv_json(client)["user_id"] == "alice"
    subprotocols = ["bearer", f"bad.{BIG}"]
    with undisturbed(server), connect(server, token=None, subprotocols=subprotocols, hello=True) as client:
        assert closed_with(client)[0] == 4401


def test_a_malformed_token_is_4401(server: Server) -> None:
    for path, headers in BAD_TOKENS:
        with undisturbed(server), raw_client(server) as client:
            assert client.open(path, headers) == 101
            client.finish(4401)


def test_odd_bytes_in_other_headers_do_no_harm(server: Server) -> None:
    for name in ("Origin", "Referer", "Cookie", "User-Agent", "X-Odd"):
        with undisturbed(server), raw_client(server) as client:
            assert client.open("/show?token=alice", {name: b"\xff\xfe\x80odd"}) == 101
            client.read_frame()
            assert b'"user_id":"alice"' in client.read_frame().payload


def test_a_request_that_is_no_upgrade_is_refused(server: Server) -> None:
    for name, value in {"Sec-WebSocket-Version": "12", "Sec-WebSocket-Key": "", "Upgrade": "h2c"}.items():
        with undisturbed(server), raw_client(server) as client:
            assert client.open("/echo?token=alice", {name: value}) in {101, 400, 404, 426}


def test_an_unknown_path_is_404(server: Server) -> None:
    for path in ("/ECHO", "/echo/", "/echo%00", "/echo/../echo", "/%65cho/x", "/ws/" + "x" * 5000):
        with undisturbed(server):
            assert refused(server, path).status_code in {308, 404}


@pytest.mark.parametrize(("data", "code"), BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_a_bad_frame_ends_the_connection(server: Server, data: bytes, code: int) -> None:
    with attacker(server) as client:
        client.send(data)
        try:
            assert client.read_close().close_code == code
        except (EOFError, ConnectionResetError):
            assert not server.native, "only hypercorn ends connections without a code"
        else:
            client.read_to_end()


def test_a_frame_that_announces_more_than_it_brings_does_no_harm(server: Server) -> None:
    with attacker(server) as client:
        client.send(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00some")


def test_a_close_frame_without_a_code_ends_the_connection(server: Server) -> None:
    with attacker(server) as client:
        client.send_frame(CLOSE)
        assert client.read_to_end()


def test_a_frame_that_arrives_byte_by_byte_is_put_together(server: Server) -> None:
    with attacker(server) as client:
        for byte in b"\x82\x83\x00\x00\x00\x00abc":
            client.send(bytes([byte]))
        assert client.read_frame() == (BINARY, b"abc")
