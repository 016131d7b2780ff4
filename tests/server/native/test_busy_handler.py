"""A handler that is busy: the connection stays alive, the peer is held up by TCP, and nothing is lost or reordered."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.clients import connect, envelope
from tests.harness.http import get, post
from tests.harness.polling import poll
from tests.harness.raw import BINARY, CLOSE, PING, PONG, TEXT, RawClient, frame, raw_client
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

MEGABYTE = 1 << 20

INBOX = 256 * 1024
"""What the server takes in for a handler that does not read; one more read of the socket may come on top."""


@pytest.fixture(scope="module")
def busy_server() -> Iterator[Server]:
    env = {"WS_CLOSE_TIMEOUT_SECONDS": "0.4", "WS_HEARTBEAT_SECONDS": "0.2", "WS_HEARTBEAT_TIMEOUT_SECONDS": "20"}
    with run_server("tests.server.native.apps.codes:app", env=env) as server:
        yield server


@pytest.fixture
def server(busy_server: Server) -> Server:
    return busy_server


def statistics(server: Server, user: str) -> dict[str, Any]:
    (found,) = get(server, f"/connections/{user}").json()["statistics"]
    facts: dict[str, Any] = found
    return facts


def peak_memory(server: Server) -> int:
    peak: int = get(server, "/process").json()["peak_memory"]
    return peak


def next_but_pings(client: RawClient) -> bytes:
    """The payload of the next message that is no heartbeat."""
    while b'"ping"' in (payload := client.read_frame().payload):
        pass
    return payload


class TestPings:
    def test_are_answered_while_the_handler_does_not_read(self, server: Server) -> None:
        with connect(server, "/deaf") as client:
            for number in range(20):
                client.send("unread")
                assert client.ping(str(number)).wait(5)

    def test_are_answered_up_to_the_last_message_that_is_taken_in(self, server: Server) -> None:
        with raw_client(server, "/deaf?token=full") as client:
            sent = 0
            while sent < INBOX - 60_000:
                client.send(frame(BINARY, b"x" * 30_000) + frame(PING, b"%d" % sent))
                while (received := client.read_frame()).opcode != PONG:
                    assert received.opcode == TEXT
                assert received.payload == b"%d" % sent
                sent += 30_000

    def test_are_answered_while_the_handler_sends_without_a_pause(self, server: Server) -> None:
        with raw_client(server, "/flood?token=alice") as client:
            for number in range(20):
                client.send_frame(PING, b"%d" % number)
                while (received := client.read_frame()).opcode != PONG:
                    assert received.opcode == TEXT
                assert received.payload == b"%d" % number

    def test_many_at_once_are_all_answered_in_order(self, server: Server) -> None:
        with raw_client(server, "/deaf?token=alice") as client:
            client.send(b"".join(frame(PING, b"%d" % number) for number in range(1000)))
            pongs = [it for it in (client.read_frame() for _ in range(1001)) if it.opcode == PONG]
            while len(pongs) < 1000:
                pongs += [it for it in [client.read_frame()] if it.opcode == PONG]
            assert pongs == [(PONG, b"%d" % number) for number in range(1000)]


class HeldUp:
    """A client of a handler that starts late, which has sent as much as it could."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._rest = b""
        self.messages = 0
        self.bytes = 0

    def send_until_blocked(self, *, at_most: int) -> None:
        """Send numbered messages of 10 KB until the socket takes no more."""
        self._client.socket.settimeout(0.5)
        with suppress(TimeoutError):
            while self.bytes < at_most:
                self._rest = frame(TEXT, b"%08d" % self.messages + b"x" * 10_000)
                self.messages += 1
                while self._rest:
                    sent = self._client.socket.send(self._rest)
                    self._rest = self._rest[sent:]
                    self.bytes += sent
        self._client.socket.settimeout(10)

    def send_the_rest(self) -> None:
        self._client.send(self._rest)


