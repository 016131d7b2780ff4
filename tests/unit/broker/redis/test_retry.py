"""Delays between attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart_wshub.broker.redis.retry import Retry

if TYPE_CHECKING:
    import pytest


def test_the_ceiling_doubles_up_to_the_bound_and_what_lasts_resets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: low + high)
    retry = Retry(1.0)

    assert [round(retry.delay(), 3) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    retry.lasted(0.9)
    assert retry.delay() == 1.0
    retry.lasted(1.1)
    assert retry.delay() == 0.1
    assert Retry(0.05).delay() == 0.05


def test_delays_are_spread_from_zero_to_the_ceiling() -> None:
    delays = sorted(Retry(0.1).delay() for _ in range(500))

    assert 0 <= delays[0] < 0.01 < 0.04 < delays[250] < 0.06 < 0.09 < delays[-1] <= 0.1
