"""How connections end: the code and reason a client sees, and what a handler can do about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import closed_with, connect, envelope
from tests.harness.http import get, post
from tests.harness.polling import poll
from tests.harness.raw import TEXT, raw_client

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
    ("path", "code", "messages"),
    [
        ("/json", 1007, ["{", "", "NaN"]),
        ("/json", 1003, [b"{}", b""]),
        ("/ws", 1007, ["no json", "[]", '"text"', '{"type": ""}', '{"type": 7}', '{"data": {}}']),
        ("/ws", 1007, ['{"type": "x", "data": []}', '{"type": "x", "request_id": 7}']),
        ("/ws", 1003, [b'{"type": "x"}']),
    ],
)
def test_a_bad_message_closes_with_its_code_and_is_logged_in_one_line(
    server: Server, path: str, code: int, messages: list[str | bytes]
) -> None:
    for message in messages:
        start = len(server.log())
        with connect(server, path) as client:
            client.send(message)
            assert closed_with(client)[0] == code
        assert len(server.wait_for_log(f"closing with {code}", since=start).splitlines()) == 1


def test_a_handler_closes_with_any_valid_code_and_reason(server: Server) -> None:
    for code, reason in [(1000, ""), (1001, ""), (4000, ""), (4999, "b" * 123), (3000, "ünï¢ødé")]:
        with connect(server, "/command", key="close") as client:
            client.send(json.dumps({"close": [code, reason]}))
            assert closed_with(client) == (code, reason)
    with connect(server, "/command", key="close") as client:
        client.send('{"close": []}')
        assert closed_with(client) == (1000, "")


def test_an_invalid_code_or_reason_is_an_error_in_the_handler(server: Server) -> None:
    codes = (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, -1)
    for arguments in (*([code] for code in codes), [1000, "x" * 124], [1000, "ä" * 62]):
        key = f"refused {arguments}"
        with connect(server, "/command", key=key) as client:
            client.send(json.dumps({"close": arguments}))
            assert closed_with(client) == (1000, "")  # the handler then returned
        (error,) = records(server, key)
        assert "close" in error


def test_a_second_close_does_nothing_and_receiving_raises(server: Server) -> None:
    with connect(server, "/command", key="twice") as client:
        client.send(json.dumps({"close": [4000, "first"], "twice": True}))
        assert closed_with(client) == (4000, "first")
    expected = ["closed", "closed again", "receive raised 4000", "receive_json raised 4000"]
    poll(lambda: records(server, "twice"), until=lambda seen: seen == expected)


def test_a_clients_close_frame_is_answered(server: Server) -> None:
    with connect(server) as client:
        client.close(4321, "my reasons")
        assert client.protocol.close_rcvd is not None
        assert client.protocol.close_rcvd.code == 4321


def test_the_connection_ends_in_order_after_the_closing_handshake(server: Server) -> None:
    with raw_client(server, "/leave?token=alice") as client:
        client.finish(1000)


def test_a_peer_that_never_answers_the_close_frame_is_dropped_after_the_timeout(server: Server) -> None:
    with raw_client(server, "/leave?token=alice") as client:
        client.read_close()
        client.read_to_end()


def test_a_client_with_data_in_flight_sees_the_code_and_no_reset(server: Server) -> None:
    with raw_client(server, "/command?token=alice&key=in-flight") as client:
        client.send_frame(TEXT, b'{"close": [4000, "enough"]}')
        for _ in range(200):
            client.send_frame(TEXT, b"x" * 10_000)
        client.finish(4000)


class TestWebSocketDisconnect:
    def test_comes_after_all_messages_sent_before(self, server: Server) -> None:
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
    def test_has_code_1006_without_a_close_frame(self, server: Server, how: str) -> None:
        with raw_client(server, f"/record?token=alice&key={how}") as client:
            client.read_frame()
            client.send_frame(TEXT, b"x")
            poll(lambda: records(server, how))
            getattr(client, how)()
        poll(lambda: records(server, how), until=lambda seen: "disconnect 1006" in seen)

    def test_has_the_servers_code_after_the_server_closed(self, server: Server) -> None:
        with connect(server, "/command", key="own") as client:
            client.send(json.dumps({"close": [4000]}))
            closed_with(client)
        poll(lambda: records(server, "own"), until=lambda seen: "receive raised 4000" in seen)

    def test_need_not_be_caught(self, server: Server) -> None:
        """The chat handler does not catch it, and as after every test nothing is logged."""
        with connect(server, "/ws") as client:
            client.send(envelope("subscribe", topic="x"))
