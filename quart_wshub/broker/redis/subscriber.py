"""Receives from one Redis: keeps its subscriptions up to date, and delivers what arrives, one message at a time.

While the hub is slow nothing is read, so Redis' output buffer fills up. If that goes on, Redis ends the connection, and
what was missed is reported as a gap. Nothing is queued here.
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
        missed: called with a channel if messages of it never reached Redis.
        is_here: whether a channel is on this Redis.
        timeout: seconds without a reply after which the connection is ended. After half of it, a PING is sent. The
            time that `deliver` takes does not count.
        sharded: whether this is a server of a cluster.

    Attributes:
        connected: set by `RedisServer`.
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
        self.connected: bool = False
        self.failing: bool = False

    def changed(self, channel: str) -> None:
        """This node subscribed to a channel, or unsubscribed from it."""
        if self.connected:
            self._changed[channel] = None
            self._writer.wake()

    def slots_moved(self) -> None:
        """The cluster's slots moved, so other channels than before are on this Redis."""
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
                await self._read(connection)
        finally:
            self.lose()

    def lose(self) -> None:
        """The connection ended, or could not be made."""
        self._subscriptions.lose(self._channels_here())
        self._changed.clear()
        self._requested.clear()
        self._unacknowledged.clear()
        self._ping_due = False

    # Sending

    def _next_write(self) -> bytes:
        ping = command(b"PING") if self._ping_due else b""
        self._ping_due = False
        return ping + self._next_changes()

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

    # Receiving

    async def _read(self, connection: RedisConnection) -> None:
        while True:
            for reply in await self._receive(connection):
                await self._take(reply)

    async def _receive(self, connection: RedisConnection) -> list[Any]:
        with trio.move_on_after(self._timeout / 2):
            return await connection.receive()
        self._ping_due = True
        self._writer.wake()
        with trio.fail_after(self._timeout / 2):
            return await connection.receive()

    async def _take(self, reply: Any) -> None:
        if isinstance(reply, RedisReplyError):
            raise reply
        if not is_push(reply):
            return  # the reply to a PING
        kind, channel, data = reply
        channel = self._names.from_redis(channel)
        if kind != self._message_kind:
            self._take_acknowledgement(channel)
        elif data[:1] == MESSAGE:
            await self._deliver(channel, data[1:])
        elif data[:1] == GAP_MARKER:
            self._missed(channel)

    def _take_acknowledgement(self, channel: str) -> None:
        """A channel's acknowledgements come in the order of the requests; only the last one counts."""
        left = self._unacknowledged.pop(channel, 0) - 1
        if left < 0:
            raise RedisLostError("Redis ended a subscription")  # a slot of the cluster moved
        if left:
            self._unacknowledged[channel] = left
        elif not self._requested[channel]:
            del self._requested[channel]
        elif self._is_here(channel):
            self._subscriptions.confirm(channel)
