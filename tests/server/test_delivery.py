"""The hub's delivery methods: who gets what, what is counted, and in which order."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import ClientConnection, connect, drain_hello, envelope, recv_json, subscribe
from tests.harness.footprint import introspect
from tests.harness.http import post
from tests.harness.raw import TEXT, RawClient, frame, raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.server import Server

NOTE = {"type": "note", "data": {"n": 1, "text": "ünï"}, "request_id": None}


@contextmanager
def sockets(server: Server, *users: str) -> Iterator[list[ClientConnection]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(server, "/ws", token=user)) for user in users]


def nothing_waits(*clients: ClientConnection) -> bool:
    """Whether the next message is the answer to a ping, which is in order with what the hub sends."""
    for client in clients:
        client.send(envelope("ping", "fence"))
        if recv_json(client) != {"type": "pong", "data": {}, "request_id": "fence"}:
            return False
    return True


def test_send_to_reaches_every_socket_of_a_user(server: Server) -> None:
    with sockets(server, "alice", "alice", "bob") as (first, second, other):
        assert post(server, "/hub/send_to", {"user_id": "alice", "envelope": NOTE}) == 2
        assert recv_json(first) == recv_json(second) == NOTE
        assert nothing_waits(first, second, other)


def test_send_to_an_absent_user_reaches_nobody(server: Server) -> None:
    with sockets(server, "alice") as (client,):
        assert post(server, "/hub/send_to", {"user_id": "nobody", "envelope": NOTE}) == 0
        assert nothing_waits(client)


def test_send_many_gives_each_user_an_envelope_of_its_own(server: Server) -> None:
    with sockets(server, "alice", "alice", "bob", "carol") as (first, second, bob, carol):
        envelopes = {user: {"type": f"for-{user}"} for user in ("alice", "bob", "nobody")}
        assert post(server, "/hub/send_many", {"envelopes": envelopes}) == 3
        assert [recv_json(client)["type"] for client in (first, second, bob)] == ["for-alice", "for-alice", "for-bob"]
        assert nothing_waits(first, second, bob, carol)


def test_broadcast_to_a_topic_reaches_its_subscribers(server: Server) -> None:
    with sockets(server, "alice", "bob", "carol") as (alice, bob, carol):
        subscribe(alice, "news")
        subscribe(bob, "news")
        subscribe(carol, "other")
        assert post(server, "/hub/broadcast", {"envelope": NOTE, "topic": "news"}) == 2
        assert recv_json(alice) == recv_json(bob) == NOTE
        assert nothing_waits(alice, bob, carol)


def test_broadcast_without_a_topic_reaches_everyone(server: Server) -> None:
    with sockets(server, "alice", "bob") as (alice, bob):
        assert post(server, "/hub/broadcast", {"envelope": NOTE}) == 2
        assert recv_json(alice) == recv_json(bob) == NOTE


def test_broadcast_can_leave_out_the_sender(server: Server) -> None:
    with connect(server, "/ws", hello=True) as sender, sockets(server, "alice", "bob") as (alice, bob):
        sender_id = drain_hello(sender)["data"]["connection_id"]
        for client in (sender, alice, bob):
            subscribe(client, "news")
        for topic in ("news", None):
            assert post(server, "/hub/broadcast", {"envelope": NOTE, "topic": topic, "exclude": sender_id}) == 2
            assert recv_json(alice) == recv_json(bob) == NOTE
            assert nothing_waits(sender)


def test_a_handler_broadcasts_to_its_topic(server: Server) -> None:
    with sockets(server, "alice", "bob") as (alice, bob):
        for client in (alice, bob):
            subscribe(client, "room")
        alice.send(envelope("chat.message", room="room", text="hi"))
        message = {"type": "chat.message", "data": {"from": "alice", "text": "hi"}, "request_id": None}
        assert recv_json(alice) == recv_json(bob) == message


def test_membership_is_idempotent(server: Server) -> None:
    with sockets(server, "alice") as (client,):
        subscribe(client, "news")
        subscribe(client, "news")
        assert post(server, "/hub/broadcast", {"envelope": NOTE, "topic": "news"}) == 1
        for _ in range(2):
            client.send(envelope("unsubscribe", topic="news"))
        assert recv_json(client) == NOTE
        assert recv_json(client) == recv_json(client) == {"unsubscribed": True}
        assert post(server, "/hub/broadcast", {"envelope": NOTE, "topic": "news"}) == 0
        assert introspect(server)["topics"] == 0


def test_another_part_of_the_app_may_change_membership(server: Server) -> None:
    with connect(server, "/ws", hello=True) as client:
        arguments = {"connection_id": drain_hello(client)["data"]["connection_id"], "topic": "news"}
        assert post(server, "/hub/membership/subscribe", arguments) is True
        assert post(server, "/hub/broadcast", {"envelope": NOTE, "topic": "news"}) == 1
        assert recv_json(client) == NOTE
        assert post(server, "/hub/membership/unsubscribe", arguments) is True


def test_an_unknown_connection_is_ignored(server: Server) -> None:
    arguments = {"connection_id": "00000000-0000-4000-8000-000000000000", "topic": "news"}
    for method in ("subscribe", "unsubscribe"):
        assert post(server, f"/hub/membership/{method}", arguments) is False
        assert introspect(server)["topics"] == 0


def test_introspection_counts_what_is_open(server: Server) -> None:
    with sockets(server, "alice", "alice", "bob") as (first, second, _):
        subscribe(first, "news")
        subscribe(second, "news")
        facts = introspect(server)
        assert (facts["connections"], facts["connection_count"], facts["users"], facts["topics"]) == (3, 3, 2, 1)
        assert facts["online"] == ["alice", "bob"]


class TestOrder:
    PUBLISHERS, MESSAGES = 4, 10

    @pytest.fixture
    def subscribers(self, server: Server) -> Iterator[list[RawClient]]:
        """More than the hub serves at once, so that fan-outs overlap."""
        with ExitStack() as stack:
            clients = [stack.enter_context(raw_client(server, f"/ws?token=user{number}")) for number in range(300)]
            for client in clients:
                client.send(frame(TEXT, envelope("subscribe", topic="all").encode()))
            for client in clients:
                assert b"hello" in client.read_frame().payload
                assert b"true" in client.read_frame().payload
            yield clients

    def test_is_kept_per_publisher_and_is_the_same_everywhere(
        self, server: Server, subscribers: list[RawClient]
    ) -> None:
        def publish(publisher: int) -> None:
            post(server, "/hub/sequence", {"publisher": publisher, "count": self.MESSAGES, "topic": "all"}, timeout=30)

        with ThreadPoolExecutor(self.PUBLISHERS) as pool:
            list(pool.map(publish, range(self.PUBLISHERS)))
        seen = [self._read_numbered(client) for client in subscribers]
        assert all(one == seen[0] for one in seen)
        for publisher in range(self.PUBLISHERS):
            assert [number for who, number in seen[0] if who == publisher] == list(range(self.MESSAGES))
        assert seen[0] != sorted(seen[0]), "the fan-outs did not overlap, so this test shows nothing"

    def _read_numbered(self, client: RawClient) -> list[tuple[int, int]]:
        received = [json.loads(client.read_frame().payload)["data"] for _ in range(self.PUBLISHERS * self.MESSAGES)]
        return [(data["publisher"], data["number"]) for data in received]
