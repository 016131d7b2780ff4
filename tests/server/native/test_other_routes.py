"""What is not the hub's behaves under `HubTCPServer` as it does without it: the same tests run against both."""

from __future__ import annotations

from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from tests.harness.clients import closed_with, refused
from tests.harness.http import get
from tests.harness.raw import TEXT, RawClient, frame, raw_client, upgrade
from tests.server.native.launching import launched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.server import Server

TRANSPORTS = {"auto": "HubTCPServer", "asgi": "TCPServer"}


@pytest.fixture(scope="module", params=TRANSPORTS)
def either_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with launched("hypercorn -w 1", args=("--keep-alive", "1"), env={"WS_TRANSPORT": request.param}) as server:
        yield server


@pytest.fixture
def server(either_server: Server) -> Server:
    return either_server


def test_hypercorns_own_class_is_replaced_only_for_the_native_transport(
    server: Server, request: pytest.FixtureRequest
) -> None:
    transport = request.node.callspec.params["either_server"]
    assert get(server, "/process").json()["tcp_server"] == TRANSPORTS[transport]
    assert server.log().count("WebSocket transport: native") == (transport == "auto")


class TestHttp:
    def test_a_connection_is_kept_alive(self, server: Server) -> None:
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=10)) as client:
            client.connect()
            connection = client.sock
            for _ in range(20):
                client.request("GET", "/process")
                assert client.getresponse().read()
            assert client.sock is connection

    def test_a_request_may_come_in_pieces(self, server: Server) -> None:
        with raw_client(server) as client:
            for byte in b"GET /process HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
                client.send(bytes([byte]))
            assert client.read_response() == 200

    def test_a_big_body_arrives_whole(self, server: Server) -> None:
        assert len(get(server, "/big").body) == 30_000_000

    def test_a_client_may_go_in_the_middle_of_one(self, server: Server) -> None:
        for end in (RawClient.close, RawClient.reset):
            with raw_client(server) as client:
                client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.read_response() == 200
                end(client)

    def test_what_is_not_http_is_a_400(self, server: Server) -> None:
        with raw_client(server) as client:
            client.send(b"\xff\xfe nonsense\r\n\r\n")
            assert client.read_response() == 400
            assert client.read_to_end()

    def test_expect_100_continue_is_answered(self, server: Server) -> None:
        with raw_client(server) as client:
            client.send(b"POST /drain/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
            assert client.read_response() == 100
            client.send(b"x")
            assert client.read_response() == 404

    def test_a_head_request_has_no_body(self, server: Server) -> None:
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=10)) as client:
            client.request("HEAD", "/process", headers={"Connection": "close"})
            response: HTTPResponse = client.getresponse()
            assert (response.status, response.read()) == (200, b"")


class TestPlainWebSockets:
    def test_echo(self, server: Server) -> None:
        with connect(server.ws("/plain/echo"), proxy=None) as client:
            for message in ("text", b"binary", "", "x" * 100_000):
                client.send(message)
                assert client.recv(10) == message

    def test_compression_is_hypercorns_business_as_before(self, server: Server) -> None:
        with connect(server.ws("/plain/echo"), proxy=None) as client:
            assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]

    def test_subprotocol_and_query(self, server: Server) -> None:
        with connect(server.ws("/plain/subprotocol?x=1"), subprotocols=["plain.v1"], proxy=None) as client:  # type: ignore[list-item]
            assert client.subprotocol == "plain.v1"
            assert client.recv(10) == "query=x=1"

    def test_close_code(self, server: Server) -> None:
        with connect(server.ws("/plain/close"), proxy=None) as client:
            assert closed_with(client) == (4123, "as the app says")

    @pytest.mark.parametrize(("path", "status"), [("/plain/refuse", 401), ("/plain/respond", 418), ("/nowhere", 404)])
    def test_refusals(self, server: Server, path: str, status: int) -> None:
        assert refused(server, path).status_code == status

    def test_a_client_may_go_in_any_way(self, server: Server) -> None:
        for end in (RawClient.close, RawClient.reset):
            with raw_client(server, "/plain/echo") as client:
                client.send_frame(TEXT, b"x")
                end(client)
            with raw_client(server) as client:
                client.send(upgrade("/plain/echo"))
                end(client)
        with raw_client(server, "/plain/echo") as client:
            client.send(frame(TEXT, b"x" * 100)[:50])
