"""The way in: one connection that listens to what is wanted, and hands over what comes, one at a time.

A slow hub is not read for, which fills Redis' output buffer, and if it goes on, makes Redis end the connection; what
was missed by that is told as a gap. So nothing piles up here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.broker.redis.connection import RedisLostError
from quart_wshub.broker.redis.frames import GAP_MARKER, MESSAGE
from quart_wshub.broker.redis.resp import Push, RedisReplyError, command

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart_wshub.broker.redis.connection import RedisConnection
    from quart_wshub.broker.redis.counters import Counters
    from quart_wshub.broker.redis.frames import ChannelNames
    from quart_wshub.broker.redis.subscriptions import Subscriptions

__all__ = ["Subscriber"]

log: logging.Logger = logging.getLogger("quart_wshub")

CHANNELS_PER_COMMAND = 500


class Subscriber:
    """Listens on one Redis. `changed` at any time; `serve` while there is a connection.

    Args:
        deliver: takes one message.
        missed: told of a channel whose messages were lost on their way to Redis.
        is_here: whether this Redis is the one for a channel.
        timeout: seconds of silence after which Redis is taken for dead. Half of it without a message, it is asked.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        names: ChannelNames,
        counters: Counters,
        *,
        deliver: Callable[[str, bytes], Awaitable[None]],
        missed: Callable[[str], None],
        is_here: Callable[[str], bool],
        timeout: float,
        sharded: bool = False,
    ) -> None:
        self._subscriptions = subscriptions
        self._names = names
        self._counters = counters
        self._deliver = deliver
        self._missed = missed
        self._is_here = is_here
        self._timeout = timeout
        self._subscribe, self._unsubscribe = (
            (b"SSUBSCRIBE", b"SUNSUBSCRIBE") if sharded else (b"SUBSCRIBE", b"UNSUBSCRIBE")
        )
        self._message_kind = b"smessage" if sharded else b"message"
        # All of a cluster's channels that one command names must be in the same slot.
        self._per_command = 1 if sharded else CHANNELS_PER_COMMAND
        self._changed: dict[str, None] = {}
        self._asked: dict[str, bool] = {}
        self._unacknowledged: dict[str, int] = {}
        self._wake = trio.Event()
        self._ping_due = False
        self._silent_since: float | None = None
        self.connected: bool = False
        self.failing: bool = False

    def changed(self, channel: str) -> None:
        """A channel is wanted now, or is not any more."""
        if self.connected:
            self._changed[channel] = None
            self._wake.set()

    def adopt(self) -> None:
        """Which channels this Redis is the one for has changed."""
        self._subscriptions.lose([channel for channel in self._asked if not self._is_here(channel)])
        for channel in [*self._mine(), *self._asked]:
            self.changed(channel)

    def _mine(self) -> list[str]:
        return [channel for channel in self._subscriptions.wanted if self._is_here(channel)]

    async def serve(self, connection: RedisConnection) -> None:
        """Listen, until the connection ends, which raises."""
        self.failing = False
        self._changed = dict.fromkeys(self._mine())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, connection)
                nursery.start_soon(self._notice_silence)
                await self._read(connection)
        finally:
            self.lose()

    def lose(self) -> None:
        """There is no connection, or it is no more: nothing is heard here."""
        self._subscriptions.lose(self._mine())
        self._changed.clear()
        self._asked.clear()
        self._unacknowledged.clear()
        self._ping_due = False

    # Asking

    async def _write(self, connection: RedisConnection) -> None:
        while True:
            if data := self._next_write():
                await connection.send(data)
            else:
                self._wake = trio.Event()
                await self._wake.wait()

    def _next_write(self) -> bytes:
        data = b""
        if self._ping_due:
            self._ping_due = False
            data = command(b"PING")
        if self._changed:
            data += self._next_changes()
        return data

    def _next_changes(self) -> bytes:
        """The commands for some of what changed: what is asked for is then what is wanted."""
        asks: dict[bool, list[bytes]] = {True: [], False: []}
        while self._changed and len(asks[True]) + len(asks[False]) < CHANNELS_PER_COMMAND:
            channel, _ = self._changed.popitem()
            wanted = channel in self._subscriptions.wanted and self._is_here(channel)
            if wanted != self._asked.get(channel, False):
                self._asked[channel] = wanted
                self._unacknowledged[channel] = self._unacknowledged.get(channel, 0) + 1
                asks[wanted].append(self._names.to_redis(channel))
            elif wanted and channel not in self._unacknowledged:
                self._subscriptions.confirm([channel])  # ignored and wanted again, before Redis was told
        return self._commands(self._subscribe, asks[True]) + self._commands(self._unsubscribe, asks[False])

    def _commands(self, verb: bytes, channels: list[bytes]) -> bytes:
        step = self._per_command
        return b"".join(command(verb, *channels[at : at + step]) for at in range(0, len(channels), step))

    async def _notice_silence(self) -> None:
        """Ask after half the time, end the connection after all of it. A hub that is slow to take is no silence."""
        while True:
            since = trio.current_time() if self._silent_since is None else self._silent_since
            await trio.sleep_until(since + self._timeout / 2)
            if self._silent_since != since:
                continue
            self._ping_due = True
            self._wake.set()
            await trio.sleep_until(since + self._timeout)
            if self._silent_since == since:
                raise RedisLostError("Redis does not answer")

    # Hearing

    async def _read(self, connection: RedisConnection) -> None:
        while True:
            self._silent_since = trio.current_time()
            replies = await connection.receive()
            self._silent_since = None
            for reply in replies:
                await self._take(reply)

    async def _take(self, reply: Any) -> None:
        if isinstance(reply, Push):
            kind, channel, data = reply
            if kind == self._message_kind:
                await self._take_message(self._names.from_redis(channel), data)
            else:
                self._take_acknowledgement(self._names.from_redis(channel))
        elif isinstance(reply, RedisReplyError):
            raise reply

    async def _take_message(self, channel: str, data: bytes) -> None:
        kind = data[:1]
        if kind == MESSAGE:
            self._counters.received += 1
            try:
                await self._deliver(channel, data[1:])
            except Exception:
                log.exception("broker: the hub failed to take a message, which is lost")
        elif kind == GAP_MARKER:
            self._missed(channel)

    def _take_acknowledgement(self, channel: str) -> None:
        """Those of one channel come in the order of what was asked; the last one says how it stands."""
        left = self._unacknowledged.pop(channel, 0) - 1
        if left < 0:
            raise RedisLostError("Redis ended a subscription")  # a cluster, whose slots move
        if left:
            self._unacknowledged[channel] = left
        elif self._asked[channel]:
            if self._is_here(channel):
                self._subscriptions.confirm([channel])
        else:
            del self._asked[channel]
