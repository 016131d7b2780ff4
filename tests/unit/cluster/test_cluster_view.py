"""Queries over all nodes, and nodes that do not answer."""

from __future__ import annotations

from uuid import uuid4

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from quart_wshub import BrokerUnavailableError, WebSocketHub
from quart_wshub.cluster.channels import user_key
from quart_wshub.cluster.wire import Response, encode_control
from quart_wshub.hub.websocket_hub import runtime_of
from tests.unit.bus import Bus, cluster_of, hubs_on
from tests.unit.fakes import join


async def test_queries_cover_all_nodes() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker(), bus.broker()) as hubs:
        one, two, three = hubs
        user_id = uuid4()
        reader = join(one, "ann")
        other_reader = join(two, "ann")
        join(two, user_id)
        join(three, 7)
        await one.subscribe(reader.connection_id, "news")
        await two.subscribe(other_reader.connection_id, "news")

        for hub in hubs:
            assert (await hub.cluster.connection_count()).value == 4
            assert (await hub.cluster.online_users()).value == {"ann", user_id, 7}
            assert (await hub.cluster.topic_count("news")).value == 2
            assert (await hub.cluster.topic_count("nobody")).value == 0
            assert (await hub.cluster.topic_count("news")).complete
            assert (await hub.cluster.online_users()).missing == 0
        assert three.online_users() == {7}


async def test_without_a_broker_queries_cover_this_node() -> None:
    hub = WebSocketHub()
    connection = join(hub, "ann")
    await hub.subscribe(connection.connection_id, "news")

    assert (await hub.cluster.online_users()).value == {"ann"}
    assert (await hub.cluster.connection_count()).value == 1
    assert (await hub.cluster.topic_count("news")).value == 1
    assert (await hub.cluster.topic_count("news")).complete


async def test_a_dead_node_is_neither_counted_nor_waited_for() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        join(one, "ann")
        join(two, "bob")
        bus.brokers[1].connected = False

        with trio.fail_after(1):
            answer = await one.cluster.online_users()
        assert answer.value == {"ann"}
        assert answer.complete


async def test_a_hung_node_is_reported_as_missing_after_the_timeout(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker(), bus.broker()) as (one, two, three):
        for hub in (one, two, three):
            join(hub, hub.statistics().accepted)
        await wait_all_tasks_blocked()
        bus.brokers[2].deaf = True
        start = trio.current_time()

        answer = await one.cluster.connection_count(timeout=0.5)

        assert trio.current_time() - start == pytest.approx(0.5)
        assert (answer.value, answer.missing, answer.complete) == (2, 1, False)
        bus.brokers[2].deaf = False
        bus.brokers[2].wake()
        await wait_all_tasks_blocked()  # its late response is dropped
        assert (await one.cluster.connection_count()).value == 3


async def test_if_the_broker_cannot_count_receivers_missing_is_unknown(autojump_clock: object) -> None:
    bus = Bus()
    bus.tells_nodes = False
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        join(two)
        answer = await one.cluster.connection_count()
        assert (answer.value, answer.missing, answer.complete) == (1, None, False)


async def test_ten_thousand_users_are_listed_in_parts() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        for number in range(10_000):
            runtime_of(two).registry.add(_Member(number))  # type: ignore[arg-type]  # a member as any other
        await wait_all_tasks_blocked()
        bus.brokers[1].sent.clear()

        answer = await one.cluster.online_users()

        assert answer.value == set(range(10_000))
        sizes = [len(message) for _, message in bus.brokers[1].sent]
        assert len(sizes) == 20
        assert max(sizes) < 100_000
        for member in list(runtime_of(two).registry.everyone()):
            runtime_of(two).registry.remove(member)


class _Member:
    def __init__(self, user_id: int) -> None:
        self.user_id = user_id
        self.connection_id = uuid4()


async def test_a_response_that_lacks_a_part_is_missing(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,), trio.open_nursery() as nursery:
        bus.also_alive = frozenset({"0123456789ab"})
        ghost = bus.broker()
        ghost.confirmed.add("all")
        ghost.connected = True
        nursery.start_soon(_answer_partly, bus)
        answer = await hub.cluster.online_users()
        assert answer.value == set()
        assert answer.missing == 1
        ghost.connected = False


async def _answer_partly(bus: Bus) -> None:
    await wait_all_tasks_blocked()
    for part in (0, 1):
        answer = Response(ref=1, part=part, parts=3, users=(user_key("ann"),))
        bus.brokers[0].arrive(f"node:{bus.brokers[0].node_id}", encode_control("0123456789ab", answer))


async def test_a_query_fails_while_the_backend_is_down() -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        bus.down = True
        with pytest.raises(BrokerUnavailableError):
            await hub.cluster.online_users()


async def test_no_request_stays_pending_after_its_call(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, _):
        cluster = cluster_of(one)
        await one.cluster.online_users()
        with trio.move_on_after(0):
            await one.cluster.online_users()
        bus.brokers[1].deaf = True
        await one.cluster.online_users()
        bus.down = True
        with pytest.raises(BrokerUnavailableError):
            await one.cluster.online_users()

        assert len(cluster.requests) == 0
