"""Gap notices: who gets which, in order with the deliveries."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from quart_wshub import WSEnvelope
from quart_wshub.cluster.gaps import affected
from quart_wshub.cluster.wire import encode_publication
from quart_wshub.delivery.registry import Registry
from tests.unit.bus import Bus, hubs_on
from tests.unit.fakes import delivered, join, texts

if TYPE_CHECKING:
    from quart_wshub.connection.session import Session


async def gaps(connection: Session) -> list[Any]:
    await wait_all_tasks_blocked()
    messages = [json.loads(text) for text in texts(await delivered(connection))]
    assert all(message["request_id"] is None for message in messages)
    return [message["data"]["topics"] for message in messages if message["type"] == "gap"]


async def test_each_socket_is_notified_of_its_affected_topics(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        both, one, other, none = (join(hub, number) for number in range(4))
        for connection, topics in ((both, "abc"), (one, "a"), (other, "c")):
            for topic in topics:
                await hub.subscribe(connection.connection_id, topic)

        bus.brokers[0].lose("topic:a", "topic:b")

        assert [await gaps(connection) for connection in (both, one, other, none)] == [[["a", "b"]], [["a"]], [], []]
        statistics = hub.statistics().broker
        assert statistics is not None
        assert statistics.gaps == 1
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "may have been missed, in 2 channels" in caplog.text


async def test_a_gap_in_the_users_or_everyones_channel_names_no_topics() -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        ann, bob = join(hub, "ann"), join(hub, "bob")
        for connection in (ann, bob):
            await hub.subscribe(connection.connection_id, "a")

        bus.brokers[0].lose("user:s:ann", "topic:a")
        assert [await gaps(ann), await gaps(bob)] == [[None], [["a"]]]
        bus.brokers[0].lose()
        assert [await gaps(ann), await gaps(bob)] == [[None], [None]]


@pytest.mark.parametrize("channel", ["topic:nobody is in it", "user:s:nobody", "node:000000000001"])
async def test_gaps_in_channels_without_subscribers_notify_nobody(channel: str) -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        connection = join(hub)
        bus.brokers[0].lose(channel)
        assert await gaps(connection) == []


async def test_the_notice_is_in_order_with_the_messages_before_and_after_the_gap() -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        connection = join(hub)
        for number in range(3):
            bus.brokers[0].arrive("all", encode_publication("0123456789ab", WSEnvelope(type=f"{number}").encode()))
            await wait_all_tasks_blocked()
            # Both before the task that tells of gaps gets a turn.
            bus.brokers[0].lose()
        bus.brokers[0].arrive("all", encode_publication("0123456789ab", WSEnvelope(type="after").encode()))
        await wait_all_tasks_blocked()
        types = [json.loads(text)["type"] for text in texts(await delivered(connection))]
        assert types == ["0", "gap", "1", "gap", "2", "gap", "after"]


async def test_simultaneous_gaps_make_one_notice() -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        connection = join(hub)
        for topic in "ab":
            await hub.subscribe(connection.connection_id, topic)
        bus.brokers[0].lose("topic:a")
        bus.brokers[0].lose("topic:b")
        assert await gaps(connection) == [["a", "b"]]


async def test_a_notice_to_many_sockets_yields_to_other_tasks() -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        connections = [join(hub, number) for number in range(600)]
        await wait_all_tasks_blocked()
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            bus.brokers[0].lose()
            while not connections[-1].outbox.queued_messages:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert turns > 3


def test_sockets_are_grouped_by_missed_topics() -> None:
    class Member:
        def __init__(self, number: int) -> None:
            self.connection_id = number
            self.user_id = "ann"

    registry: Registry[Any] = Registry()
    members = [Member(number) for number in range(100)]
    for member in members:
        registry.add(member)
        registry.subscribe(member, "a")
        registry.subscribe(member, "b" if member.connection_id % 2 else "c")

    groups = affected(registry, ["a", "b", "c", "d"])

    assert {topics: len(members()) for topics, members in groups.items()} == {
        frozenset("ab"): 50,
        frozenset("ac"): 50,
    }
