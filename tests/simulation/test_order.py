"""One order: what one node publishes arrives in the same order on every socket of every node.

Two nodes, random publishers, sizes, audiences, subscriber counts and slices, sockets that come and go, and publishers
that are cancelled. Time is virtual and Trio's scheduling is seeded, so a failing example is printed and reproduces.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING
from unittest.mock import patch

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub import WebSocketHub, WSEnvelope
from quart_wshub.broker.memory import MemoryBroker, MemoryExchange
from quart_wshub.delivery import fan_out
from quart_wshub.hub.websocket_hub import runtime_of
from tests.unit.bus import cluster_of
from tests.unit.fakes import FakeTransport, make_session
from tests.unit.memory import make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from quart_wshub.connection.session import Session
    from quart_wshub.protocol.frame import Frame

USERS = ("ann", "bob")
TOPICS = ("one", "two", "three")
SIZES = (0, 64, 20_000)
NODES = ("a", "b")

Publication = tuple[str, int]
"""The node that published it, and a number of its own."""


class Socket(FakeTransport):
    """Takes everything at once, and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def try_send(self, frame: Frame) -> Frame | None:
        self.texts += [part.payload for part in frame.parts if isinstance(part.payload, str)]
        return None

    def received(self, node: str) -> list[Publication]:
        """What came from one node, in order."""
        envelopes = [WSEnvelope.decode(text) for text in self.texts]
        return [(node, envelope.data["number"]) for envelope in envelopes if envelope.data["node"] == node]


class Node:
    """One hub, its sockets, and what is published on it."""

    def __init__(self, name: str, random: Random, exchange: MemoryExchange) -> None:
        self.name = name
        self.random = random
        self.hub = WebSocketHub(max_per_user=10_000, broker=MemoryBroker(exchange))
        self.sockets: list[tuple[Session, Socket]] = []
        self.published = 0

    def connect(self, user: str, topics: Sequence[str]) -> None:
        """One more socket."""
        socket = Socket()
        session = make_session(self.hub, user, transport=socket, settings=make_settings())
        runtime_of(self.hub).register(session)
        for topic in topics:
            session.subscribe(topic)
        self.sockets.append((session, socket))

    async def publish(self) -> None:
        """Publish something to somebody."""
        random = self.random
        self.published += 1
        data = {"node": self.name, "number": self.published, "text": "x" * random.choice(SIZES)}
        envelope = WSEnvelope(type="news", data=data)
        passing = self.sockets[len(USERS) :]
        exclude = random.choice(passing)[0].connection_id if passing and random.random() < 0.2 else None
        match random.randrange(4):
            case 0:
                await self.hub.send_to(random.choice(USERS), envelope)
            case 1:
                await self.hub.broadcast(envelope, exclude=exclude)
            case _:
                await self.hub.broadcast(envelope, topic=random.choice(TOPICS), exclude=exclude)

    async def publish_many(self, count: int) -> None:
        """One publisher. Now and then it pauses, or gives up in the middle of a publication."""
        for _ in range(count):
            async with trio.open_nursery() as nursery:
                if self.random.random() < 0.2:
                    nursery.start_soon(give_up, nursery, self.random.randint(0, 4))
                await self.publish()
                nursery.cancel_scope.cancel()
            if self.random.random() < 0.3:
                await trio.sleep(self.random.choice((0, 0, 0.0005, 0.01)))

    async def come_and_go(self, count: int) -> None:
        """Sockets that come, subscribe, unsubscribe and close."""
        for _ in range(count):
            self.connect(self.random.choice(USERS), [self.random.choice(TOPICS)])
            session, _ = self.random.choice(self.sockets[len(USERS) :])
            topic = self.random.choice(TOPICS)
            match self.random.randrange(4):
                case 0:
                    session.subscribe(topic)
                case 1:
                    session.unsubscribe(topic)
                case 2:
                    session.close(1000)
            await trio.sleep(self.random.choice((0, 0.0005)))


async def give_up(nursery: trio.Nursery, turns: int) -> None:
    """Cancel a nursery after so many turns of the event loop."""
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    nursery.cancel_scope.cancel()


@asynccontextmanager
async def two_nodes(random: Random) -> AsyncIterator[list[Node]]:
    """Two running nodes. The first socket of each user has all topics, and stays."""
    exchange = MemoryExchange()
    async with trio.open_nursery() as nursery:
        nodes = [Node(name, random, exchange) for name in NODES]
        for node in nodes:
            await nursery.start(cluster_of(node.hub).run)
            if random.random() < 0.8:
                nursery.start_soon(runtime_of(node.hub).fan_out.run_flusher)
            for user in USERS:
                node.connect(user, TOPICS)
            for _ in range(random.choice((0, 1, 5, 30))):
                node.connect(random.choice(USERS), random.sample(TOPICS, random.randint(0, 3)))
        await wait_all_tasks_blocked()
        yield nodes
        await trio.sleep(1)
        nursery.cancel_scope.cancel()


async def simulate(random: Random) -> list[Node]:
    """Run it, and return what came of it."""
    async with two_nodes(random) as nodes, trio.open_nursery() as nursery:
        for node in nodes:
            for _ in range(random.randint(1, 4)):
                nursery.start_soon(node.publish_many, random.randint(1, 15))
            nursery.start_soon(node.come_and_go, random.randint(0, 15))
    return nodes


def contradictions(nodes: Sequence[Node], origin: str) -> Iterator[str]:
    """Where two sockets have two publications of one node in different orders, or one has one twice."""
    after: defaultdict[Publication, set[Publication]] = defaultdict(set)
    for node in nodes:
        for _, socket in node.sockets:
            received = socket.received(origin)
            if len(received) != len(set(received)):
                yield f"twice on {node.name}: {received}"
            for position, publication in enumerate(received):
                after[publication].update(received[position + 1 :])
    yield from (f"{one} and {other}" for one, others in after.items() for other in others if one in after[other])


def lost(nodes: Sequence[Node], origin: str) -> Iterator[str]:
    """What reached a socket that stays on one node, and not its user's on the other."""
    for sockets in zip(*(node.sockets[: len(USERS)] for node in nodes), strict=True):
        one, other = (set(socket.received(origin)) for _, socket in sockets)
        yield from map(str, one ^ other)


def clock_of(random: Random) -> Callable[[], float]:
    """A clock for what is held back, which sometimes jumps beyond the time of that."""
    now = 0.0

    def read() -> float:
        nonlocal now
        now += random.choice((0.0, 0.0, 0.0001, 0.002))
        return now

    return read


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=settings().max_examples // 2)
def test_what_one_node_publishes_has_one_order_on_all_sockets_of_all_nodes(seed: int) -> None:
    random = Random(seed)
    with (
        patch.object(fan_out, "SLICE", random.choice((1, 3, 10, 128))),
        patch.object(fan_out, "perf_counter", clock_of(random)),
    ):
        nodes = trio.run(simulate, random, clock=MockClock(autojump_threshold=0))

    for origin in NODES:
        assert list(contradictions(nodes, origin)) == []
        assert list(lost(nodes, origin)) == []
