"""Redis away, unwell, or cut off: calls return in time, gaps are reported, subscriptions come back, nothing leaks."""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel

from quart_wshub.broker.redis import RedisBroker
from quart_wshub.protocol.errors import BrokerUnavailableError
from tests.contract_broker import Node, eventually, knows, running
from tests.harness.proxy import run_proxy
from tests.harness.redis import run_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_wshub.broker.base import Broker
    from tests.harness.proxy import Proxy
    from tests.harness.redis import RedisProcess

TIMEOUT = 1.0

MARGIN = 0.7
"""For a busy machine."""


def make_broker(redis: RedisProcess, proxy: Proxy | None = None, **options: Any) -> RedisBroker:
    """With times that suit a test."""
    url = redis.url if proxy is None else f"redis://127.0.0.1:{proxy.port}"
    return RedisBroker(url, **{"timeout": TIMEOUT, "beat": 0.2, "max_backoff": 0.2, **options})


@asynccontextmanager
async def two_nodes(redis: RedisProcess, **options: Any) -> AsyncIterator[tuple[Node, Node]]:
    """Both are subscribed to `a`, and the second to `b` as well."""
    async with running(make_broker(redis, **options), make_broker(redis, **options)) as (one, two):
        await one.subscribe("a")
        await two.subscribe("a", "b")
        await ready(one, two)
        yield one, two


async def ready(*nodes: Node) -> None:
    """Messages are sent and received, and every gap is reported."""
    await eventually(lambda: all(node.broker.statistics().ready for node in nodes))


async def unready(*nodes: Node) -> None:
    await eventually(lambda: not any(node.broker.statistics().ready for node in nodes))


async def assert_works(one: Node, two: Node) -> None:
    """Messages get through, in order and once."""
    before = len(two.heard.of("b"))
    for number in range(50):
        one.broker.post("b", b"%d" % number)
    receipt = await one.broker.publish("b", b"end")
    assert receipt.nodes == 1
    await eventually(lambda: two.heard.of("b")[-1:] == [b"end"])
    assert two.heard.of("b")[before:] == [*(b"%d" % number for number in range(50)), b"end"]


async def assert_answers_in_time(node: Node) -> None:
    """Every call that waits for Redis fails within the timeout."""
    for call in (lambda: node.broker.publish("a", b""), node.broker.nodes):
        with trio.fail_after(TIMEOUT + MARGIN), pytest.raises(BrokerUnavailableError):
            await call()


# Redis


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_restarted_redis(redis: RedisProcess, how: str) -> None:
    async with two_nodes(redis) as (one, two):
        everybody = {one.broker.node_id, two.broker.node_id}
        await eventually(lambda: knows(one, everybody))
        getattr(redis, how)()
        await unready(one, two)
        two.broker.subscribe("new")
        two.broker.unsubscribe("a")
        redis.start()
        await ready(one, two)

        assert one.heard.gaps == [{"a"}]
        assert two.heard.gaps == [{"b", "new"}]
        assert await two.broker.subscribed("new")
        assert await one.broker.nodes() == everybody
        await assert_works(one, two)
        assert one.broker.statistics().reconnects == 1


async def test_what_is_posted_while_redis_is_away_goes_out_when_it_is_back(redis: RedisProcess) -> None:
    async with two_nodes(redis, timeout=5.0) as (one, two):
        redis.kill()
        await unready(one, two)
        for number in range(100):
            one.broker.post("b", b"%d" % number)
        assert one.broker.statistics().waiting >= 100
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.broker.publish, "b", b"end")
            await trio.lowlevel.checkpoint()
            redis.start()

        # Two may be back later than one; then it has missed them, and is told.
        await ready(one, two)
        assert one.broker.statistics().lost == 0
        assert one.broker.statistics().published == 101
        assert two.heard.gaps == [{"a", "b"}]
        if two.heard.of("b"):
            assert (
                two.heard.of("b") == [*(b"%d" % number for number in range(101 - 1)), b"end"][-len(two.heard.of("b")) :]
            )


