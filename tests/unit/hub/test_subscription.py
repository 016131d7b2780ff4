"""`hub.subscription`: a membership that ends with its block, whatever ends the block, and whatever else happens."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import trio
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from quart_wshub import InvalidTopicError, TopicLimitError, WebSocketHub, WSEnvelope
from quart_wshub.connection.ending import EndingKind
from quart_wshub.testing import connect
from tests.unit.fakes import delivered, join, texts
from tests.unit.memory import make_app, make_settings

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from quart_wshub import WebSocket, WebSocketConnection


async def test_the_membership_lasts_as_long_as_the_block() -> None:
    hub = WebSocketHub()
    connection = join(hub)

    async with hub.subscription(connection.connection_id, "news") as subscribed:
        assert subscribed is True
        assert connection.topics == {"news"}
    assert connection.topics == frozenset()
    assert hub.statistics().topics == 0
    assert not connection.memberships


async def test_the_subscription_ends_with_an_exception() -> None:
    hub = WebSocketHub()
    connection = join(hub)

    with pytest.raises(KeyError, match="mine"):
        async with hub.subscription(connection.connection_id, "news"):
            raise KeyError("mine")
    assert connection.topics == frozenset()


async def test_the_subscription_ends_with_cancellation_and_without_a_checkpoint() -> None:
    hub = WebSocketHub()
    connection = join(hub)
    with trio.CancelScope() as scope:
        async with hub.subscription(connection.connection_id, "news"):
            scope.cancel()
            await trio.sleep_forever()
    assert connection.topics == frozenset()

    with trio.CancelScope() as scope:
        async with hub.subscription(connection.connection_id, "news"):
            scope.cancel()
    assert not scope.cancelled_caught, "leaving the block is no checkpoint"
    assert connection.topics == frozenset()


async def test_a_block_cancelled_on_entry_has_no_effect() -> None:
    hub = WebSocketHub()
    connection = join(hub)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with hub.subscription(connection.connection_id, "news"):
            pytest.fail("not reached")  # pragma: no cover
    assert scope.cancelled_caught
    assert connection.topics == frozenset()
    assert not connection.memberships


async def test_an_unknown_connection_is_not_subscribed() -> None:
    hub = WebSocketHub()
    gone = join(hub)
    gone.begin_close(1000, kind=EndingKind.SERVER_CLOSED)
    for connection_id in (uuid4(), gone.connection_id):
        async with hub.subscription(connection_id, "news") as subscribed:
            assert subscribed is False
            assert hub.topic_count("news") == 0


async def test_a_closing_connection_ends_its_subscription() -> None:
    hub = WebSocketHub()
    connection = join(hub)
    async with hub.subscription(connection.connection_id, "news"):
        connection.begin_close(1000, kind=EndingKind.SERVER_CLOSED)
        assert hub.topic_count("news") == 0
        assert await hub.subscribe(connection.connection_id, "news") is False
    assert hub.statistics().topics == 0
    assert not connection.memberships


async def test_bad_topics_and_topics_beyond_the_limit_are_refused() -> None:
    hub = WebSocketHub()
    connection = join(hub, settings=make_settings(WS_MAX_TOPICS_PER_CONNECTION=1))
    with pytest.raises(InvalidTopicError):
        async with hub.subscription(connection.connection_id, ""):
            pass
    async with hub.subscription(connection.connection_id, "news"):
        with pytest.raises(TopicLimitError):
            async with hub.subscription(connection.connection_id, "more"):
                pass
        async with hub.subscription(connection.connection_id, "news") as subscribed:
            assert subscribed
        assert connection.topics == {"news"}
    async with hub.subscription(connection.connection_id, "more") as subscribed:
        assert subscribed


async def test_a_block_does_not_end_an_earlier_subscription() -> None:
    hub = WebSocketHub()
    connection = join(hub)
    await hub.subscribe(connection.connection_id, "news")
    async with hub.subscription(connection.connection_id, "news"):
        pass
    assert connection.topics == {"news"}


async def test_publications_inside_the_block_are_delivered() -> None:
    hub = WebSocketHub()
    connection = join(hub)
    async with hub.subscription(connection.connection_id, "news"):
        assert await hub.broadcast(WSEnvelope(type="in"), topic="news") == 1
    assert await hub.broadcast(WSEnvelope(type="out"), topic="news") == 0
    assert [WSEnvelope.decode(text).type for text in texts(await delivered(connection))] == ["in"]


async def test_a_handlers_block_ends_when_its_client_leaves(hub: WebSocketHub) -> None:
    ended = trio.Event()

    async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        try:
            async with hub.subscription(connection.connection_id, "news") as subscribed:
                await ws.send(str(subscribed))
                async for _ in ws:
                    pass
        finally:
            ended.set()

    async with connect(make_app(handler, hub, WS_HELLO=False), token="ann") as client:
        assert await client.receive() == "True"
        assert hub.topic_count("news") == 1
        await client.drop()
        await wait_all_tasks_blocked()
        assert hub.topic_count("news") == 0
    assert ended.is_set()


# The model: a connection is in a topic if it was asked for by itself, or a block is open that nobody has overruled


CONNECTIONS = st.integers(0, 1)
TOPICS = st.sampled_from(["news", "chat"])
STEPS = st.one_of(
    st.tuples(st.just("subscribe"), CONNECTIONS, TOPICS),
    st.tuples(st.just("unsubscribe"), CONNECTIONS, TOPICS),
    st.tuples(st.just("enter"), CONNECTIONS, TOPICS),
    st.tuples(st.just("leave"), st.integers(0, 5), st.booleans()),
)
LAST = st.lists(st.tuples(st.just("end"), CONNECTIONS, st.just("")), max_size=2)
"""A connection that has ended is dull: let it not end too early."""


class Play:
    """Runs steps on a hub and on the model at once, and compares after each."""

    def __init__(self) -> None:
        self.hub = WebSocketHub()
        self.connections = [join(self.hub), join(self.hub)]
        self.explicit: set[tuple[int, str]] = set()
        self.blocks: dict[AbstractAsyncContextManager[bool], tuple[int, str] | None] = {}
        self.alive = {0, 1}

    async def run(self, steps: list[tuple[str, int, str | bool]]) -> None:
        for name, number, argument in steps:
            await getattr(self, name)(number, argument)
            self.compare()
        for block in list(self.blocks):
            await self.close(block, failing=False)
            self.compare()
        assert not any(connection.memberships for connection in self.connections)

    async def subscribe(self, number: int, topic: str) -> None:
        alive = number in self.alive
        assert await self.hub.subscribe(self.connections[number].connection_id, topic) is alive
        if alive:
            self.explicit.add((number, topic))

    async def unsubscribe(self, number: int, topic: str) -> None:
        assert await self.hub.unsubscribe(self.connections[number].connection_id, topic) is (number in self.alive)
        self.explicit.discard((number, topic))
        self.blocks = {block: None if what == (number, topic) else what for block, what in self.blocks.items()}

    async def enter(self, number: int, topic: str) -> None:
        block = self.hub.subscription(self.connections[number].connection_id, topic)
        alive = number in self.alive
        assert await block.__aenter__() is alive
        self.blocks[block] = (number, topic) if alive else None

    async def leave(self, which: int, failing: bool) -> None:
        if self.blocks:
            await self.close(list(self.blocks)[which % len(self.blocks)], failing=failing)

    async def close(self, block: AbstractAsyncContextManager[bool], *, failing: bool) -> None:
        del self.blocks[block]
        error = KeyError("x") if failing else None
        assert not await block.__aexit__(type(error) if error else None, error, None)

    async def end(self, number: int, _: str) -> None:
        self.connections[number].begin_close(1000, kind=EndingKind.SERVER_CLOSED)
        self.alive.discard(number)

    def compare(self) -> None:
        wanted = self.explicit | {what for what in self.blocks.values() if what is not None}
        for number, connection in enumerate(self.connections):
            expected = {topic for owner, topic in wanted if owner == number and number in self.alive}
            assert connection.topics == expected


Steps = list[tuple[str, int, str | bool]]


@given(st.lists(STEPS, max_size=25), LAST, st.lists(STEPS, max_size=5))
@example([("enter", 0, "news"), ("unsubscribe", 0, "news"), ("enter", 0, "news"), ("leave", 1, True)], [], [])
@example([("subscribe", 0, "news"), ("enter", 0, "news"), ("unsubscribe", 0, "news"), ("leave", 0, True)], [], [])
@hypothesis_settings(max_examples=200)
def test_blocks_and_calls_in_any_order_agree_with_the_model(first: Steps, endings: Steps, then: Steps) -> None:
    async def play() -> None:
        await Play().run(first + endings + then)

    trio.run(play)
