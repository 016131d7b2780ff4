"""Two and three server processes and a Redis: one hub."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.clients import ClientConnection, closed_with, connect, drain_hello, envelope, recv_json, subscribe
from tests.harness.footprint import leaves_nothing_behind
from tests.harness.http import get, post
from tests.harness.polling import poll
from tests.harness.redis import run_redis
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.harness.redis import RedisProcess

APP = "tests.redis.app:app"

NEWS = {"type": "news", "data": {"n": 1}, "request_id": None}


@contextmanager
def run_node(redis: RedisProcess, *args: str) -> Iterator[Server]:
    env = {"TEST_REDIS_URL": redis.url, "WS_CLOSE_TIMEOUT_SECONDS": "1", "WS_MAX_CONNECTIONS_PER_USER": "3"}
    with run_server(APP, args=args, env=env) as server:
        wait_until_ready(server)
        yield server


def wait_until_ready(server: Server) -> None:
    poll(lambda: get(server, "/ready").status, until=lambda status: status == 200, what="the node is ready")


def kill_at_once(server: Server) -> None:
    """Master and workers, with SIGKILL, as the kernel does it when memory is short."""
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.fixture(autouse=True)
def deadline() -> None:
    """Nothing runs in this process; pytest's own timeout is enough."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Sequence[Server]]:
    with run_redis() as redis, run_node(redis) as one, run_node(redis) as two, run_node(redis) as three:
        yield one, two, three


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Of any test that uses the three nodes; and each node is left subscribed to its own channels only."""
    if "nodes" not in request.fixturenames:
        yield
        return
    servers: Sequence[Server] = request.getfixturevalue("nodes")
    start = [len(server.log()) for server in servers]
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(leaves_nothing_behind(server))
        yield
    for server, position in zip(servers, start, strict=True):
        assert "Traceback" not in server.log()[position:]
        assert cluster(server)["channels"] == 2, "its own, and everyone's"


def cluster(server: Server, topic: str = "news") -> dict[str, Any]:
    answer: dict[str, Any] = get(server, f"/cluster?topic={topic}").json()
    return answer


@contextmanager
def sockets(*wanted: tuple[Server, str]) -> Iterator[list[ClientConnection]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(server, "/ws", token=user)) for server, user in wanted]


def nothing_waits(*clients: ClientConnection) -> bool:
    """Whether a ping is answered before anything else comes."""
    for client in clients:
        client.send(envelope("ping", "fence"))
        if recv_json(client) != {"type": "pong", "data": {}, "request_id": "fence"}:
            return False
    return True


def settle(*servers: Server) -> None:
    """What was published before this call has arrived: an answer from every node comes after it."""
    for server in servers:
        cluster(server)


def test_send_to_and_send_many_reach_users_on_every_node_once(nodes: Sequence[Server]) -> None:
    one, two, three = nodes
    with sockets((one, "ann"), (two, "ann"), (three, "bob")) as (here, there, bob):
        assert post(one, "/hub/send_to", {"user_id": "ann", "envelope": NEWS}) == 1
        assert recv_json(here) == recv_json(there) == NEWS
        assert post(two, "/hub/send_many", {"envelopes": {"ann": {"type": "a"}, "bob": {"type": "b"}}}) == 1
        assert [recv_json(client)["type"] for client in (here, there, bob)] == ["a", "a", "b"]
        settle(*nodes)
        assert nothing_waits(here, there, bob)


def test_broadcast_reaches_topics_and_everyone_but_the_excluded(nodes: Sequence[Server]) -> None:
    one, two, three = nodes
    with ExitStack() as stack:
        here = stack.enter_context(connect(one, "/ws", token="ann"))
        there = stack.enter_context(connect(two, "/ws", token="bob"))
        sender = stack.enter_context(connect(three, "/ws", token="cid", hello=True))
        sender_id = drain_hello(sender)["data"]["connection_id"]
        for client in (here, sender):
            subscribe(client, "news")

        post(two, "/hub/broadcast", {"envelope": NEWS, "topic": "news", "exclude": sender_id})
        assert recv_json(here) == NEWS
        post(three, "/hub/broadcast", {"envelope": NEWS, "exclude": sender_id})
        assert recv_json(here) == recv_json(there) == NEWS
        settle(*nodes)
        assert nothing_waits(here, there, sender)


def test_clients_on_different_nodes_talk(nodes: Sequence[Server]) -> None:
    one, two, _ = nodes
    with sockets((one, "ann"), (two, "bob")) as (ann, bob):
        subscribe(ann, "room")
        subscribe(bob, "room")
        for number in range(20):
            ann.send(envelope("chat.message", room="room", text=f"{number}"))
        for client in (ann, bob):
            assert [recv_json(client)["data"]["text"] for _ in range(20)] == [f"{number}" for number in range(20)]


def test_disconnecting_users_and_connections_of_other_nodes(nodes: Sequence[Server]) -> None:
    one, two, three = nodes
    with sockets((one, "ann"), (two, "ann"), (three, "ann")) as clients:
        assert post(two, "/hub/disconnect", {"user_id": "ann", "code": 4403, "reason": "out"}) == 3
        assert [closed_with(client) for client in clients] == [(4403, "out")] * 3
    with connect(three, "/ws", token="bob", hello=True) as bob:
        connection_id = drain_hello(bob)["data"]["connection_id"]
        assert post(one, "/hub/disconnect", {"connection_id": connection_id, "code": 4403}) == 1
        assert closed_with(bob)[0] == 4403
        assert post(one, "/hub/disconnect", {"connection_id": connection_id, "code": 4403}) == 0


def test_revoking_a_user_of_other_nodes(nodes: Sequence[Server]) -> None:
    one, two, three = nodes
    with sockets((two, "ann"), (three, "ann")) as clients:
        assert post(one, "/hub/revoke", {"user_id": "ann"}) == 2
        assert [closed_with(client) for client in clients] == [(4401, "token revoked")] * 2


def test_asking_a_client_of_another_node(nodes: Sequence[Server]) -> None:
    one, two, _ = nodes
    with connect(two, "/ws", token="ann", hello=True) as ann, ThreadPoolExecutor(1) as threads:
        connection_id = drain_hello(ann)["data"]["connection_id"]
        arguments = {"connection_id": connection_id, "envelope": {"type": "ask", "data": {"n": 1}}}
        asked = threads.submit(post, one, "/hub/request", arguments)
        request = recv_json(ann)
        assert (request["type"], request["data"]) == ("ask", {"n": 1})
        ann.send(json.dumps({"type": "ask.reply", "data": {"n": 2}, "request_id": request["request_id"]}))
        assert asked.result(10)["data"] == {"n": 2}


def test_the_oldest_anywhere_is_evicted(nodes: Sequence[Server]) -> None:
    one, two, three = nodes
    with sockets((one, "ann"), (two, "ann"), (three, "ann")) as (oldest, *others), sockets((two, "ann")) as newest:
        assert closed_with(oldest)[0] == 4429
        assert nothing_waits(*others, *newest)
        assert poll(lambda: cluster(one)["connections"], until=lambda count: count == 3) == 3


def test_many_sockets_of_a_user_that_come_at_once_on_all_nodes_end_as_the_newest(nodes: Sequence[Server]) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(12) as threads:
        wanted = [nodes[number % 3] for number in range(12)]
        clients = list(
            threads.map(lambda server: stack.enter_context(connect(server, "/ws", token="ann", hello=True)), wanted)
        )
        poll(lambda: cluster(nodes[0])["connections"], until=lambda count: count == 3)
        for client in clients:
            client.close()


def test_counts_of_all_nodes(nodes: Sequence[Server]) -> None:
    one, two, three = nodes
    with sockets((one, "ann"), (two, "ann"), (two, "bob"), (three, "cid")) as clients:
        for client in clients[:3]:
            subscribe(client, "news")
        for server in nodes:
            facts = cluster(server)
            assert (facts["users"], facts["connections"], facts["topic"]) == (["ann", "bob", "cid"], 4, 3)
            assert facts["missing"] == [0, 0, 0]


def test_a_node_that_is_killed_leaves_no_users_behind_and_delays_nobody() -> None:
    with run_redis() as redis, run_node(redis) as one, run_node(redis) as two:
        with sockets((one, "ann"), (two, "bob")) as (ann, _):
            assert cluster(one)["users"] == ["ann", "bob"]
            kill_at_once(two)
            facts = poll(lambda: cluster(one), until=lambda facts: facts["users"] == ["ann"], timeout=3)
            assert facts["connections"] == 1
            assert facts["missing"] == [0, 0, 0]
            assert post(one, "/hub/broadcast", {"envelope": NEWS}) == 1
            assert recv_json(ann) == NEWS
        with run_node(redis) as three, sockets((three, "cid")):
            assert cluster(one)["users"] == ["cid"]


def test_redis_restarted_under_two_nodes() -> None:
    with run_redis() as redis, run_node(redis) as one, run_node(redis) as two:
        with sockets((one, "ann"), (two, "bob")) as (ann, bob):
            for client in (ann, bob):
                subscribe(client, "room")
            redis.kill()
            poll(lambda: get(one, "/ready").status, until=lambda status: status == 503)
            # Here it goes on meanwhile.
            ann.send(envelope("chat.message", room="room", text="alone"))
            assert recv_json(ann)["data"]["text"] == "alone"
            with sockets((one, "late")) as (late,):
                subscribe(late, "room")
                redis.start()
                for server in (one, two):
                    wait_until_ready(server)
                for client in (ann, bob, late):
                    assert recv_until(client, "gap")["data"] == {"topics": None}
                bob.send(envelope("chat.message", room="room", text="back"))
                for client in (ann, bob, late):
                    assert recv_until(client, "chat.message")["data"]["text"] == "back"
        assert "may have been missed" in one.log()


def recv_until(client: ClientConnection, kind: str) -> Any:
    while (message := recv_json(client)).get("type") != kind or message["data"].get("text") == "alone":
        pass
    return message


def test_a_node_that_starts_before_redis_joins_when_redis_comes() -> None:
    with run_redis(start=False) as redis:
        env = {"TEST_REDIS_URL": redis.url}
        with run_server(APP, env=env) as one, run_server(APP, env=env) as two:
            assert get(one, "/ready").status == 503
            with sockets((one, "ann")) as (ann,):
                assert nothing_waits(ann)
                redis.start()
                for server in (one, two):
                    wait_until_ready(server)
                assert poll(lambda: post(two, "/hub/disconnect", {"user_id": "ann", "code": 4403})) == 1


def test_the_workers_of_one_server_are_one_hub() -> None:
    with run_redis() as redis, run_node(redis, "-w", "2") as server, ExitStack() as stack:
        poll(lambda: redis.command("ZCARD", "{wshub}:nodes"), until=lambda reply: b"2" in reply, timeout=20)
        clients: list[ClientConnection] = []
        homes: set[str] = set()

        def come(number: int) -> tuple[ClientConnection, str]:
            client = stack.enter_context(connect(server, "/ws", token=f"user {number}", hello=True))
            home = drain_hello(client)["data"]["connection_id"][:13]
            subscribe(client, "room")
            return client, home

        # Several at a time: of those who come one by one an idle worker may take every one.
        with ThreadPoolExecutor(8) as pool:
            while len(homes) < 2:
                assert len(clients) < 200
                for client, home in pool.map(come, range(len(clients), len(clients) + 8)):
                    clients.append(client)
                    homes.add(home)

        assert poll(lambda: cluster(server)["connections"], until=lambda count: count == len(clients))
        clients[0].send(envelope("chat.message", room="room", text="hi"))
        for client in clients:
            assert recv_json(client)["data"]["text"] == "hi"

        server.stop()
        assert {closed_with(client)[0] for client in clients} == {1012}
        assert "Traceback" not in server.log()