async def test_what_waited_for_too_long_is_lost_and_becomes_a_gap(redis: RedisProcess) -> None:
    async with run_proxy(redis.port) as proxy, running(make_broker(redis, proxy), make_broker(redis)) as (one, two):
        await two.subscribe("a", "b")
        await ready(one, two)
        proxy.refusing = True
        proxy.cut()
        await unready(one)
        one.broker.post("b", b"too old")
        await assert_answers_in_time(one)
        assert one.broker.statistics().waiting == 0
        one.broker.post("a", b"young enough")
        proxy.refusing = False
        await ready(one)

        await eventually(lambda: two.heard.gaps)
        await eventually(lambda: two.heard.of("a"))
        assert two.heard.gap_channels == {"a", "b"}  # "a" for the call that was to find out
        assert two.heard.messages == [("a", b"young enough")]
        assert one.broker.statistics().lost == 2


async def test_what_was_in_flight_when_the_connection_broke_is_not_repeated_and_becomes_a_gap(
    redis: RedisProcess,
) -> None:
    async with run_proxy(redis.port) as proxy, running(make_broker(redis, proxy), make_broker(redis)) as (one, two):
        await two.subscribe("a", "b")
        await ready(one, two)
        proxy.swallowing = True
        for _ in range(3):
            one.broker.post("b", b"swallowed")
        await eventually(lambda: one.broker.statistics().waiting == 0)
        proxy.cut()
        proxy.swallowing = False
        await unready(one)
        await ready(one)
        await one.broker.publish("b", b"after")

        await eventually(lambda: two.heard.messages)
        assert two.heard.gaps == [{"b"}]
        assert two.heard.messages == [("b", b"after")]
        assert one.broker.statistics().lost == 3


