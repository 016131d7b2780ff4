"""What only a broken or hostile client sends: a clear code, one log line at most, nobody else disturbed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import ClientConnection, closed_with, connect, recv_json, refused
from tests.harness.footprint import introspect
from tests.harness.raw import BINARY, CLOSE, CONTINUATION, PING, TEXT, RawClient, raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.server import Server


pytestmark = pytest.mark.both_transports


@pytest.fixture(autouse=True)
def bystander(server: Server) -> Iterator[ClientConnection]:
    """A well-behaved client that must not notice anything; and what is logged is one line at most."""
    with connect(server, "/echo", token="bystander") as client:
        start = len(server.log())
        yield client
        client.send("undisturbed")
        assert client.recv(5) == "undisturbed"
        assert server.log().count("\n", start) <= 1, server.log()[start:]
        assert introspect(server)["connections"] == 1


class TestTokens:
    BIG = "x" * 10_240

    def test_of_10_kb_in_the_query_reaches_the_resolver(self, server: Server) -> None:
        with connect(server, "/show", token=f"alice.{self.BIG}") as client:
            assert recv_json(client)["user_id"] == "alice"

    def test_of_10_kb_in_a_header_reaches_the_resolver(self, server: Server) -> None:
        with connect(server, "/show", token=None, headers={"Authorization": f"Bearer alice.{self.BIG}"}) as client:
            assert recv_json(client)["user_id"] == "alice"

    def test_of_10_kb_that_is_bad_is_4401(self, server: Server) -> None:
        with connect(server, token=None, subprotocols=["bearer", f"bad.{self.BIG}"], hello=True) as client:
            assert closed_with(client)[0] == 4401

    @pytest.mark.parametrize(
        "query", ["token=bad.%FF%00%0A", "token=bad.%", "token=bad.%zz", "token[]=x", "token", "&&=&"]
    )
    def test_with_odd_bytes_in_the_query_are_4401(self, server: Server, query: str) -> None:
        with raw_client(server, f"/echo?{query}") as client:
            finish(client, 4401)

    @pytest.mark.parametrize(
        "value", [b"Bearer bad.\xff\xfe", b"Bearer", b"Bearer \xc3\xa4", b"bearer bad.a b", b"Basic \xff"]
    )
    def test_with_odd_bytes_in_the_header_are_4401(self, server: Server, value: bytes) -> None:
        headers = {"Authorization": value.replace(b"\xc3\xa4", b"bad.\xc3\xa4")}
        with raw_client(server) as client:
            assert client.open("/echo", headers) == 101
            finish(client, 4401)

    @pytest.mark.parametrize("offered", ["bearer", "bearer,", "bearer, ,", ",,", "bearer,bad", "BEARER ,  bad"])
    def test_missing_in_odd_subprotocols_are_4401(self, server: Server, offered: str) -> None:
        with raw_client(server) as client:
            assert client.open("/echo", {"Sec-WebSocket-Protocol": offered}) == 101
            finish(client, 4401)


class TestHeaders:
    @pytest.mark.parametrize("name", ["Origin", "Referer", "Cookie", "User-Agent", "X-Odd"])
    def test_with_odd_bytes_do_no_harm(self, server: Server, name: str) -> None:
        with raw_client(server) as client:
            assert client.open("/show?token=alice", {name: b"\xff\xfe\x80odd"}) == 101
            client.read_frame()
            assert b'"user_id":"alice"' in client.read_frame().payload

    @pytest.mark.parametrize(
        "headers",
        [{"Sec-WebSocket-Version": "12"}, {"Sec-WebSocket-Key": ""}, {"Upgrade": "h2c"}],
        ids=lambda it: str(*it),
    )
    def test_that_make_no_upgrade_are_refused(self, server: Server, headers: dict[str, str]) -> None:
        with raw_client(server) as client:
            assert client.open("/echo?token=alice", headers) in {101, 400, 404, 426}


class TestPaths:
    @pytest.mark.parametrize("path", ["/ECHO", "/echo/", "/echo%00", "/echo/../echo", "/%65cho/x", "/ws/" + "x" * 5000])
    def test_that_do_not_exist_are_404(self, server: Server, path: str) -> None:
        assert refused(server, path).status_code in {308, 404}


class TestFrames:
    def test_with_bad_utf8_end_the_connection(self, server: Server) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            client.read_frame()
            client.send_frame(TEXT, b"\xff\xff")
            ends(server, client, 1007)

    def test_that_continue_nothing_end_the_connection(self, server: Server) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            client.read_frame()
            client.send_frame(CONTINUATION, b"x")
            ends(server, client, 1002)

    def test_without_a_mask_end_the_connection(self, server: Server) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            client.read_frame()
            client.send(b"\x81\x01x")
            ends(server, client, 1002)

    def test_of_an_unknown_kind_end_the_connection(self, server: Server) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            client.read_frame()
            client.send_frame(0x3, b"x")
            ends(server, client, 1002)

    def test_of_a_ping_that_is_too_long_end_the_connection(self, server: Server) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            client.read_frame()
            client.send_frame(PING, b"x" * 126)
            ends(server, client, 1002)

    def test_that_announce_more_than_they_bring_wait_without_harm(self, server: Server) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            client.read_frame()
            client.send(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00some")

    def test_with_a_bad_close_code_end_the_connection(self, server: Server) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            client.read_frame()
            client.send_frame(CLOSE, (5).to_bytes(2, "big"))
            ends(server, client, 1002)

    def test_of_a_close_without_a_code_end_the_connection(self, server: Server) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            client.read_frame()
            client.send_frame(CLOSE)
            assert client.read_to_end()

    def test_that_trickle_in_byte_by_byte_are_put_together(self, server: Server) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            client.read_frame()
            for byte in b"\x82\x83\x00\x00\x00\x00abc":
                client.send(bytes([byte]))
            assert client.read_frame() == (BINARY, b"abc")


def finish(client: RawClient, code: int) -> None:
    """The server's close with `code`, answered in order."""
    assert client.read_close().close_code == code
    client.send_frame(CLOSE, code.to_bytes(2, "big"))
    assert client.read_to_end()


def ends(server: Server, client: RawClient, code: int) -> None:
    """The server ends the connection with `code`; hypercorn alone does it without one."""
    try:
        assert client.read_close().close_code == code
    except (EOFError, ConnectionResetError):
        assert not server.native
    else:
        client.read_to_end()
