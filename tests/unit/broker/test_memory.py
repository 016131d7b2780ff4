"""The memory broker: the contract, and what a test can make of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from quart_wshub.broker.memory import MemoryBroker, MemoryExchange
from quart_wshub.protocol.errors import BrokerUnavailableError, ConfigurationError
from tests.contract_broker import BrokerContract, BrokerFactory, eventually, running
from tests.unit.outage import OutageExchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class TestContract(BrokerContract):
    @asynccontextmanager
    async def make_brokers(self) -> AsyncIterator[BrokerFactory]:
        exchange = MemoryExchange()
        yield lambda: MemoryBroker(exchange)
        assert not exchange.nodes


async def test_a_broker_without_an_exchange_is_alone() -> None:
    async with running(MemoryBroker(), MemoryBroker()) as (one, two):
        await two.subscribe("a")

        assert (await one.broker.publish("a", b"")).nodes == 0
        assert await one.broker.nodes() == {one.broker.node_id}


async def test_the_queue_of_a_stuck_hub_is_bounded_and_what_it_missed_is_a_gap() -> None:
    exchange = MemoryExchange()
    async with running(MemoryBroker(exchange), MemoryBroker(exchange, max_waiting=10)) as (one, two):
        await two.subscribe("a", "b", "c")
        two.heard.pause = trio.Event()
        await one.broker.publish("b", b"being delivered")
        await trio.testing.wait_all_tasks_blocked()
        for number in range(20):
            one.broker.post("a", b"%d" % number)
        one.broker.post("c", b"")

        two.heard.pause.set()

        await eventually(lambda: two.heard.gaps)
        await eventually(lambda: len(two.heard.of("a")) == 10)
        assert two.heard.gaps == [{"a", "c"}]
        assert two.broker.statistics().gaps == 1


async def test_a_gap_that_the_hub_fails_to_take_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    exchange = OutageExchange()
    async with running(MemoryBroker(exchange)) as (one,):
        await one.subscribe("a")
        one.heard.gaps = None  # type: ignore[assignment]
        exchange.restore()
        await one.broker.publish("a", b"")
        await eventually(lambda: one.heard.messages)

    assert "failed to take a gap" in caplog.text


async def test_an_outage_is_a_gap_at_its_end() -> None:
    exchange = OutageExchange()
    async with running(MemoryBroker(exchange), MemoryBroker(exchange)) as (one, two):
        await one.subscribe("a")
        exchange.cut()
        with pytest.raises(BrokerUnavailableError):
            two.broker.post("a", b"")
        with pytest.raises(BrokerUnavailableError):
            await two.broker.publish("a", b"")
        exchange.restore()

        await eventually(lambda: one.heard.gaps)
        assert one.heard.gaps == [{"a"}]
        assert two.heard.gaps == []
        await two.broker.publish("a", b"again")
        await eventually(lambda: one.heard.messages)


def test_a_bad_bound_is_refused() -> None:
    for bound in (0, -1, True, 1.5, "many"):
        with pytest.raises(ConfigurationError, match="max_waiting"):
            MemoryBroker(max_waiting=bound)  # type: ignore[arg-type]
