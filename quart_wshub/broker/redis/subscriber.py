"""Receives from one Redis: keeps its subscriptions as they should be, and delivers what comes, one at a time.

While the hub is slow nothing is read, which fills Redis' output buffer; if that goes on, Redis ends the connection, and
what was missed is reported as a gap. So nothing piles up here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.broker.redis.connection import Writer
from quart_wshub.broker.redis.wire import GAP_MARKER, MESSAGE, RedisLostError, RedisReplyError, command, is_push

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart_wshub.broker.redis.connection import RedisConnection
    from quart_wshub.broker.redis.subscriptions import Subscriptions
    from quart_wshub.broker.redis.wire import ChannelNames

__all__ = ["Subscriber"]

CHANNELS_PER_COMMAND = 500


class Subscriber:
    """Subscribes on one Redis. `changed` works at any time; `serve` while there is a connection.

    Args:
        deliver: takes one message.
        missed: called with a channel whose messages were lost on their way to Redis.
        is_here: whether a channel is on this Redis.
        timeout: seconds of silence after which Redis is taken for dead. After half of it, Redis is sent a PING.

    Attributes:
        connected: set by the server, with each connection.
        failing: whether the last attempt to connect failed, so that a new subscription may miss messages.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        names: ChannelNames,
        *,
        deliver: Callable[[str, bytes], Awaitable[None]],
        missed: Callable[[str], None],
        is_here: Callable[[str], bool],
        timeout: float,
        sharded: bool = False,
    ) -> None:
        self._subscriptions = subscriptions
        self._names = names
        self._deliver = deliver
        self._missed = missed
        self._is_here = is_here
        self._timeout = timeout
        shard = b"S" if sharded else b""
        self._verbs = {True: shard + b"SUBSCRIBE", False: shard + b"UNSUBSCRIBE"}
        self._message_kind = shard.lower() + b"message"
        # All channels in one command to a cluster must be in the same slot.
        self._per_command = 1 if sharded else CHANNELS_PER_COMMAND
        self._changed: dict[str, None] = {}
        self._requested: dict[str, bool] = {}
        self._unacknowledged: dict[str, int] = {}
        self._writer = Writer(self._next_write)
        self._ping_due = False
        self._silent_since: float | None = None
        self.connected: bool = False
        self.failing: bool = False

    def changed(self, channel: str) -> None:
        """This node subscribed to a channel, or unsubscribed from it."""
        if self.connected:
            self._changed[channel] = None
            self._writer.wake()

    def slots_moved(self) -> None:
        """Other channels than before are on this Redis."""
        self._subscriptions.lose([channel for channel in self._requested if not self._is_here(channel)])
        for channel in [*self._channels_here(), *self._requested]:
            self.changed(channel)

    def _channels_here(self) -> list[str]:
        return [channel for channel in self._subscriptions.channels if self._is_here(channel)]

    async def serve(self, connection: RedisConnection) -> None:
        """Subscribe and receive, until the connection ends, which raises."""
        self.failing = False
        self._changed = dict.fromkeys(self._channels_here())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._writer.run, connection)
                nursery.start_soon(self._notice_silence)
                await self._read(connection)
        finally:
            self.lose()

    def lose(self) -> None:
        """There is no connection, so nothing is received here."""
        self._subscriptions.lose(self._channels_here())
        self._changed.clear()
        self._requested.clear()
        self._unacknowledged.clear()
        self._ping_due = False

    # Sending

    def _next_write(self) -> bytes:
        data = b""
        if self._ping_due:
            self._ping_due = False
            data = command(b"PING")
        return data + self._next_changes()

    def _next_changes(self) -> bytes:
        """The commands for some of the channels that changed."""
        channels: dict[bool, list[bytes]] = {True: [], False: []}
        while self._changed and len(channels[True]) + len(channels[False]) < CHANNELS_PER_COMMAND:
            channel, _ = self._changed.popitem()
            subscribe = channel in self._subscriptions.channels and self._is_here(channel)
            if subscribe != self._requested.get(channel, False):
                self._requested[channel] = subscribe
                self._unacknowledged[channel] = self._unacknowledged.get(channel, 0) + 1
                channels[subscribe].append(self._names.to_redis(channel))
            elif subscribe and channel not in self._unacknowledged:
                self._subscriptions.confirm(channel)  # removed and added again, before Redis was told
        step = self._per_command
        return b"".join(
            command(verb, *channels[subscribe][at : at + step])
            for subscribe, verb in self._verbs.items()
            for at in range(0, len(channels[subscribe]), step)
        )

    async def _notice_silence(self) -> None:
        """Send a PING after half the timeout, end the connection after all of it. A slow hub is no silence."""
        while True:
            since = trio.current_time() if self._silent_since is None else self._silent_since
            await trio.sleep_until(since + self._timeout / 2)
            if self._silent_since != since:
                continue
            self._ping_due = True
            self._writer.wake()
            await trio.sleep_until(since + self._timeout)
            if self._silent_since == since:
                raise RedisLostError("Redis does not answer")

    # Receiving

    async def _read(self, connection: RedisConnection) -> None:
        while True:
            self._silent_since = trio.current_time()
            replies = await connection.receive()
            self._silent_since = None
            for reply in replies:
                await self._take(reply)

    async def _take(self, reply: Any) -> None:
        if isinstance(reply, RedisReplyError):
            raise reply
        if not is_push(reply):
            return  # to a PING
        kind, channel, data = reply
        channel = self._names.from_redis(channel)
        if kind != self._message_kind:
            self._take_acknowledgement(channel)
        elif data[:1] == MESSAGE:
            await self._deliver(channel, data[1:])
        elif data[:1] == GAP_MARKER:
            self._missed(channel)

    def _take_acknowledgement(self, channel: str) -> None:
        """A channel's acknowledgements come in the order of the requests; the last one says how it stands."""
        left = self._unacknowledged.pop(channel, 0) - 1
        if left < 0:
            raise RedisLostError("Redis ended a subscription")  # a cluster, whose slots move
        if left:
            self._unacknowledged[channel] = left
        elif not self._requested[channel]:
            del self._requested[channel]
        elif self._is_here(channel):
            self._subscriptions.confirm(channel)
