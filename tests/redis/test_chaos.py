"""Two hundred clients talk while a node is killed and Redis restarted.

Whatever happens, what one publisher says to a topic arrives in that order and at most once on every socket; a socket
that missed something is told; and once the storm is over every client gets what its topics get.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import trio
from trio_websocket import ConnectionClosed, HandshakeError, wrap_client_stream

from tests.harness.redis import run_redis
from tests.redis.test_nodes import kill_at_once, run_node

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trio_websocket import WebSocketConnection

    from tests.harness.redis import RedisProcess
    from tests.harness.server import Server

CLIENTS = 200
TALKERS = 20
TOPICS = 20
TALK_SECONDS = 0.1
RETRY_SECONDS = 0.3


class Session:
    """What one socket saw."""

    def __init__(self) -> None:
        self.heard: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self.gaps = 0

    def take(self, message: dict[str, Any]) -> None:
        if message["type"] == "gap":
            self.gaps += 1
        elif message["type"] == "said":
            said = message["data"]
            self.heard[said["topic"], said["by"]].append(said["n"])

    def check(self) -> int:
        """Order, and no message twice; returns how many holes there are."""
        holes = 0
        for numbers in self.heard.values():
            assert numbers == sorted(set(numbers)), numbers
            holes += sum(later - earlier > 1 for earlier, later in itertools.pairwise(numbers))
        return holes


class Client:
    """Connects to a node, and to another where that is gone; some talk."""

    def __init__(self, number: int, nodes: Sequence[Server]) -> None:
        self.number = number
        self.nodes = nodes
        self.topics = {f"t{number % TOPICS}", f"t{(number * 7 + 1) % TOPICS}"}
        self.sessions: list[Session] = []
        self.socket: WebSocketConnection | None = None
        self.finals: set[str] = set()

    async def run(self) -> None:
        for attempt in itertools.count(self.number):
            query = urlencode({"token": f"user{self.number}", "topics": ",".join(sorted(self.topics))})
            with suppress(OSError):
                port = self.nodes[attempt % len(self.nodes)].port
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:
                    with suppress(ConnectionClosed, HandshakeError):
                        await self._use(await wrap_client_stream(nursery, stream, "localhost", f"/talk?{query}"))
                    nursery.cancel_scope.cancel()
            await trio.sleep(RETRY_SECONDS)

    async def _use(self, socket: WebSocketConnection) -> None:
        session = Session()
        self.sessions.append(session)
        try:
            while True:
                message = json.loads(await socket.get_message())
                if message["type"] == "joined":
                    assert set(message["data"]["topics"]) == self.topics
                    self.socket = socket
                elif message["type"] == "said" and message["data"]["by"] == "final":
                    self.finals.add(message["data"]["topic"])
                else:
                    session.take(message)
        finally:
            self.socket = None

    async def talk(self) -> None:
        """Say numbers, counted anew on every socket."""
        topic = f"t{self.number}"
        while True:
            socket = self.socket
            for n in itertools.count():
                await trio.sleep(TALK_SECONDS)
                if socket is None or self.socket is not socket:
                    break
                await self.say(socket, topic, f"{self.number}/{len(self.sessions)}", n)

    async def say(self, socket: WebSocketConnection, topic: str, by: str, n: int) -> None:
        with suppress(ConnectionClosed):
            await socket.send_message(json.dumps({"type": "say", "data": {"topic": topic, "by": by, "n": n}}))


@pytest.fixture(autouse=True)
def deadline() -> None:
    """Longer than the other tests."""


@pytest.fixture
def stage() -> Iterator[tuple[RedisProcess, list[Server]]]:
    with ExitStack() as stack:
        redis = stack.enter_context(run_redis())
        yield redis, [stack.enter_context(run_node(redis)) for _ in range(3)]


async def test_two_hundred_clients_talk_while_a_node_dies_and_redis_restarts(
    stage: tuple[RedisProcess, list[Server]],
) -> None:
    redis, nodes = stage
    clients = [Client(number, nodes) for number in range(CLIENTS)]
    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.run)
            await until(lambda: all(client.socket for client in clients))
            async with trio.open_nursery() as talking:
                for client in clients[:TALKERS]:
                    talking.start_soon(client.talk)
                await storm(redis, nodes)
                talking.cancel_scope.cancel()
            await until(lambda: all(client.socket for client in clients))
            await say_goodbye(clients)
            nursery.cancel_scope.cancel()

    sessions = [session for client in clients for session in client.sessions]
    assert sum(len(numbers) for session in sessions for numbers in session.heard.values()) > 2000
    assert len(sessions) > CLIENTS, "the node that died had clients"
    for session in sessions:
        assert not session.check() or session.gaps, "something was missed in silence"
    for client in clients:
        if len(client.sessions) == 1:
            assert client.sessions[0].gaps, "Redis was away while this one was connected"


async def storm(redis: RedisProcess, nodes: Sequence[Server]) -> None:
    await trio.sleep(1.5)
    kill_at_once(nodes[2])
    await trio.sleep(1.5)
    redis.kill()
    await trio.sleep(0.5)
    redis.start()
    await trio.sleep(3)


async def say_goodbye(clients: Sequence[Client]) -> None:
    """Every topic is told once more; again, where a node has not found back yet."""
    with trio.move_on_after(10):
        while not all(client.finals == client.topics for client in clients):
            for client in clients[:TALKERS]:
                if client.socket is not None:
                    await client.say(client.socket, f"t{client.number}", "final", 0)
            await trio.sleep(0.5)
    assert [client.number for client in clients if client.finals != client.topics] == []


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110 - it depends on two hundred tasks
        await trio.sleep(0.05)
