"""Fan-outs to many connections: one order, no long turn, one encoding, and cancellation."""

from __future__ import annotations

import itertools
import math
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from quart_wshub import Identity, WebSocketDisconnect, WebSocketHub, WSEnvelope
from quart_wshub.connection.ending import EndingKind
from quart_wshub.connection.session import Session
from quart_wshub.delivery.fan_out import SLICE
from quart_wshub.hub.websocket_hub import runtime_of
from quart_wshub.protocol.frame import Frame
from tests.unit.fakes import FakeTransport, delivered, join, make_session, texts, ws_of
from tests.unit.memory import make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


NEWS = WSEnvelope(type="news")

MANY = SLICE * 5 + 10
"""So many that a fan-out gives way to other tasks five times."""


async def join_many(hub: WebSocketHub, count: int = MANY) -> list[Session]:
    """Connections of users 0, 1, 2, …, all in the topic `news`."""
    settings = make_settings(WS_SEND_QUEUE_MESSAGES=65536)
    connections = [join(hub, number, settings=settings) for number in range(count)]
    for connection in connections:
        runtime_of(hub).registry.subscribe(connection, "news")
    return connections


class Turns(trio.abc.Instrument):
    """Measures how long tasks run between two checkpoints, in seconds of CPU time."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._began = math.inf  # what runs when this is installed began unseen

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.longest = max(self.longest, time.thread_time() - self._began)


async def between_checkpoints(work: Callable[[], Awaitable[object]]) -> int:
    """The most deliveries that other tasks saw happen from one of their turns to the next."""
    seen = [CountingSession.offered]
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            while True:
                seen.append(CountingSession.offered)
                await trio.lowlevel.checkpoint()

        nursery.start_soon(watch)
        await trio.lowlevel.checkpoint()
        await work()
        nursery.cancel_scope.cancel()
    seen.append(CountingSession.offered)
    return max(after - before for before, after in itertools.pairwise(seen))


async def until_under_way(connections: list[Session]) -> None:
    """Wait until a fan-out has served its first connections, and no longer: the last are still to come."""
    while not connections[0].outbox.queued_messages:
        await trio.lowlevel.checkpoint()
    assert connections[-1].outbox.queued_messages == 0


class CountingSession(Session):
    """Counts what is offered to all of its kind."""

    __slots__ = ()

    offered = 0

    def offer(self, frame: Frame) -> bool:
        CountingSession.offered += 1
        return super().offer(frame)


async def test_a_fan_out_to_ten_thousand_yields_to_other_tasks_every_few_hundred() -> None:
    hub = WebSocketHub(max_per_user=10_000)
    runtime, settings, transport = runtime_of(hub), make_settings(), FakeTransport()
    for _ in range(10_000):
        runtime.register(
            CountingSession(
                uuid4(),
                Identity("ann"),
                registry=runtime.registry,
                fan_out=runtime.fan_out,
                closed=runtime.closed,
                transport=transport,
                settings=settings,
            )
        )

    # Trio shuffles who goes first in a turn, so a sibling may see two slices at once.
    assert await between_checkpoints(lambda: hub.broadcast(NEWS)) <= 2 * SLICE
    assert await between_checkpoints(lambda: hub.send_to("ann", NEWS)) <= 2 * SLICE
    assert CountingSession.offered == 20_000


async def test_a_fan_out_to_ten_thousand_never_holds_the_loop_for_10_milliseconds() -> None:
    hub = WebSocketHub()
    await join_many(hub, 10_000)
    rounds = []
    for _ in range(5):
        turns = Turns()
        trio.lowlevel.add_instrument(turns)
        assert await hub.broadcast(NEWS, topic="news") == 10_000
        trio.lowlevel.remove_instrument(turns)
        rounds.append(turns.longest)

    assert min(rounds) < 0.010, "the machine may be slow once, the code is slow always"


async def test_a_frame_is_encoded_once_per_broadcast_and_shared_by_all() -> None:
    class CountingEnvelope(WSEnvelope):
        def encode(self) -> str:
            encoded.append(self.type)
            return super().encode()

    encoded: list[str] = []
    hub = WebSocketHub()
    connections = await join_many(hub)

    await hub.broadcast(CountingEnvelope(type="news"), topic="news")

    assert encoded == ["news"]
    frames = [frame for connection in connections for frame in await delivered(connection)]
    assert len(frames) == MANY
    assert all(frame is frames[0] for frame in frames)


async def test_overlapping_fan_outs_arrive_in_one_order_on_every_connection() -> None:
    hub = WebSocketHub()
    connections = await join_many(hub)

    async def publish(name: str) -> None:
        for number in range(4):
            await hub.broadcast(WSEnvelope(type=f"{name}{number}"), topic="news")

    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c", "d"):
            nursery.start_soon(publish, name)

    first = texts(await delivered(connections[0]))
    assert len(first) == 16
    assert all([texts(await delivered(connection)) == first for connection in connections[1:]])
    types = [WSEnvelope.decode(text).type for text in first]
    for name in ("a", "b", "c", "d"):
        assert [t for t in types if t.startswith(name)] == [f"{name}{number}" for number in range(4)]


async def test_a_message_to_one_user_does_not_overtake_a_broadcast_that_came_first() -> None:
    hub = WebSocketHub()
    connections = await join_many(hub)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.broadcast, WSEnvelope(type="first"))
        await until_under_way(connections)
        last = connections[-1]
        await hub.send_to(last.user_id, WSEnvelope(type="second"))

    assert [WSEnvelope.decode(text).type for text in texts(await delivered(last))] == ["first", "second"]


@pytest.mark.parametrize("topic", [None, "news"])
async def test_a_connection_closed_during_a_fan_out_gets_it_once(topic: str | None) -> None:
    hub = WebSocketHub()
    connections = await join_many(hub)
    first, last = connections[0], connections[-1]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: hub.broadcast(NEWS, topic=topic))
        await until_under_way(connections)
        for connection in (first, last):
            connection.begin_close(1000, kind=EndingKind.SERVER_CLOSED)

    assert len(await delivered(first)) == len(await delivered(last)) == 1


async def test_a_peer_that_leaves_during_a_fan_out_gets_no_more_and_is_not_counted() -> None:
    hub = WebSocketHub()
    connections = await join_many(hub)
    results: list[int] = []

    async def broadcast() -> None:
        results.append(await hub.broadcast(NEWS))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(broadcast)
        await until_under_way(connections)
        gone = connections[-1]
        gone.peer_left(WebSocketDisconnect(1006))

    assert results == [MANY - 1]
    assert await delivered(gone) == []


async def test_a_connection_that_unsubscribes_during_a_fan_out_gets_it_once() -> None:
    hub = WebSocketHub()
    connections = await join_many(hub)
    first, last = connections[0], connections[-1]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: hub.broadcast(NEWS, topic="news"))
        await until_under_way(connections)
        for connection in (first, last):
            await hub.unsubscribe(connection.connection_id, "news")

    assert len(await delivered(first)) == len(await delivered(last)) == 1
    assert await hub.broadcast(NEWS, topic="news") == MANY - 2


async def test_a_handlers_own_send_during_a_fan_out_comes_after_it() -> None:
    hub = WebSocketHub()
    connections = await join_many(hub)
    last = connections[-1]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.broadcast, NEWS)
        await until_under_way(connections)
        for text in ("one", "two"):
            await ws_of(last).send(text)

    assert texts(await delivered(last)) == [NEWS.encode(), "one", "two"]


async def test_a_connection_registered_during_a_fan_out_does_not_get_it() -> None:
    hub = WebSocketHub()
    connections = await join_many(hub)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.broadcast, NEWS)
        await until_under_way(connections)
        newcomer = join(hub, "newcomer")

    assert await delivered(newcomer) == []


async def test_a_slow_peer_evicted_in_a_fan_out_does_not_disturb_it() -> None:
    hub = WebSocketHub()
    slow = join(hub, "slow", settings=make_settings(WS_SEND_QUEUE_MESSAGES=1))
    connections = await join_many(hub)
    await hub.broadcast(NEWS)

    assert await hub.broadcast(NEWS) == MANY
    assert slow.ending is not None
    assert [connection.outbox.queued_messages for connection in connections] == [2] * MANY


async def test_a_fan_out_cancelled_midway_still_reaches_everyone() -> None:
    hub = WebSocketHub()
    connections = await join_many(hub)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.broadcast, NEWS)
        await until_under_way(connections)
        served = sum(connection.outbox.queued_messages for connection in connections)
        nursery.cancel_scope.cancel()

    assert 0 < served < MANY
    assert [connection.outbox.queued_messages for connection in connections] == [1] * MANY
    assert hub.connection_count() == hub.topic_count("news") == MANY
    with trio.fail_after(5):
        assert await hub.broadcast(NEWS) == MANY


async def test_a_fan_out_cancelled_while_it_waits_for_the_order_does_nothing() -> None:
    hub = WebSocketHub()
    connections = await join_many(hub)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.broadcast, WSEnvelope(type="first"))
        await until_under_way(connections)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as waiting:
                waiting.start_soon(hub.broadcast, WSEnvelope(type="second"))
                await trio.lowlevel.checkpoint()
                scope.cancel()

    await wait_all_tasks_blocked()
    assert {tuple(texts(await delivered(connection))) for connection in connections} == {
        (WSEnvelope(type="first").encode(),)
    }
    assert hub.statistics().publications == 1


# Floods: publications for the same sockets that follow each other at once


@asynccontextmanager
async def flood_ready(hub: WebSocketHub) -> AsyncIterator[None]:
    """Holding back is possible."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runtime_of(hub).fan_out.run_flusher)
        await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def wire_of(connection: Session) -> bytes:
    return b"".join([frame.wire for frame in await delivered(connection)])


