"""What comes right behind the upgrade request: the client's first frames, or the same frames half, or garbage."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.harness.http import get
from tests.harness.polling import poll
from tests.harness.raw import CLOSE, PING, PONG, TEXT, RawClient, frame, raw_client, upgrade

if TYPE_CHECKING:
    from tests.harness.server import Server

ECHO, PLAIN_ECHO = "/echo?token=alice", "/plain/echo"

BYE = frame(CLOSE, (1000).to_bytes(2, "big"))


def echoed(client: RawClient, count: int) -> list[bytes]:
    """So many messages, `hello` left out."""
    got: list[bytes] = []
    while len(got) < count:
        received = client.read_frame()
        if b'"hello"' not in received.payload:
            got.append(received.payload)
    return got


@pytest.mark.parametrize("path", [ECHO, PLAIN_ECHO])
class TestFrames:
    """On the hub's routes and on Quart's own."""

    def test_in_the_same_packet_are_handled(self, server: Server, path: str) -> None:
        with raw_client(server) as client:
            client.send(upgrade(path) + frame(TEXT, b"one") + frame(TEXT, b"two"))
            assert client.read_response() == 101
            assert echoed(client, 2) == [b"one", b"two"]
            client.send(BYE)
            assert client.read_close().close_code == 1000
            assert client.read_to_end()

    def test_in_many_packets_that_do_not_wait_for_the_answer_are_handled(self, server: Server, path: str) -> None:
        frames = [frame(TEXT, b"%d" % number) for number in range(50)]
        with raw_client(server) as client:
            for packet in [upgrade(path), *frames]:
                client.send(packet)
            assert client.read_response() == 101
            assert echoed(client, 50) == [b"%d" % number for number in range(50)]

    @pytest.mark.parametrize("cut", [1, 2, 5, 6, 8])
    def test_may_be_cut_anywhere(self, server: Server, path: str, cut: int) -> None:
        early = frame(TEXT, b"one")
        with raw_client(server) as client:
            client.send(upgrade(path) + early[:cut])
            assert client.read_response() == 101
            client.send(early[cut:] + frame(TEXT, b"two"))
            assert echoed(client, 2) == [b"one", b"two"]

    def test_may_be_more_than_is_kept_ahead_of_the_answer(self, server: Server, path: str) -> None:
        with raw_client(server) as client:
            client.send(upgrade(path) + frame(TEXT, b"x" * 1000) * 300)
            assert client.read_response() == 101
            assert echoed(client, 300) == [b"x" * 1000] * 300


class TestOnTheHubsRoutes:
    def test_a_ping_is_answered(self, server: Server) -> None:
        with raw_client(server) as client:
            client.send(upgrade("/deaf?token=alice") + frame(PING, b"early"))
            assert client.read_response() == 101
            assert (PONG, b"early") in (client.read_frame(), client.read_frame())

    def test_a_close_frame_alone_is_answered(self, server: Server) -> None:
        with raw_client(server) as client:
            client.send(upgrade(ECHO) + BYE)
            assert client.read_response() == 101
            assert client.read_close().close_code == 1000
            assert client.read_to_end()

    def test_messages_and_a_close_frame_all_reach_the_handler(self, server: Server) -> None:
        with raw_client(server) as client:
            client.send(upgrade("/record?token=alice&key=early") + frame(TEXT, b"one") + frame(TEXT, b"two") + BYE)
            assert client.read_response() == 101
            assert client.read_close().close_code == 1000
        expected = ["'one'", "'two'", "disconnect 1000", "send raised 1000", "cleaned up"]
        poll(lambda: get(server, "/records").json().get("early"), until=lambda seen: seen == expected)

    @pytest.mark.parametrize("garbage", [b"\xff" * 20, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 2])
    def test_garbage_is_a_protocol_error(self, server: Server, garbage: bytes) -> None:
        with raw_client(server) as client:
            client.send(upgrade(ECHO) + garbage)
            assert client.read_response() == 101
            assert client.read_close().close_code == 1002

    def test_a_client_that_goes_at_once_is_forgotten(self, server: Server) -> None:
        for end in (RawClient.close, RawClient.reset):
            with raw_client(server) as client:
                client.send(upgrade(ECHO) + frame(TEXT, b"one"))
                end(client)

    def test_a_half_closed_client_is_let_go(self, server: Server) -> None:
        with raw_client(server) as client:
            client.send(upgrade(ECHO) + frame(TEXT, b"one"))
            client.socket.shutdown(socket.SHUT_WR)
            assert client.read_to_end()


class TestOfARefusedHandshake:
    @pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/plain/refuse", 401), ("/plain/respond", 418)])
    def test_are_dropped_and_the_answer_arrives(self, server: Server, path: str, status: int) -> None:
        for _ in range(10):
            with raw_client(server) as client:
                client.send(upgrade(path) + frame(TEXT, b"one"))
                client.send(frame(TEXT, b"two"))
                assert client.read_response() == status
        assert "dropped" not in server.log()

    def test_where_the_token_is_bad_the_code_arrives(self, server: Server) -> None:
        with raw_client(server) as client:
            client.send(upgrade("/echo?token=bad") + frame(TEXT, b"one") * 10)
            assert client.read_response() == 101
            assert client.read_close().close_code == 4401

    def test_one_that_is_no_handshake_at_all_is_a_400(self, server: Server) -> None:
        with raw_client(server) as client:
            client.send(upgrade(ECHO, {"Sec-WebSocket-Version": "12"}) + frame(TEXT, b"one"))
            assert client.read_response() == 400
