"""Keeps a connection to Redis: makes a new one whenever it ends, after a jittered delay."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from quart_wshub.broker.redis.connection import RedisLostError
from quart_wshub.broker.redis.resp import RedisReplyError
from quart_wshub.protocol.exception_groups import leaves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart_wshub.broker.redis.backoff import Backoff
    from quart_wshub.broker.redis.connection import RedisConnection, RedisDialer
    from quart_wshub.broker.redis.url import RedisAddress

__all__ = ["EXPECTED_FAILURES", "keep_connected", "keep_trying"]

QUIET_SECONDS = 30

log: logging.Logger = logging.getLogger("quart_wshub")

EXPECTED_FAILURES = (OSError, RedisLostError, RedisReplyError, trio.TooSlowError)
"""What a backend that is away or unwell looks like. Everything else is a bug, and is logged whole."""


async def keep_connected(
    dialer: RedisDialer,
    address: RedisAddress,
    serve: Callable[[RedisConnection], Awaitable[None]],
    backoff: Backoff,
    failed: Callable[[], None],
) -> None:
    """Connect and `serve` until cancelled; `failed` is called after each end. Never raises but for cancellation."""

    async def attempt() -> None:
        async with dialer.open(address) as connection:
            since = trio.current_time()
            try:
                await serve(connection)
            finally:
                backoff.lasted(trio.current_time() - since)

    await keep_trying(attempt, f"Redis at {address}", backoff, failed)


async def keep_trying(
    attempt: Callable[[], Awaitable[None]], what: str, backoff: Backoff, failed: Callable[[], None]
) -> None:
    """Call `attempt`, which is expected to fail at some time, again and again, with delays in between."""
    told = ""
    while True:
        since = trio.current_time()
        why = await _try_once(attempt, what, told)
        # What held for a while and failed again is news, also for the same reason.
        told = why if trio.current_time() - since < QUIET_SECONDS else ""
        failed()
        await trio.sleep(backoff.delay())


async def _try_once(attempt: Callable[[], Awaitable[None]], what: str, told: str) -> str:
    """Returns why it ended. The same reason as before is not logged again."""
    why = told
    try:
        await attempt()
    except* EXPECTED_FAILURES as group:
        why = _reason(next(leaves(group)))
        if why != told:
            log.warning("broker: lost %s, will try again: %s", what, why)
    except* Exception as group:
        log.exception("broker: lost %s, will try again", what, exc_info=group)
    return why


def _reason(error: BaseException) -> str:
    if isinstance(error, trio.TooSlowError):
        return "it does not answer"
    return str(error) or type(error).__name__
