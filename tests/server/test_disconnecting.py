"""Connections the server ends by itself: eviction of the oldest, `hub.disconnect`, and peers that do not read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import closed_with, connect, drain_hello, envelope, recv_json, subscribe
from tests.harness.footprint import introspect
from tests.harness.http import get, post
from tests.harness.polling import poll
from tests.harness.raw import TEXT, RawClient, raw_client
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUE = 100
BIG_NOTE = {"type": "note", "data": {"text": "x" * 10_000}}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    settings = {
        "WS_MAX_CONNECTIONS_PER_USER": "2",
        "WS_CLOSE_TIMEOUT_SECONDS": "2",
        "WS_SEND_QUEUE_MESSAGES": str(QUEUE),
        "WS_SEND_QUEUE_BYTES": "200000",
        "WS_MAX_TOPICS_PER_CONNECTION": "3",
    }
    with run_server(env=settings) as server:
        yield server


@contextmanager
def stuck(server: Server, path: str) -> Iterator[RawClient]:
    """A peer that reads nothing of what a flooding handler sends, once the server's sends to it are stuck."""
    with raw_client(server, path, receive_buffer=4096) as client:
        poll(lambda: introspect(server)["queued_messages"], until=lambda waiting: waiting >= QUEUE // 2)
        yield client


@contextmanager
def unread(server: Server, topic: str) -> Iterator[RawClient]:
    """A subscriber that stops reading."""
    with raw_client(server, "/ws?token=tardy", receive_buffer=4096) as client:
        client.send_frame(TEXT, envelope("subscribe", topic=topic).encode())
        assert b"hello" in client.read_frame().payload
        assert b"true" in client.read_frame().payload
        yield client


class TestEviction:
    def test_one_connection_too_many_closes_the_oldest_with_4429(self, server: Server) -> None:
        with connect(server) as first, connect(server) as second, connect(server) as third:
            assert closed_with(first) == (4429, "too many connections of this user")
            for client in (second, third):
                client.send("here")
                assert client.recv(10) == "here"
            with connect(server):
                assert closed_with(second)[0] == 4429
            assert introspect(server)["closed"]["4429"] >= 2

    def test_other_users_are_not_counted(self, server: Server) -> None:
        with connect(server, token="alice") as alice, connect(server, token="bob"), connect(server, token="carol"):
            alice.send("here")
            assert alice.recv(10) == "here"

    def test_a_closed_connection_no_longer_counts(self, server: Server) -> None:
        with connect(server) as first:
            for _ in range(5):
                with connect(server):
                    pass
                poll(lambda: introspect(server)["connections"], until=lambda count: count == 1)
            first.send("here")
            assert first.recv(10) == "here"

    def test_does_not_wait_for_a_peer_that_does_not_read_when_evicting(self, server: Server) -> None:
        with stuck(server, "/flood?token=alice"), connect(server), connect(server) as newest:
            newest.send("at once")
            assert newest.recv(1) == "at once"
            assert introspect(server)["connections"] == 2


class TestDisconnect:
    def test_closes_every_socket_of_a_user(self, server: Server) -> None:
        with (
            connect(server, token="alice") as first,
            connect(server, token="alice") as second,
            connect(server, token="bob") as bob,
        ):
            arguments = {"user_id": "alice", "code": 4403, "reason": "banned"}
            assert post(server, "/hub/disconnect", arguments) == 2
            assert closed_with(first) == closed_with(second) == (4403, "banned")
            assert introspect(server)["online"] == ["bob"]
            bob.send("here")
            assert bob.recv(10) == "here"

    def test_closes_one_connection(self, server: Server) -> None:
        with connect(server, hello=True) as first, connect(server) as second:
            connection_id = drain_hello(first)["data"]["connection_id"]
            assert post(server, "/hub/disconnect", {"connection_id": connection_id}) == 1
            assert closed_with(first) == (1000, "")
            second.send("here")
            assert second.recv(10) == "here"
            assert post(server, "/hub/disconnect", {"connection_id": connection_id}) == 0

    def test_does_not_wait_for_a_peer_that_does_not_read(self, server: Server) -> None:
        with stuck(server, "/flood?token=alice"):
            assert post(server, "/hub/disconnect", {"user_id": "alice"}, timeout=1) == 1
            assert introspect(server)["connections"] == 0

    def test_reaches_a_handler_that_does_not_read(self, server: Server) -> None:
        with connect(server, "/deaf") as client:
            assert post(server, "/hub/disconnect", {"user_id": "alice", "code": 4000}) == 1
            assert closed_with(client)[0] == 4000

    def test_what_was_sent_before_still_arrives(self, server: Server) -> None:
        with connect(server, "/ws") as client:
            for number in range(50):
                post(server, "/hub/send_to", {"user_id": "alice", "envelope": {"type": "n", "data": {"n": number}}})
            post(server, "/hub/disconnect", {"user_id": "alice", "code": 4000})
            assert [recv_json(client)["data"]["n"] for _ in range(50)] == list(range(50))
            assert closed_with(client)[0] == 4000


class TestSlowPeer:
    def test_delays_neither_other_peers_nor_the_caller_and_leaves_the_registry(self, server: Server) -> None:
        with unread(server, "news"), connect(server, "/ws", token="quick") as quick:
            subscribe(quick, "news")
            quick_only = 0
            while quick_only < 5:
                reached = post(server, "/hub/broadcast", {"envelope": BIG_NOTE, "topic": "news"}, timeout=1)
                assert reached >= 1
                quick_only += reached == 1
                assert recv_json(quick, timeout=1)["type"] == "note"
            facts = introspect(server)
            assert facts["online"] == ["quick"]
            assert facts["closed"]["1013"] >= 1

    def test_sees_1013_if_it_reads_again_in_time(self, server: Server) -> None:
        with unread(server, "news") as slow:
            while post(server, "/hub/broadcast", {"envelope": BIG_NOTE, "topic": "news", "times": 10}):
                pass
            slow.finish(1013)

    def test_slows_down_its_own_handler_only(self, server: Server) -> None:
        with stuck(server, "/flood?token=tardy"), connect(server) as other:
            for number in range(100):
                other.send(str(number))
                assert other.recv(1) == str(number)
            assert get(server, "/introspect", timeout=1).status == 200


def test_a_topic_that_is_not_a_name_is_1008_and_leaves_no_entry(server: Server) -> None:
    topics: list[object] = [7, None, ["news"], {}, True, ""]
    for topic in topics:
        with connect(server, "/ws") as client, connect(server, "/ws", token="bob") as other:
            subscribe(client, "good")
            client.send(envelope("subscribe", topic=topic))
            assert closed_with(client)[0] == 1008
            assert introspect(server)["topics"] == 0
            subscribe(other, "fine")


def test_too_many_topics_are_1008(server: Server) -> None:
    with connect(server, "/ws") as client:
        for number in range(3):
            subscribe(client, f"topic {number}")
        subscribe(client, "topic 0")
        client.send(envelope("subscribe", topic="one more"))
        assert closed_with(client)[0] == 1008