class TestBackPressure:
    def test_reaches_the_peer_and_lets_go_of_it_when_the_handler_reads(self, server: Server) -> None:
        with raw_client(server, "/start-late?token=held&key=back-pressure") as client:
            held = HeldUp(client)
            post(server, "/forget-peak-memory")
            before = peak_memory(server)
            held.send_until_blocked(at_most=64 * MEGABYTE)
            assert held.bytes < 32 * MEGABYTE
            facts = statistics(server, "held")
            assert facts["unread_messages"] == facts["messages_received"]
            assert INBOX - 10_000 < facts["bytes_received"] < INBOX + 65536 + 10_008
            assert peak_memory(server) - before < 3 * MEGABYTE

            assert all(b'"hello"' in it or b'"ping"' in it for it in (client.read_frame().payload for _ in range(5)))
            heartbeats = statistics(server, "held")["messages_sent"]
            poll(lambda: statistics(server, "held")["messages_sent"], until=lambda count: count >= heartbeats + 2)

            post(server, "/release/back-pressure")
            held.send_the_rest()
            assert [next_but_pings(client) for _ in range(held.messages)] == [
                b"%08d" % number for number in range(held.messages)
            ]
            client.send_frame(TEXT, b"and more")
            assert next_but_pings(client) == b"and more"
            assert statistics(server, "held")["unread_messages"] == 0

    def test_does_not_hold_up_others(self, server: Server) -> None:
        with raw_client(server, "/deaf?token=held") as client, connect(server, token="other") as other:
            HeldUp(client).send_until_blocked(at_most=64 * MEGABYTE)
            for number in range(50):
                other.send(str(number))
                while '"ping"' in str(answer := other.recv(1)):
                    pass
                assert answer == str(number)
            assert post(server, "/hub/disconnect", {"user_id": "held"}) == 1

    def test_of_a_peer_that_leaves_keeps_nothing(self, server: Server) -> None:
        with raw_client(server, "/start-late?token=held&key=leaves") as client:
            HeldUp(client).send_until_blocked(at_most=64 * MEGABYTE)
            client.reset()
            post(server, "/release/leaves")
            poll(lambda: get(server, "/connections/held").json()["statistics"], until=lambda left: left == [])


class TestBursts:
    def test_of_a_thousand_sends_arrive_in_order(self, server: Server) -> None:
        with raw_client(server, "/count?token=alice") as client:
            assert b"hello" in client.read_frame().payload
            for _ in range(5):
                client.send_frame(TEXT, b"1000")
                assert [next_but_pings(client) for _ in range(1000)] == [b"%d" % number for number in range(1000)]

    def test_arrive_in_order_at_a_slow_reader_too(self, server: Server) -> None:
        with raw_client(server, "/count?token=tardy", receive_buffer=4096) as client:
            client.send_frame(TEXT, b"100000")
            poll(lambda: statistics(server, "tardy")["queued_messages"])
            assert b"hello" in client.read_frame().payload
            assert [next_but_pings(client) for _ in range(100_000)] == [b"%d" % number for number in range(100_000)]


class TestStatistics:
    def test_count_messages_and_bytes_each_way(self, server: Server) -> None:
        with raw_client(server, "/echo?token=counted") as client:
            received = [client.read_frame().payload]
            messages = [b"x", b"", b"y" * 1000, "ü".encode(), b"z" * 60_000]
            for message in messages:
                client.send_frame(BINARY, message)
                while (payload := client.read_frame().payload) != message:
                    received.append(payload)
                received.append(payload)
            facts = statistics(server, "counted")
            assert facts["messages_received"] == len(messages)
            assert facts["bytes_received"] == sum(map(len, messages))
            heartbeats = facts["messages_sent"] - len(received)
            ping = client.read_frame().payload
            assert heartbeats >= 0
            assert facts["bytes_sent"] == sum(map(len, received)) + heartbeats * len(ping)
            assert facts["queued_messages"] == facts["queued_bytes"] == facts["unread_messages"] == 0

    def test_know_what_waits_for_a_peer_that_does_not_read(self, server: Server) -> None:
        with raw_client(server, "/flood?token=stuck", receive_buffer=4096) as client:
            facts = poll(lambda: statistics(server, "stuck"), until=lambda facts: facts["queued_messages"] > 100)
            assert facts["queued_bytes"] == facts["queued_messages"] * 1024
            client.reset()

    def test_know_what_waits_for_the_handler(self, server: Server) -> None:
        with raw_client(server, "/deaf?token=unread") as client:
            client.send(frame(TEXT, b"unread") * 7)
            poll(lambda: statistics(server, "unread"), until=lambda facts: facts["unread_messages"] == 7)

    def test_know_the_round_trip_once_a_heartbeat_was_answered(self, server: Server) -> None:
        with raw_client(server, "/deaf?token=timed") as client:
            while (ping := json.loads(client.read_frame().payload))["type"] != "ping":
                assert ping["type"] == "hello"
            assert statistics(server, "timed")["round_trip_seconds"] is None
            client.send_frame(TEXT, envelope("pong").encode())
            known = poll(lambda: statistics(server, "timed")["round_trip_seconds"], until=lambda it: it is not None)
            assert 0 < known < 5

    def test_know_none_by_a_pong_that_nobody_asked_for(self, shared_native_server: Server) -> None:
        with raw_client(shared_native_server, "/deaf?token=eager") as client:
            client.send(frame(TEXT, envelope("pong").encode()))
            poll(lambda: statistics(shared_native_server, "eager"), until=lambda facts: facts["messages_received"])
            assert statistics(shared_native_server, "eager")["round_trip_seconds"] is None
            client.send_frame(CLOSE, (1000).to_bytes(2, "big"))
            assert client.read_to_end()
