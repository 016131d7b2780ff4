"""Warnings that may come thousands of times in a row: one line a minute for each reason."""

from __future__ import annotations

import logging

import trio

__all__ = ["RateLimitedLog"]

log: logging.Logger = logging.getLogger("quart_wshub")

INTERVAL_SECONDS = 60
MAX_REASONS = 100


class RateLimitedLog:
    """Logs each reason at most once a minute, with the number of warnings suppressed since."""

    def __init__(self) -> None:
        self._next_time: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def warning(self, message: str, reason: str) -> None:
        """Log a warning, or count it as suppressed."""
        if len(self._next_time) >= MAX_REASONS and reason not in self._next_time:
            reason = "other reasons"
        now = trio.current_time()
        if now < self._next_time.get(reason, now):
            self._suppressed[reason] = self._suppressed.get(reason, 0) + 1
            return
        self._next_time[reason] = now + INTERVAL_SECONDS
        log.warning("%s: %s (%d more in the last minute)", message, reason, self._suppressed.pop(reason, 0))