def wire(*types: str) -> bytes:
    return b"".join(Frame(WSEnvelope(type=t).encode()).wire for t in types)


async def test_a_flood_arrives_complete_and_in_order() -> None:
    hub = WebSocketHub()
    ann, bob = join(hub, "ann"), join(hub, "bob")
    types = [f"news.{number}" for number in range(50)]

    async with flood_ready(hub):
        for t in types:
            assert await hub.broadcast(WSEnvelope(type=t)) == 2
        await trio.sleep(0.05)

        assert await wire_of(ann) == await wire_of(bob) == wire(*types)


async def test_nothing_that_follows_a_flood_overtakes_it() -> None:
    hub = WebSocketHub()
    ann, bob = join(hub, "ann"), join(hub, "bob")

    async with flood_ready(hub):
        for number in range(10):
            await hub.broadcast(WSEnvelope(type=f"news.{number}"))
        await hub.send_to("ann", WSEnvelope(type="to.ann"))
        for number in range(10, 20):
            await hub.broadcast(WSEnvelope(type=f"news.{number}"))
        await ws_of(bob).send_envelope(WSEnvelope(type="from.the.handler"))
        await trio.sleep(0.05)

        first, second = [f"news.{n}" for n in range(10)], [f"news.{n}" for n in range(10, 20)]
        assert await wire_of(ann) == wire(*first, "to.ann", *second)
        assert await wire_of(bob) == wire(*first, *second, "from.the.handler")


