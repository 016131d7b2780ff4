"""`max_per_user` over several nodes: for every interleaving of messages and joins the newest sockets remain."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub import CloseCode, WebSocketHub
from quart_wshub.cluster.limit import Socket, oldest_beyond
from tests.unit.bus import Bus, cluster_of, hubs_on
from tests.unit.fakes import join

if TYPE_CHECKING:
    from quart_wshub.connection.session import Session

MAX = 2

sockets = st.lists(st.builds(Socket, st.integers(0, 5), st.uuids(), st.sampled_from("ab")), max_size=8)


@given(sockets, st.integers(1, 4))
def test_the_newest_are_never_beyond_the_limit(some: list[Socket], limit: int) -> None:
    too_many = oldest_beyond(some, limit)

    assert len(too_many) == max(0, len(set(some)) - limit)
    kept = set(some) - set(too_many)
    assert all(old < new for old in too_many for new in kept)


@given(sockets, sockets, st.integers(1, 4))
def test_an_incomplete_list_evicts_no_socket_that_stays(some: list[Socket], others: list[Socket], limit: int) -> None:
    assert set(oldest_beyond(some, limit)) <= set(oldest_beyond(some + others, limit))


def test_equal_ages_are_ordered_by_connection_id() -> None:
    older, newer = Socket(1, UUID(int=1), "b"), Socket(1, UUID(int=2), "a")
    assert oldest_beyond([newer, older], 1) == [older]


async def test_the_oldest_anywhere_is_evicted_with_4429() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker(), bus.broker(), max_per_user=MAX) as (one, two, three):
        connections = []
        for hub in (one, two, three, one):
            connections.append(join(hub, "ann"))
            await wait_all_tasks_blocked()
        stranger = join(two, "bob")
        await wait_all_tasks_blocked()

        codes = [connection.ending and connection.ending.code for connection in connections]
        assert codes == [4429, 4429, None, None]
        assert {connection.ending.reason for connection in connections if connection.ending} == {
            CloseCode.TOO_MANY_CONNECTIONS.reason
        }
        assert stranger.ending is None


def newest(connections: list[Session]) -> set[Session]:
    by_age = sorted(connections, key=lambda connection: (connection.connected_at, connection.connection_id))
    return set(by_age[-MAX:])


def still_open(connections: list[Session]) -> set[Session]:
    return {connection for connection in connections if connection.ending is None}


steps = st.lists(
    st.tuples(st.sampled_from(["join", "join", "deliver", "deliver", "confirm"]), st.integers(0, 2)),
    min_size=3,
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(steps)
def test_the_newest_sockets_remain_for_every_interleaving_of_joins_and_messages(script: list[tuple[str, int]]) -> None:
    async def play() -> None:
        bus = Bus(by_hand=True)
        async with hubs_on(bus.broker(), bus.broker(), bus.broker(), max_per_user=MAX) as hubs:
            connections: list[Session] = []
            for action, node in script:
                if action == "join":
                    connections.append(join(hubs[node], "ann"))
                elif action == "deliver":
                    bus.brokers[node].let_in()
                else:
                    bus.brokers[node].confirm()
                await wait_all_tasks_blocked()
                assert still_open(connections) >= newest(connections), "one of the newest was evicted"
            await settle(bus)
            assert still_open(connections) == newest(connections)

    trio.run(play, clock=MockClock(autojump_threshold=0))


async def settle(bus: Bus) -> None:
    """Let everything arrive, retries included."""
    bus.by_hand = False
    for _ in range(20):
        for broker in bus.brokers:
            broker.confirm()
            broker.wake()
        await wait_all_tasks_blocked()
        await trio.sleep(1)


async def test_sockets_that_joined_while_the_backend_was_down_are_checked_once_it_is_back(
    autojump_clock: object,
) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker(), max_per_user=MAX) as (one, two):
        bus.down = True
        connections = [join(hub, "ann") for hub in (one, two, one, two)]
        await trio.sleep(20)
        assert still_open(connections) == set(connections)

        bus.down = False
        await settle(bus)
        assert still_open(connections) == newest(connections)


async def test_sockets_registered_before_the_broker_ran_are_checked(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), max_per_user=MAX) as (one,):
        first = [join(one, "ann") for _ in range(MAX)]
        await settle(bus)
        two = WebSocketHub(max_per_user=MAX, broker=bus.broker())
        second = [join(two, "ann") for _ in range(MAX)]
        async with trio.open_nursery() as nursery:
            await nursery.start(cluster_of(two).run)
            await settle(bus)
            assert still_open(first + second) == set(second)
            await cluster_of(two).stop()


async def test_a_lost_eviction_is_repeated_after_the_gap(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker(), max_per_user=MAX) as (one, two):
        connections = [join(one, "ann") for _ in range(MAX)]
        await wait_all_tasks_blocked()
        bus.brokers[0].confirmed.discard(f"node:{bus.brokers[0].node_id}")
        connections.append(join(two, "ann"))
        await trio.sleep(10)
        assert len(still_open(connections)) == MAX + 1

        bus.brokers[0].confirm()
        bus.brokers[0].lose()
        await settle(bus)
        assert still_open(connections) == newest(connections)


async def test_a_hung_node_delays_the_check_and_is_then_ignored(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker(), bus.broker(), max_per_user=MAX) as (one, two, three):
        connections = [join(hub, "ann") for hub in (three, one, two)]
        await settle(bus)
        bus.brokers[2].deaf = True
        connections.append(join(one, "ann"))
        await trio.sleep(60)
        assert still_open(connections) == newest(connections)
        await assert_idle(one)
        bus.brokers[2].deaf = False


async def test_a_node_that_hung_for_a_while_is_asked_again(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker(), max_per_user=MAX) as (one, two):
        connections = [join(two, "ann") for _ in range(MAX)]
        await settle(bus)
        bus.brokers[1].deaf = True
        connections.append(join(one, "ann"))
        await trio.sleep(2.5)  # the first request has timed out
        assert len(still_open(connections)) == MAX + 1
        bus.brokers[1].deaf = False
        await settle(bus)
        assert still_open(connections) == newest(connections)


async def assert_idle(hub: WebSocketHub) -> None:
    """No request is pending."""
    cluster = cluster_of(hub)
    assert len(cluster.requests) == 0


@pytest.mark.parametrize("leave_first", [True, False])
async def test_a_user_who_has_left_is_not_checked_again(leave_first: bool, autojump_clock: object) -> None:
    bus = Bus(by_hand=True)
    async with hubs_on(bus.broker(), max_per_user=MAX) as (hub,):
        connection = join(hub, "ann")
        if not leave_first:
            await wait_all_tasks_blocked()
        await hub.disconnect(connection_id=connection.connection_id)
        await trio.sleep(30)
        bus.brokers[0].sent.clear()
        await trio.sleep(30)
        assert bus.brokers[0].sent == []


async def test_hundreds_of_simultaneous_joins_are_all_checked(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker(), max_per_user=1) as (one, two):
        old = [join(one, number) for number in range(300)]
        new = [join(two, number) for number in range(300)]
        await settle(bus)
        assert not still_open(old)
        assert len(still_open(new)) == 300
