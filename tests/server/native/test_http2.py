"""HTTP/2 without TLS, by prior knowledge: WebSockets as of RFC 8441 work like any other, and what goes wrong stays
inside its stream, or at worst its connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import connect, envelope
from tests.harness.footprint import introspect
from tests.harness.http import get, post
from tests.harness.polling import poll
from tests.harness.raw import BINARY, CLOSE, PING, PONG, TEXT, frame
from tests.server.native.http2 import Http2Client, Http2WebSocket, http2_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.server import Server

BIG = b"x" * 65536


@pytest.fixture
def client(server: Server) -> Iterator[Http2Client]:
    with http2_client(server) as client:
        yield client


def open_quietly(client: Http2Client, path: str) -> Http2WebSocket:
    """With `hello` read already."""
    websocket = client.open_websocket(path)
    assert b"hello" in websocket.read_frame().payload
    return websocket


def say_goodbye(websocket: Http2WebSocket, code: int = 1000) -> None:
    payload = code.to_bytes(2, "big")
    websocket.send_frame(CLOSE, payload)
    assert websocket.read_close().payload == payload
    websocket.wait_until_ended()


class TestWebSocket:
    def test_echoes_messages_of_every_kind_and_size(self, client: Http2Client) -> None:
        websocket = open_quietly(client, "/echo?token=alice")
        for opcode, payload in [
            (TEXT, b""),
            (BINARY, b""),
            (TEXT, "grüße".encode()),
            (BINARY, b"\xff" * 300),
            (TEXT, BIG),
        ]:
            websocket.send_frame(opcode, payload)
            assert websocket.read_frame() == (opcode, payload)
        say_goodbye(websocket)

    def test_several_share_a_connection_with_each_other_and_with_requests(self, client: Http2Client) -> None:
        websockets = [open_quietly(client, f"/echo?token=user{number}") for number in range(5)]
        for number, websocket in enumerate(websockets):
            websocket.send_frame(TEXT, b"%d" % number)
        assert client.get("/process")[0] == 200
        for number, websocket in reversed(list(enumerate(websockets))):
            assert websocket.read_frame().payload == b"%d" % number
            say_goodbye(websocket)

    def test_takes_part_in_the_hub(self, server: Server, client: Http2Client) -> None:
        websocket = open_quietly(client, "/ws?token=alice")
        websocket.send_frame(TEXT, envelope("subscribe", topic="news").encode())
        assert b"true" in websocket.read_frame().payload
        note = {"envelope": {"type": "note", "data": {"text": "x" * 1000}}, "topic": "news", "times": 200}
        assert post(server, "/hub/broadcast", note) == 200
        for _ in range(200):
            assert b'"note"' in websocket.read_frame().payload
        say_goodbye(websocket)

    def test_answers_pings_while_the_handler_is_busy(self, client: Http2Client) -> None:
        websocket = open_quietly(client, "/deaf?token=alice")
        websocket.send_frame(TEXT, b"unread")
        websocket.send_frame(PING, b"alive?")
        assert websocket.read_frame() == (PONG, b"alive?")
        say_goodbye(websocket)

    def test_early_frames_are_handled(self, client: Http2Client) -> None:
        while not client.h2.remote_settings.enable_connect_protocol:
            client.wait()
        stream_id = client.request("/echo?token=alice", method="CONNECT", protocol="websocket")
        websocket = Http2WebSocket(client, stream_id)
        websocket.send(frame(TEXT, b"early"))
        assert client.status(stream_id) == 200
        assert b"hello" in websocket.read_frame().payload
        assert websocket.read_frame() == (TEXT, b"early")
        say_goodbye(websocket)

    def test_a_message_that_is_longer_than_the_peers_window_waits_for_it(
        self, server: Server, client: Http2Client
    ) -> None:
        websocket = open_quietly(client, "/burst?token=alice&count=10&size=60000")
        websocket.send_frame(TEXT, b"now")
        assert [len(websocket.read_frame().payload) for _ in range(10)] == [60000] * 10
        say_goodbye(websocket)


class TestClosing:
    @pytest.mark.parametrize("code", [1000, 1001, 4000])
    def test_the_clients_code_is_told_and_the_stream_ended(
        self, server: Server, client: Http2Client, code: int
    ) -> None:
        key = f"http2-{code}"
        websocket = open_quietly(client, f"/record?token=alice&key={key}")
        websocket.send_frame(TEXT, b"last words")
        say_goodbye(websocket, code)
        seen = poll(lambda: get(server, "/records").json().get(key, []), until=lambda seen: seen[-1:] == ["cleaned up"])
        assert seen[:2] == ["'last words'", f"disconnect {code}"]

    def test_the_servers_code_is_told_and_its_answer_awaited(self, client: Http2Client) -> None:
        websocket = open_quietly(client, "/command?token=alice&key=http2")
        websocket.send_frame(TEXT, b'{"close": [4321, "why"]}')
        assert websocket.read_close().payload == (4321).to_bytes(2, "big") + b"why"
        assert not websocket.has_ended
        websocket.send_frame(CLOSE, (4321).to_bytes(2, "big"))
        websocket.wait_until_ended()

    @pytest.mark.parametrize(
        ("wrong", "code"), [(frame(TEXT, b"\xff"), 1007), (frame(3), 1002), (frame(TEXT, BIG + b"x"), 1009)]
    )
    def test_a_client_that_breaks_the_protocol_is_told_why(self, client: Http2Client, wrong: bytes, code: int) -> None:
        websocket = open_quietly(client, "/echo?token=alice")
        websocket.send(wrong)
        assert websocket.read_close().close_code == code
        websocket.wait_until_ended()
        assert client.get("/process")[0] == 200

    def test_what_comes_after_the_end_of_a_stream_harms_nobody(self, client: Http2Client) -> None:
        other = open_quietly(client, "/echo?token=bob")
        websocket = open_quietly(client, "/leave?token=alice")
        websocket.read_close()
        websocket.send_frame(CLOSE, (1000).to_bytes(2, "big"))
        websocket.wait_until_ended()
        for _ in range(10):
            websocket.send_frame(TEXT, b"too late")
        websocket.end()
        other.send_frame(TEXT, b"still here")
        assert other.read_frame() == (TEXT, b"still here")
        say_goodbye(other)

    @pytest.mark.parametrize("how", ["end", "reset"])
    def test_without_a_close_frame_it_is_1006(self, server: Server, client: Http2Client, how: str) -> None:
        key = f"http2-{how}"
        websocket = open_quietly(client, f"/record?token=alice&key={key}")
        getattr(websocket, how)()
        seen = poll(lambda: get(server, "/records").json().get(key, []), until=lambda seen: seen[-1:] == ["cleaned up"])
        assert seen[0] == "disconnect 1006"
        assert client.get("/process")[0] == 200

    def test_the_end_of_the_connection_is_the_end_of_all_its_sockets(self, server: Server) -> None:
        with http2_client(server) as client:
            for number in range(5):
                open_quietly(client, f"/echo?token=user{number}")
            assert introspect(server)["connections"] == 5
        poll(lambda: introspect(server)["connections"], until=lambda count: count == 0)


class TestStuckStream:
    """Its peer grants it no window, or does not answer."""

    def test_is_reset_when_its_queue_overflows_and_the_others_go_on(self, server: Server, client: Http2Client) -> None:
        other = open_quietly(client, "/echo?token=bob")
        stuck = StuckStream(client, "/ws?token=alice")
        stuck.subscribe("flood")
        note = {"envelope": {"type": "note", "data": {"text": "x" * 10_000}}, "topic": "flood", "times": 300}
        post(server, "/hub/broadcast", note)
        poll(lambda: introspect(server)["closed"].get("1013"))
        stuck.wait_until_ended()
        other.send_frame(TEXT, b"still here")
        assert other.read_frame() == (TEXT, b"still here")
        say_goodbye(other)

    def test_that_never_answers_the_close_is_reset(self, client: Http2Client) -> None:
        websocket = open_quietly(client, "/leave?token=alice")
        websocket.read_close()
        websocket.wait_until_ended()
        assert client.get("/process")[0] == 200

    def test_does_not_hold_up_a_socket_of_another_connection(self, server: Server, client: Http2Client) -> None:
        stuck = StuckStream(client, "/ws?token=alice")
        stuck.subscribe("news")
        with connect(server, "/ws", token="bob") as bystander:
            bystander.send(envelope("subscribe", topic="news"))
            bystander.recv(10)
            note = {"envelope": {"type": "note", "data": {"text": "x" * 10_000}}, "topic": "news", "times": 50}
            post(server, "/hub/broadcast", note)
            for _ in range(50):
                assert '"note"' in str(bystander.recv(10))
        stuck.reset()


class StuckStream(Http2WebSocket):
    """One whose window is used up and never opened again."""

    def __init__(self, client: Http2Client, path: str) -> None:
        websocket = open_quietly(client, path)
        super().__init__(client, websocket.stream_id)

    def subscribe(self, topic: str) -> None:
        self.send_frame(TEXT, envelope("subscribe", topic=topic).encode())
        assert b"true" in self.read_frame().payload
        self._client.withhold_window_of(self.stream_id)
