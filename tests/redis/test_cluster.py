"""A Redis Cluster: the contract with sharded pub/sub, servers that are lost, slots that move."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from quart_wshub.broker.redis import RedisBroker
from quart_wshub.broker.redis.cluster_servers import slot_of
from quart_wshub.protocol.errors import BrokerUnavailableError
from tests.contract_broker import BrokerContract, BrokerFactory, eventually, running
from tests.harness.proxy import run_proxy
from tests.redis.cluster import RedisCluster, run_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from quart_wshub.broker.base import Broker


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with run_cluster() as cluster:
        yield cluster


class TestContract(BrokerContract):
    @pytest.fixture(autouse=True)
    def use(self, cluster: RedisCluster) -> None:
        self.cluster = cluster

    @asynccontextmanager
    async def make_brokers(self) -> AsyncIterator[BrokerFactory]:
        prefix = uuid4().hex
        brokers: list[RedisBroker] = []

        def make() -> RedisBroker:
            brokers.append(RedisBroker(self.cluster.url, prefix=prefix, timeout=2))
            return brokers[-1]

        yield make


def make(cluster: RedisCluster) -> RedisBroker:
    return RedisBroker(cluster.url, timeout=1, beat=0.2, max_backoff=0.2)


async def test_slots(cluster: RedisCluster) -> None:
    keys = [b"foo", b"123456789", b"{user1000}.following", b"foo{}{bar}", b"foo{{bar}}zap", b"foo{bar}{zap}", b"{", b""]
    for key in keys:
        assert slot_of(key) == int(cluster.servers[0].command("CLUSTER", "KEYSLOT", key.decode())[1:]), key
    assert [slot_of(key) for key in (b"foo", b"123456789")] == [12182, 12739]


async def test_channels_are_spread_over_the_servers(cluster: RedisCluster) -> None:
    async with running(make(cluster)) as (one,):
        await one.subscribe(*(f"channel {number}" for number in range(60)))

        for server in cluster.servers:
            shards = server.command("PUBSUB", "SHARDCHANNELS")
            assert int(shards.split(b"\r\n")[0][1:]) >= 10


async def test_a_server_that_restarts_takes_only_its_own_channels_with_it(cluster: RedisCluster) -> None:
    names = [f"channel {number}" for number in range(30)]
    step = 16_384 // 3 + 1
    lost = {name for name in names if slot_of(b"wshub:" + name.encode()) // step == 1}
    async with running(make(cluster), make(cluster)) as (one, two):
        await two.subscribe(*names)
        await eventually(lambda: one.broker.statistics().ready and two.broker.statistics().ready)
        cluster.servers[1].command("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: not two.broker.statistics().ready)
        await eventually(lambda: two.broker.statistics().ready)

        assert 0 < len(lost) < 30
        assert two.heard.gaps == [lost]
        for name in names:
            assert (await one.broker.publish(name, name.encode())).nodes == 1
        await eventually(lambda: len(two.heard.messages) == 30)


async def test_a_slot_that_moves(cluster: RedisCluster) -> None:
    slot = slot_of(b"wshub:mover")
    step = 16_384 // 3 + 1
    source = cluster.servers[slot // step]
    target = cluster.servers[(slot // step + 1) % 3]
    async with running(make(cluster), make(cluster)) as (one, two):
        await two.subscribe("mover", "other")
        await eventually(lambda: one.broker.statistics().ready and two.broker.statistics().ready)
        cluster.move_slot(slot, source, target)
        try:
            one.broker.post("mover", b"perhaps lost")
            await eventually(lambda: any("mover" in gap for gap in two.heard.gaps))
            await eventually(lambda: publishes(one.broker, "mover"))
            await one.broker.publish("mover", b"end")
            await eventually(lambda: b"end" in two.heard.of("mover"))
            assert int(target.command("PUBSUB", "SHARDNUMSUB", "wshub:mover").split(b":")[-1]) == 1
        finally:
            cluster.move_slot(slot, target, source)


async def publishes(broker: Broker, channel: str) -> bool:
    try:
        return (await broker.publish(channel, b"try")).nodes == 1
    except BrokerUnavailableError:
        return False


async def test_a_cluster_that_is_away_is_found_later(cluster: RedisCluster) -> None:
    async with run_proxy(cluster.servers[0].port) as proxy:
        proxy.refusing = True
        broker = RedisBroker(f"redis+cluster://127.0.0.1:{proxy.port}", timeout=0.6, max_backoff=0.05)
        async with running(broker) as (one,):
            broker.subscribe("a")
            for call in (lambda: broker.publish("a", b""), broker.nodes):
                with pytest.raises(BrokerUnavailableError):
                    await call()
            assert not await broker.subscribed("a")
            proxy.refusing = False
            broker.post("a", b"waits until it is found")

            await eventually(lambda: broker.statistics().published == 1)
            await eventually(lambda: broker.statistics().ready)
            assert one.heard.gaps[0] == {"a"}
            assert await broker.nodes() == {broker.node_id}
