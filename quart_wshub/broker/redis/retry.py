"""Repeats what is expected to fail, such as a connection, with jittered exponential backoff."""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING

import trio

from quart_wshub.broker.redis.connection import CONNECTION_FAILURES
from quart_wshub.protocol.exception_groups import leaves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Retry"]

FIRST_SECONDS = 0.1

QUIET_SECONDS = 30
"""The same failure is logged again only after an attempt that lasted longer than this."""

log: logging.Logger = logging.getLogger("quart_wshub")


class Retry:
    """Retries with full jitter, so that nodes do not all come back at the same time.

    A delay is uniform between zero and a ceiling, which doubles with every failure from 0.1 s up to `max_seconds`.
    """

    def __init__(self, max_seconds: float) -> None:
        self._max = max_seconds
        self._first = self._ceiling = min(FIRST_SECONDS, max_seconds)
        self._succeeded_at = math.inf

    def succeeded(self) -> None:
        """Called by an attempt that has connected. If that lasts longer than the ceiling, the ceiling is reset."""
        self._succeeded_at = min(self._succeeded_at, trio.current_time())

    async def run(self, attempt: Callable[[], Awaitable[None]], what: str, failed: Callable[[], None]) -> None:
        """Call `attempt` until cancelled; after each end, call `failed` and wait. Raises nothing but `Cancelled`."""
        logged = ""
        while True:
            since, self._succeeded_at = trio.current_time(), math.inf
            reason = await _try_once(attempt, what, logged)
            now = trio.current_time()
            logged = reason if now - since < QUIET_SECONDS else ""
            failed()
            if now - self._succeeded_at > self._ceiling:
                self._ceiling = self._first
            await trio.sleep(random.uniform(0, self._ceiling))  # noqa: S311 - jitter is no secret
            self._ceiling = min(self._max, self._ceiling * 2)


async def _try_once(attempt: Callable[[], Awaitable[None]], what: str, logged: str) -> str:
    """Returns why it ended, which is logged unless it is `logged` already."""
    reason = logged
    try:
        await attempt()
    except* CONNECTION_FAILURES as group:
        error = next(leaves(group))
        reason = "it does not answer" if isinstance(error, trio.TooSlowError) else str(error) or type(error).__name__
        if reason != logged:
            log.warning("broker: lost %s, will try again: %s", what, reason)
    except* Exception as group:
        log.exception("broker: lost %s, will try again", what, exc_info=group)
    return reason
