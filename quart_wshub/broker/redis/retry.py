"""Calls what is expected to fail, such as a connection, again and again, with jittered delays in between."""

from __future__ import annotations

import logging
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

log: logging.Logger = logging.getLogger("quart_wshub")


class Retry:
    """Retries with full jitter, so that nodes do not all come back at the same time.

    A delay is uniform between zero and a ceiling, which doubles with every failure from 0.1 s up to `max_seconds`.
    """

    def __init__(self, max_seconds: float) -> None:
        self._max = max_seconds
        self._first = self._ceiling = min(FIRST_SECONDS, max_seconds)

    def delay(self) -> float:
        """Seconds to wait after one more failure."""
        delay = random.uniform(0, self._ceiling)  # noqa: S311 - jitter is no secret
        self._ceiling = min(self._max, self._ceiling * 2)
        return delay

    def lasted(self, seconds: float) -> None:
        """A connection lasted so long. Only what outlives the ceiling is a success: some end as soon as they begin."""
        if seconds > self._ceiling:
            self._ceiling = self._first

    async def run(self, attempt: Callable[[], Awaitable[None]], what: str, failed: Callable[[], None]) -> None:
        """Call `attempt` until cancelled; after each end, call `failed` and wait. Raises nothing but `Cancelled`.

        The same reason for a failure is logged again only after an attempt that lasted for 30 s.
        """
        logged = ""
        while True:
            since = trio.current_time()
            reason = await _try_once(attempt, what, logged)
            logged = reason if trio.current_time() - since < QUIET_SECONDS else ""
            failed()
            await trio.sleep(self.delay())


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