async def test_gaps_in_more_channels_than_are_kept_track_of_are_reported_in_all(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quart_wshub.broker.redis.publisher.MAX_MARKERS", 3)
    async with run_proxy(redis.port) as proxy, running(make_broker(redis, proxy), make_broker(redis)) as (one, two):
        await two.subscribe("a", "b")
        await ready(one, two)
        proxy.swallowing = True
        for number in range(10):
            one.broker.post(f"channel {number}", b"swallowed")
        await eventually(lambda: one.broker.statistics().waiting == 0)
        proxy.cut()
        proxy.swallowing = False
        await unready(one)
        await ready(one)

        await eventually(lambda: two.heard.gaps)
        assert two.heard.gaps == [{"a", "b"}]


async def test_paused_redis(redis: RedisProcess) -> None:
    async with two_nodes(redis) as (one, two):
        redis.pause()
        two.broker.subscribe("new")
        await assert_answers_in_time(one)
        with trio.fail_after(TIMEOUT + MARGIN):
            assert not await two.broker.subscribed("new")
        await unready(one, two)

        redis.resume()
        await ready(one, two)

        assert one.heard.gap_channels == {"a"}
        assert two.heard.gap_channels == {"a", "b", "new"}
        await assert_works(one, two)


async def test_a_dead_link(redis: RedisProcess) -> None:
    async with run_proxy(redis.port) as proxy, running(make_broker(redis, proxy)) as (one,):
        await one.subscribe("a")
        await ready(one)
        proxy.swallowing = True
        one.broker.post("a", b"swallowed")
        with trio.fail_after(2 * TIMEOUT + MARGIN):
            # What was in flight is given up, hence both connections were.
            await eventually(lambda: one.broker.statistics().lost == 1)
            await eventually(lambda: proxy.open_connections == 0 or proxy.accepted >= 4)
        proxy.swallowing = False
        await ready(one)
        assert one.heard.gap_channels == {"a"}


async def test_redis_that_refuses_more_clients(redis: RedisProcess, caplog: pytest.LogCaptureFixture) -> None:
    async with two_nodes(redis) as (one, two):
        with redis.session() as command:
            command("CONFIG", "SET", "maxclients", 1)
            command("CLIENT", "KILL", "SKIPME", "yes")
            await unready(one, two)
            await assert_answers_in_time(one)
            command("CONFIG", "SET", "maxclients", 100)
        await ready(one, two)

        assert two.heard.gap_channels == {"a", "b"}
        await assert_works(one, two)
        assert "max number of clients" in caplog.text
        assert len(caplog.records) < 30  # not one for each attempt


async def test_slow_redis(redis: RedisProcess) -> None:
    async with (
        run_proxy(redis.port) as proxy,
        running(*(make_broker(redis, proxy, timeout=3.0) for _ in "12")) as (one, two),
    ):
        proxy.delay = 0.08
        await two.subscribe("b")
        await ready(one, two)
        for _ in range(2):
            await assert_works(one, two)
        assert one.broker.statistics().reconnects == two.broker.statistics().reconnects == 0
        assert two.heard.gaps == []


async def test_redis_without_memory_still_publishes_and_the_nodes_are_unknown(
    redis: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async with two_nodes(redis, beat=0.1) as (one, two):
        redis.command("CONFIG", "SET", "maxmemory", 1)
        await assert_works(one, two)
        with trio.fail_after(3):
            while True:
                try:
                    assert await one.broker.nodes()
                except BrokerUnavailableError:
                    break
        assert two.heard.gaps == []
        assert "maxmemory" in caplog.text

        redis.command("CONFIG", "SET", "maxmemory", 0)
        await eventually(lambda: comes_to_know(two, {one.broker.node_id, two.broker.node_id}))


async def test_nodes_known_before_redis_lost_its_data_count_until_all_had_the_time_to_return(
    redis: RedisProcess,
) -> None:
    async with run_proxy(redis.port) as proxy, running(make_broker(redis), make_broker(redis, proxy)) as (one, two):
        both = {one.broker.node_id, two.broker.node_id}
        await eventually(lambda: knows(one, both))
        proxy.refusing = True
        redis.kill()
        await unready(one, two)
        await trio.sleep(0.7)  # more than three beats
        redis.start()
        await ready(one)

        assert await one.broker.nodes() == both
        await eventually(lambda: knows(one, {one.broker.node_id}))


async def comes_to_know(node: Node, names: set[str]) -> bool:
    try:
        return await knows(node, names)
    except BrokerUnavailableError:
        return False


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
async def test_killed_connections(redis: RedisProcess, kind: str) -> None:
    async with two_nodes(redis) as (one, two):
        redis.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        await unready(one, two)
        await ready(one, two)

        assert two.heard.gaps == ([{"a", "b"}] if kind == "pubsub" else [])
        await assert_works(one, two)


async def test_a_hub_that_is_too_slow_for_redis_is_told_what_it_missed(redis: RedisProcess) -> None:
    redis.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 100000 0 0")
    async with two_nodes(redis, timeout=5.0) as (one, two):
        two.heard.pause = trio.Event()
        for _ in range(15_000):
            one.broker.post("b", b"x" * 1000)
        await one.broker.publish("b", b"x")
        await eventually(lambda: sum("P" in client["flags"] for client in redis.clients()) == 1)
        two.heard.pause.set()
        await eventually(lambda: two.heard.gaps)

        assert two.heard.gaps == [{"a", "b"}]
        assert 0 < len(two.heard.of("b")) < 15_001
        await assert_works(one, two)


async def test_redis_that_starts_later_than_the_app() -> None:
    with run_redis(start=False) as redis:
        async with running(make_broker(redis), make_broker(redis)) as (one, two):
            one.broker.subscribe("c")
            two.broker.subscribe("b")
            await assert_answers_in_time(one)
            with trio.fail_after(TIMEOUT + MARGIN):
                assert not await two.broker.subscribed("b")

            redis.start()
            await ready(one, two)

            assert one.heard.gaps == [{"c"}]
            assert two.heard.gaps == [{"b"}]
            await assert_works(one, two)


async def test_the_queue_is_bounded_in_messages(redis: RedisProcess) -> None:
    async with run_proxy(redis.port) as proxy:
        brokers = make_broker(redis, proxy, max_waiting=20), make_broker(redis)
        async with running(*brokers) as (one, two):
            await two.subscribe("a", "b")
            await ready(one, two)
            taken = 0
            for _ in range(3):
                proxy.refusing = True
                proxy.cut()
                await unready(one)
                taken += post_until_refused(one.broker, "a", b"")
                assert one.broker.statistics().waiting <= 20
                with pytest.raises(BrokerUnavailableError, match="full"):
                    one.broker.post("b", b"refused, so the others miss it")
                proxy.refusing = False
                await ready(one)
                await eventually(lambda: len(two.heard.of("a")) == taken)  # noqa: B023
                await eventually(lambda: "b" in two.heard.gap_channels)
                two.heard.gaps.clear()
                await eventually(lambda: one.broker.statistics().published == taken)  # noqa: B023
                for _ in range(15):
                    one.broker.post("a", b"")
                    taken += 1
                await eventually(lambda: one.broker.statistics().published == taken)  # noqa: B023


def post_until_refused(broker: Broker, channel: str, message: bytes) -> int:
    """Returns how many were queued."""
    for taken in range(25):
        try:
            broker.post(channel, message)
        except BrokerUnavailableError:
            return taken
    pytest.fail("none was refused")


async def test_the_queue_is_bounded_in_bytes() -> None:
    with run_redis(start=False) as away:
        async with running(make_broker(away, max_waiting_bytes=100_000)) as (one,):
            assert 8 <= post_until_refused(one.broker, "a", b"x" * 10_000) <= 12


async def test_stopping_while_redis_is_away_fails_what_waits(redis: RedisProcess) -> None:
    async with two_nodes(redis, timeout=10.0) as (one, two):
        redis.pause()
        async with trio.open_nursery() as nursery:

            async def publish() -> None:
                with pytest.raises(BrokerUnavailableError):
                    await one.broker.publish("a", b"")

            nursery.start_soon(publish)
            await trio.sleep(0.01)
            with trio.fail_after(1.5):
                await one.stop()
        assert one.broker.statistics().lost == 1
        with trio.fail_after(1.5):
            await two.stop()
        redis.resume()


# Nodes


async def test_a_node_that_dies_is_forgotten_after_some_beats(redis: RedisProcess) -> None:
    async with run_proxy(redis.port) as proxy:
        brokers = make_broker(redis, proxy, beat=0.1), make_broker(redis, beat=0.1)
        async with running(*brokers) as (one, two):
            await ready(one, two)
            await eventually(lambda: knows(two, {one.broker.node_id, two.broker.node_id}))
            proxy.refusing = True
            proxy.cut()

            await eventually(lambda: knows(two, {two.broker.node_id}))


# For good


async def test_a_hundred_cuts_leave_nothing(redis: RedisProcess, caplog: pytest.LogCaptureFixture) -> None:
    async with run_proxy(redis.port) as proxy:
        brokers = make_broker(redis, proxy, max_backoff=0.01), make_broker(redis, max_backoff=0.01)
        async with running(*brokers) as (one, two):
            await one.subscribe(*(f"channel {number}" for number in range(50)))
            await two.subscribe("b")

            async def cut(times: int) -> None:
                for _ in range(times):
                    one.broker.post("b", b"x")
                    proxy.cut()
                    await unready(one)
                    await ready(one)

            def measure() -> footprint:
                gaps.update(one.heard.gaps)
                for node in (one, two):
                    node.heard.gaps.clear()
                    node.heard.messages.clear()
                return footprint()

            gaps: set[frozenset[str]] = set()
            caplog.set_level("CRITICAL", "quart_wshub")  # what was logged is kept
            await cut(10)
            before = measure()
            await cut(100)
            await eventually(lambda: proxy.open_connections == 2)
            after = measure()

            assert after.tasks == before.tasks
            assert after.descriptors == before.descriptors
            assert after.objects < before.objects + 100
            await eventually(lambda: len(redis.clients()) == 4)
            assert one.broker.statistics().reconnects >= 110
            assert gaps == {frozenset(f"channel {number}" for number in range(50))}
            assert one.broker.statistics().gaps >= 110
            await assert_works(one, two)
            stats = one.broker.statistics()
            assert stats.waiting == 0
            assert stats.published + stats.lost == 110 + 51


class footprint:  # noqa: N801 - reads as a function
    """What this process holds."""

    def __init__(self) -> None:
        gc.collect()
        self.tasks = trio.lowlevel.current_statistics().tasks_living
        self.descriptors = len(list(Path("/proc/self/fd").iterdir()))
        # Trio keeps up to a thousand deadlines that have passed: tuples of a number and a cancel scope.
        kinds = Counter(type(it).__name__ for it in gc.get_objects())
        self.objects = sum(count for kind, count in kinds.items() if not kind.startswith(("Cancel", "tuple")))


async def test_reconnecting_is_jittered_and_slows_down(redis: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def uniform(low: float, high: float) -> float:
        asked.append(high)
        return min(high, 0.01)

    monkeypatch.setattr("random.uniform", uniform)
    async with two_nodes(redis, max_backoff=0.8) as (one, two):
        redis.kill()
        await eventually(lambda: len(asked) >= 20)
        redis.start()
        await ready(one, two)
        assert {0.1, 0.2, 0.4, 0.8} == set(asked)
        await trio.sleep(0.9)
        asked.clear()
        redis.command("CLIENT", "KILL", "SKIPME", "yes")
        await eventually(lambda: len(asked) >= 4)
        assert set(asked) == {0.1}
        await ready(one, two)
