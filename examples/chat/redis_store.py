"""The store for several processes. Needs `coredis`."""

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import coredis
import trio
from coredis.retry import NoRetryPolicy
from store import MAX_ROOMS, StoreUnavailableError

TIMEOUT_SECONDS = 3.0
ROOMS_KEY = "chat:rooms"


class RedisStore:
    """In a Redis that all processes use.

    It is used at logins, at handshakes and when rooms are entered, which is seldom enough to connect each time: so it
    never has a connection that broke meanwhile.

    Args:
        url: `redis://…` or `rediss://…`.
        login_seconds: how long a login lasts, and so how long a revocation is kept.
    """

    def __init__(self, url: str, login_seconds: float) -> None:
        self._url = url
        self._login_seconds = login_seconds

    async def revoke(self, name: str) -> None:
        async with self._redis() as redis:
            await redis.set(_revocation(name), repr(time.time()), ex=math.ceil(self._login_seconds))

    async def revoked_at(self, name: str) -> float:
        async with self._redis() as redis:
            return float(await redis.get(_revocation(name)) or 0)

    async def note_room(self, room: str) -> None:
        async with self._redis() as redis:
            await redis.zadd(ROOMS_KEY, {room: time.time()})
            await redis.zremrangebyrank(ROOMS_KEY, 0, -MAX_ROOMS - 1)

    async def rooms(self) -> list[str]:
        async with self._redis() as redis:
            return list(await redis.zrange(ROOMS_KEY, 0, -1))

    @asynccontextmanager
    async def _redis(self) -> AsyncIterator[coredis.Redis[str]]:
        try:
            with trio.fail_after(TIMEOUT_SECONDS):
                client = coredis.Redis.from_url(self._url, decode_responses=True, retry_policy=NoRetryPolicy())
                async with client as redis:
                    yield redis
        except Exception as error:
            # Coredis raises groups and many kinds of errors; none may show the password in the URL.
            msg = f"the store's Redis cannot be reached ({type(error).__name__})"
            raise StoreUnavailableError(msg) from None


def _revocation(name: str) -> str:
    return f"chat:revoked:{name}"
