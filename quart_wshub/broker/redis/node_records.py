"""Which nodes are running: each renews its record in one sorted set, with the time at which it expires as the score.

The time is Redis' own (TIME), so the nodes' clocks do not matter, and no script is needed.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.broker.redis.wire import encode_text
from quart_wshub.protocol.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_wshub.broker.redis.publisher import Publisher

__all__ = ["NodeRecords"]

log: logging.Logger = logging.getLogger("quart_wshub")

BEATS_TO_LIVE = 3


class NodeRecords:
    """The records of all nodes, and the renewal of this node's.

    Args:
        publisher_for: the publisher of the Redis that has a key; raises `BrokerUnavailableError` if there is none.
        beat_seconds: seconds between two renewals. A record is valid for three times as long.
    """

    def __init__(
        self, node_id: str, prefix: str, publisher_for: Callable[[bytes], Publisher], *, beat_seconds: float
    ) -> None:
        self._node_id = node_id
        # In braces, so that a cluster keeps everything of this prefix in one slot.
        self._key = b"{%b}:nodes" % encode_text(prefix)
        self._publisher_for = publisher_for
        self._beat_seconds = beat_seconds
        self._life = beat_seconds * BEATS_TO_LIVE
        self._seen: frozenset[str] = frozenset()
        self._remembered: frozenset[str] = frozenset()
        self._remembered_until = 0.0

    async def keep_up(self) -> None:
        """Renew the record until cancelled. After a failure the next beat is soon enough."""
        while True:
            try:
                await self._beat()
            except BrokerUnavailableError:
                pass
            except Exception:
                log.exception("broker: the record of this node could not be renewed")
            await trio.sleep(self._beat_seconds)

    def lost(self) -> None:
        """Redis was lost, perhaps with its data: the nodes seen so far stay listed until all had time to return."""
        if trio.current_time() < self._remembered_until:
            self._remembered |= self._seen
        else:
            self._remembered = self._seen
        self._remembered_until = math.inf

    def found(self) -> None:
        """Redis is back, or was reached for the first time."""
        self._remembered_until = trio.current_time() + self._life

    async def _beat(self) -> None:
        publisher = self._publisher_for(self._key)
        now = _milliseconds(await publisher.call(self._key, b"TIME").wait())
        life = int(self._life * 1000)
        publisher.call(self._key, b"ZREMRANGEBYSCORE", self._key, b"-inf", b"%d" % now)
        publisher.call(self._key, b"ZADD", self._key, b"%d" % (now + life), self._node_id.encode())
        await publisher.call(self._key, b"PEXPIRE", self._key, b"%d" % (2 * life)).wait()
        await self._refresh()

    async def leave(self) -> None:
        """Remove this node's record, if Redis is connected.

        Raises:
            BrokerUnavailableError: Redis refuses, or does not answer in time.
        """
        publisher = self._publisher_for(self._key)
        if publisher.connected:
            await publisher.call(self._key, b"ZREM", self._key, self._node_id.encode()).wait()

    async def read(self) -> frozenset[str]:
        """The ids of all nodes with a valid record.

        Raises:
            BrokerUnavailableError: Redis does not answer, or does not keep records: this node's own is missing.
        """
        await self._refresh()
        if self._node_id not in self._seen:
            await self._beat()  # Redis has just come back, or this node is new
        if self._node_id not in self._seen:
            raise BrokerUnavailableError("Redis does not keep the nodes' records; is its memory full?")
        return self._seen | self._remembered if trio.current_time() < self._remembered_until else self._seen

    async def _refresh(self) -> None:
        publisher = self._publisher_for(self._key)
        time = publisher.call(self._key, b"TIME")
        records = await publisher.call(self._key, b"ZRANGE", self._key, b"0", b"-1", b"WITHSCORES").wait()
        now = _milliseconds(await time.wait())
        self._seen = frozenset(node.decode("utf-8", "replace") for node, expires_at in records if expires_at > now)


def _milliseconds(time: list[Any]) -> int:
    seconds, microseconds = time
    return int(seconds) * 1000 + int(microseconds) // 1000