async def test_connections_that_join_or_leave_in_a_flood_get_exactly_what_was_published_meanwhile() -> None:
    hub = WebSocketHub()
    leaver, closed, joiner = join(hub, "ann"), join(hub, "bob"), join(hub, "cid")
    for connection in (leaver, closed):
        await hub.subscribe(connection.connection_id, "news")

    async def publish(first: int, last: int) -> None:
        for number in range(first, last):
            await hub.broadcast(WSEnvelope(type=f"news.{number}"), topic="news")

    async with flood_ready(hub):
        await publish(0, 5)
        await hub.subscribe(joiner.connection_id, "news")
        await publish(5, 10)
        await hub.unsubscribe(leaver.connection_id, "news")
        await publish(10, 15)
        await hub.disconnect(connection_id=closed.connection_id)
        await publish(15, 20)
        await trio.sleep(0.05)

    assert await wire_of(leaver) == wire(*[f"news.{n}" for n in range(10)])
    assert await wire_of(closed) == wire(*[f"news.{n}" for n in range(15)])
    assert await wire_of(joiner) == wire(*[f"news.{n}" for n in range(5, 20)])


async def test_the_excluded_connection_gets_nothing_of_a_flood() -> None:
    hub = WebSocketHub()
    sender, other = join(hub, "ann"), join(hub, "bob")

    async with flood_ready(hub):
        for number in range(10):
            assert await hub.broadcast(WSEnvelope(type=f"news.{number}"), exclude=sender.connection_id) == 1
        await hub.broadcast(WSEnvelope(type="for.all"))
        await trio.sleep(0.05)

    assert await wire_of(sender) == wire("for.all")
    assert await wire_of(other) == wire(*[f"news.{n}" for n in range(10)], "for.all")


