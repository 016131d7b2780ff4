"""Delays between attempts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.broker.redis import RedisBroker
from quart_wshub.broker.redis.connection import RedisDialer
from quart_wshub.broker.redis.retry import Retry
from tests.contract_broker import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


async def delays(max_seconds: float, *, lasting: float = 0, count: int = 6) -> list[float]:
    """Seconds before the next attempt, of attempts that last so long once they have connected."""
    retry, starts = Retry(max_seconds), list[float]()
    with trio.CancelScope() as scope:

        async def attempt() -> None:
            starts.append(trio.current_time())
            if len(starts) > count:
                scope.cancel()
            retry.succeeded()
            await trio.sleep(lasting)
            raise ConnectionResetError

        await retry.run(attempt, "it", lambda: None)
    return [round(after - before - lasting, 3) for before, after in pairwise(starts)]


async def test_the_ceiling_doubles_up_to_the_bound_and_a_connection_that_outlives_it_resets_it(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: low + high)

    assert await delays(1.0) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert await delays(1.0, lasting=0.1) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert await delays(1.0, lasting=0.3) == [0.1] * 6
    assert await delays(0.05) == [0.05] * 6


async def test_delays_are_spread_from_zero_to_the_ceiling(autojump_clock: object) -> None:
    seconds = sorted(await delays(0.1, count=500))

    assert 0 <= seconds[0] < 0.01 < 0.04 < seconds[250] < 0.06 < 0.09 < seconds[-1] <= 0.1


class LayoutConnection:
    """A cluster of one server, which answers nothing else."""

    async def ask(self, *parts: bytes) -> Any:
        await trio.lowlevel.checkpoint()
        return [[0, 16_383, [b"localhost", 7000]]]

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self) -> list[Any]:
        await trio.sleep_forever()
        raise AssertionError


async def test_the_layout_of_a_cluster_is_asked_for_again_at_once_after_it_was_known_for_a_while(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: low + high)
    away = True
    failures: list[float] = []

    @asynccontextmanager
    async def open_or_fail(self: RedisDialer, address: object) -> AsyncIterator[LayoutConnection]:
        await trio.lowlevel.checkpoint()
        if away:
            failures.append(trio.current_time())
            raise ConnectionRefusedError
        yield LayoutConnection()

    monkeypatch.setattr(RedisDialer, "open", open_or_fail)
    async with running(RedisBroker("redis+cluster://localhost:7000", timeout=1000, max_backoff=5)) as (one,):
        await trio.sleep(20)
        away = False
        await trio.sleep(60)
        away = True
        failures.clear()
        one.broker._servers.moved()  # type: ignore[attr-defined]
        await trio.sleep(0.5)

    assert len(failures) >= 3
