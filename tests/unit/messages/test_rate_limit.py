"""The token bucket, against the textbook's: a number of tokens that grows with time."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from quart_wshub.messages.rate_limit import TokenBucket


def taken_at_once(bucket: TokenBucket, now: float) -> int:
    count = 0
    while not bucket.take(now):
        count += 1
    return count


def test_it_is_full_at_first_and_takes_its_burst_at_once() -> None:
    assert taken_at_once(TokenBucket(10, 5), 1000.0) == 5


def test_it_refills_at_its_rate_up_to_its_burst() -> None:
    bucket = TokenBucket(10, 5)
    taken_at_once(bucket, 0)

    assert taken_at_once(bucket, 0.2) == 2
    assert taken_at_once(bucket, 1000) == 5


def test_it_returns_how_long_to_wait() -> None:
    bucket = TokenBucket(4, 1)
    bucket.take(7.0)

    assert bucket.take(7.1) == pytest.approx(0.15)
    assert bucket.take(7.1) == pytest.approx(0.15), "a refusal costs nothing"
    assert bucket.take(7.25) == 0


@given(st.floats(0.001, 1000), st.integers(1, 1000), st.floats(0, 1e6))
def test_a_token_is_available_after_the_returned_wait(per_second: float, burst: int, now: float) -> None:
    bucket = TokenBucket(per_second, burst)
    for _ in range(burst):
        assert bucket.take(now) == 0
    wait = bucket.take(now)

    assert wait > 0
    assert bucket.take(now + wait) == 0


class AgainstTheTextbook(RuleBasedStateMachine):
    """In eighths of a second and powers of two, which floats hold exactly."""

    @initialize(rate=st.sampled_from([1, 2, 4, 8]), burst=st.integers(1, 10))
    def start(self, rate: int, burst: int) -> None:
        self.bucket = TokenBucket(rate, burst)
        self.rate, self.burst = rate, burst
        self.now = Fraction(0)
        self.tokens = Fraction(burst)

    @rule(eighths=st.integers(0, 40))
    def wait(self, eighths: int) -> None:
        self.now += Fraction(eighths, 8)
        self.tokens = min(Fraction(self.burst), self.tokens + self.rate * Fraction(eighths, 8))

    @rule()
    def take(self) -> None:
        wait = self.bucket.take(float(self.now))
        if self.tokens >= 1:
            assert wait == 0
            self.tokens -= 1
        else:
            assert wait == float((1 - self.tokens) / self.rate)


TestAgainstTheTextbook = AgainstTheTextbook.TestCase
