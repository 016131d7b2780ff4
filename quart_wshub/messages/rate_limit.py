"""A token bucket. Pure: the time is passed in."""

from __future__ import annotations

__all__ = ["TokenBucket"]

ROUNDING_SECONDS = 1e-6
"""What sums of times may be off by, so that whoever waits as long as told is served."""


class TokenBucket:
    """Takes `burst` at once, and `per_second` in the long run. It is full at first.

    The one number it keeps is when it will be full again; each token taken puts that off by the time one takes to
    grow back.
    """

    __slots__ = ("_debt_limit", "_full_at", "_interval")

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second
        self._debt_limit = (burst - 1) * self._interval
        self._full_at = 0.0

    def take(self, now: float) -> float:
        """Take a token: 0. Where there is none, nothing is taken: the seconds until there will be one.

        `now` is in seconds, of a clock that does not go back, and 0 or later.
        """
        full_at = max(self._full_at, now)
        wait = full_at - now - self._debt_limit
        if wait > ROUNDING_SECONDS:
            return wait
        self._full_at = full_at + self._interval
        return 0.0
