"""A token bucket. Pure: the time is passed in."""

from __future__ import annotations

__all__ = ["TokenBucket"]

ROUNDING_SECONDS = 1e-6
"""Tolerance for sums of times, so that a client that waits as long as it was told is served."""


class TokenBucket:
    """Allows `burst` at once, and `per_second` in the long run. It starts full.

    Its only state is the time at which it will be full again, which each token taken postpones by one interval.
    """

    __slots__ = ("_debt_limit", "_full_at", "_interval")

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second
        self._debt_limit = (burst - 1) * self._interval
        self._full_at = 0.0

    def take(self, now: float) -> float:
        """Take a token and return 0; where there is none, take nothing and return the seconds until there is one.

        `now` is in seconds, at least 0, of a monotonic clock.
        """
        full_at = max(self._full_at, now)
        wait = full_at - now - self._debt_limit
        if wait > ROUNDING_SECONDS:
            return wait
        self._full_at = full_at + self._interval
        return 0.0