async def test_the_bytes_held_back_are_bounded() -> None:
    hub = WebSocketHub()
    ann = join(hub, "ann")

    async with flood_ready(hub):
        for _ in range(100):
            await hub.broadcast(WSEnvelope(type="news", data={"text": "x" * 1000}))
        published = ann.statistics().queued_bytes

        assert published > 50 * 1000


async def test_held_publications_are_flushed_when_the_flusher_ends(hub: WebSocketHub) -> None:
    connection = make_session(hub)
    runtime_of(hub).register(connection)

    async with flood_ready(hub):
        await runtime_of(hub).fan_out.run_flusher()  # a second one is not needed
        for number in range(10):
            await hub.broadcast(WSEnvelope(type=f"news.{number}"))
    await hub.broadcast(WSEnvelope(type="after"))

    assert await wire_of(connection) == wire(*[f"news.{n}" for n in range(10)], "after")
    connection.begin_close(1000, kind=EndingKind.SERVER_CLOSED)


async def test_held_publications_reach_a_closing_connection_before_its_close() -> None:
    hub = WebSocketHub()
    ann = join(hub, "ann")

    async with flood_ready(hub):
        for number in range(10):
            await hub.broadcast(WSEnvelope(type=f"news.{number}"))
        await hub.disconnect(user_id="ann")

    assert await wire_of(ann) == wire(*[f"news.{n}" for n in range(10)])


async def test_a_new_connection_in_a_flood_gets_everything_published_from_then_on() -> None:
    hub = WebSocketHub()
    join(hub, "ann")

    async with flood_ready(hub):
        for number in range(5):
            assert await hub.broadcast(WSEnvelope(type=f"news.{number}")) == 1
        newcomer = join(hub, "bob")
        for number in range(5, 10):
            assert await hub.broadcast(WSEnvelope(type=f"news.{number}")) == 2
        await trio.sleep(0.05)

    assert await wire_of(newcomer) == wire(*[f"news.{n}" for n in range(5, 10)])


async def test_publications_made_while_the_same_sockets_are_served_are_joined() -> None:
    hub = WebSocketHub()
    connections = await join_many(hub)

    async with flood_ready(hub), trio.open_nursery() as nursery:
        nursery.start_soon(partial(hub.broadcast, WSEnvelope(type="first"), topic="news"))
        await until_under_way(connections)
        for number in range(3):
            await hub.broadcast(WSEnvelope(type=f"then.{number}"), topic="news")

    for connection in (connections[0], connections[-1]):
        pieces = await delivered(connection)
        assert [piece.wire for piece in pieces] == [wire("first"), wire("then.0", "then.1", "then.2")]
