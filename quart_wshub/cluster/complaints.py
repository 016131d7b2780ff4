"""A log line for what may go wrong thousands of times in a row: one a minute for each reason."""

from __future__ import annotations

import logging

import trio

__all__ = ["Complaints"]

log: logging.Logger = logging.getLogger("quart_wshub")

QUIET_SECONDS = 60
MAX_REASONS = 100


class Complaints:
    """Logs warnings, each reason at most once a minute, with how often it was kept back meanwhile."""

    def __init__(self) -> None:
        self._quiet_until: dict[str, float] = {}
        self._kept_back: dict[str, int] = {}

    def complain(self, what: str, reason: str) -> None:
        """Log it, or count it."""
        if len(self._quiet_until) >= MAX_REASONS and reason not in self._quiet_until:
            reason = "other reasons"
        now = trio.current_time()
        if now < self._quiet_until.get(reason, now):
            self._kept_back[reason] = self._kept_back.get(reason, 0) + 1
            return
        self._quiet_until[reason] = now + QUIET_SECONDS
        log.warning("%s: %s (%d more in the last minute)", what, reason, self._kept_back.pop(reason, 0))
