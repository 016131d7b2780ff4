"""How sockets end: the code and reason a client sees, and what a handler may do about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import closed_with, connect, envelope
from tests.harness.http import get, post
from tests.harness.polling import poll
from tests.harness.raw import CLOSE, TEXT, raw_client

if TYPE_CHECKING:
    from tests.harness.server import Server


pytestmark = pytest.mark.both_transports


def records(server: Server, key: str) -> list[str]:
    recorded: list[str] = get(server, "/records").json().get(key, [])
    return recorded


def test_a_handler_that_returns_closes_with_1000_after_its_last_message(server: Server) -> None:
    with connect(server, "/leave") as client:
        assert client.recv(10) == "bye"
        assert closed_with(client) == (1000, "")


@pytest.mark.logs_errors
@pytest.mark.parametrize("path", ["/boom", "/boom-in-a-nursery"])
def test_a_handler_that_raises_closes_with_1011_and_is_logged_once(server: Server, path: str) -> None:
    start = len(server.log())
    with connect(server, path, token="bob", hello=True) as client:
        connection_id = json.loads(client.recv(10))["data"]["connection_id"]
        client.send("now")
        assert closed_with(client) == (1011, "internal error")
    printed = server.wait_for_log("handler failed", since=start)
    assert printed.count("something only the server should know") == printed.count("handler failed") == 1
    assert connection_id in printed
    assert "'bob'" in printed


@pytest.mark.parametrize(
    ("path", "message", "code"),
    [
        ("/json", "{", 1007),
        ("/json", "", 1007),
        ("/json", "NaN", 1007),
        ("/json", b"{}", 1003),
        ("/json", b"", 1003),
        ("/ws", "no json", 1007),
        ("/ws", "[]", 1007),
        ("/ws", '"text"', 1007),
        ("/ws", '{"type": ""}', 1007),
        ("/ws", '{"type": 7}', 1007),
        ("/ws", '{"data": {}}', 1007),
        ("/ws", '{"type": "x", "data": []}', 1007),
        ("/ws", '{"type": "x", "request_id": 7}', 1007),
        ("/ws", b'{"type": "x"}', 1003),
    ],
)
def test_what_the_peer_did_wrong_has_a_code_of_its_own(
    server: Server, path: str, message: str | bytes, code: int
) -> None:
    start = len(server.log())
    with connect(server, path) as client:
        client.send(message)
        assert closed_with(client)[0] == code
    assert len(server.wait_for_log(f"closing with {code}", since=start).splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ([], (1000, "")),
        ([1001], (1001, "")),
        ([4000], (4000, "")),
        ([4999, "b" * 123], (4999, "b" * 123)),
        ([3000, "ünï¢ødé"], (3000, "ünï¢ødé")),
    ],
)
def test_a_handler_closes_with_the_code_and_reason_it_likes(
    server: Server, arguments: list[object], seen: tuple[int, str]
) -> None:
    with connect(server, "/command", key="close") as client:
        client.send(json.dumps({"close": arguments}))
        assert closed_with(client) == seen


@pytest.mark.parametrize(
    "arguments", [[0], [999], [1004], [1005], [1006], [1015], [2999], [5000], [-1], [1000, "x" * 124], [1000, "ä" * 62]]
)
def test_a_close_that_may_not_be_sent_is_refused_to_the_handler(server: Server, arguments: list[object]) -> None:
    key = f"refused {arguments}"
    with connect(server, "/command", key=key) as client:
        client.send(json.dumps({"close": arguments}))
        assert closed_with(client) == (1000, "")  # the handler then returned
    (error,) = records(server, key)
    assert "close" in error


def test_a_second_close_does_nothing_and_receiving_says_it_is_over(server: Server) -> None:
    with connect(server, "/command", key="twice") as client:
        client.send(json.dumps({"close": [4000, "first"], "twice": True}))
        assert closed_with(client) == (4000, "first")
    expected = ["closed", "closed again", "receive raised 4000", "receive_json raised 4000"]
    poll(lambda: records(server, "twice"), until=lambda seen: seen == expected)


def test_a_polite_client_gets_its_close_frame_back(server: Server) -> None:
    with connect(server) as client:
        client.close(4321, "my reasons")
        assert client.protocol.close_rcvd is not None
        assert client.protocol.close_rcvd.code == 4321


def test_the_connection_ends_in_order_after_the_closing_handshake(server: Server) -> None:
    with raw_client(server, "/leave?token=alice") as client:
        assert client.read_close().close_code == 1000
        client.send_frame(CLOSE, (1000).to_bytes(2, "big"))
        assert client.read_to_end()


def test_a_peer_that_never_answers_the_close_frame_is_dropped_after_the_timeout(server: Server) -> None:
    with raw_client(server, "/leave?token=alice") as client:
        client.read_close()
        client.read_to_end()


def test_a_client_with_data_in_flight_sees_the_code_and_no_reset(server: Server) -> None:
    with raw_client(server, "/command?token=alice&key=in-flight") as client:
        client.send_frame(TEXT, b'{"close": [4000, "enough"]}')
        for _ in range(200):
            client.send_frame(TEXT, b"x" * 10_000)
        assert client.read_close().close_code == 4000
        client.send_frame(CLOSE, (4000).to_bytes(2, "big"))
        assert client.read_to_end()


class TestWebSocketDisconnect:
    def test_comes_after_every_message_that_was_sent_before(self, server: Server) -> None:
        with connect(server, "/record", key="late", late="") as client:
            for number in range(20):
                client.send(str(number))
            client.close(4000)
        post(server, "/release/late")
        seen = poll(lambda: records(server, "late"), until=lambda seen: "cleaned up" in seen)
        assert seen[:20] == [repr(str(number)) for number in range(20)]
        assert seen[20] == f"disconnect {4000 if server.native else 1006}"

    def test_comes_from_send_as_well_and_the_handler_may_clean_up(self, server: Server) -> None:
        with connect(server, "/record", key="polite") as client:
            client.send("x")
            client.close(1000)
        seen = poll(lambda: records(server, "polite"), until=lambda seen: "cleaned up" in seen)
        code = 1000 if server.native else 1006
        assert seen == ["'x'", f"disconnect {code}", f"send raised {code}", "cleaned up"]

    @pytest.mark.parametrize("how", ["reset", "close"])
    def test_has_code_1006_where_there_was_no_close_frame(self, server: Server, how: str) -> None:
        with raw_client(server, f"/record?token=alice&key={how}") as client:
            client.read_frame()
            client.send_frame(TEXT, b"x")
            poll(lambda: records(server, how))
            getattr(client, how)()
        poll(lambda: records(server, how), until=lambda seen: "disconnect 1006" in seen)

    def test_carries_the_code_of_the_server_where_the_server_closed(self, server: Server) -> None:
        with connect(server, "/command", key="own") as client:
            client.send(json.dumps({"close": [4000]}))
            closed_with(client)
        poll(lambda: records(server, "own"), until=lambda seen: "receive raised 4000" in seen)

    def test_need_not_be_caught(self, server: Server) -> None:
        """The chat handler does not; and nothing is logged, as after every test."""
        with connect(server, "/ws") as client:
            client.send(envelope("subscribe", topic="x"))
