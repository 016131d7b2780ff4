"""Sends to one Redis: one bounded queue, written in as few pieces as possible, acknowledged in order.

At most once: what was in flight when a connection broke is not sent again. It is counted, those who wait for it are
told, and a marker goes to its channel as soon as there is a connection again, so that the other nodes learn of the gap.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.broker.redis.backlog import Entry, Kind, Reply
from quart_wshub.broker.redis.connection import Writer
from quart_wshub.broker.redis.wire import GAP_MARKER, MESSAGE, RedisLostError, RedisReplyError, command, is_push
from quart_wshub.protocol.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_wshub.broker.redis.backlog import Backlog
    from quart_wshub.broker.redis.connection import RedisConnection

__all__ = ["Publisher"]

MAX_WRITE_BYTES = 262_144
"""What is in flight when a connection breaks is lost, so not everything is sent at once."""

MAX_MARKERS = 10_000
"""If messages were lost in more channels than this, a gap is reported in all channels."""

FULL = "the queue of messages for Redis is full"


class Publisher:
    """The pipeline to one Redis. `post` and `call` work at any time; `serve` while there is a connection.

    Args:
        timeout: seconds within which callers get an answer, after which a queued message is dropped, and after which
            the connection is ended if acknowledgements are due and none comes.
        verb: PUBLISH, or SPUBLISH on a cluster.
        refused: called with every error reply of Redis.
        overflowed: called when messages were lost in more than 10,000 channels.
    """

    def __init__(
        self,
        backlog: Backlog,
        *,
        timeout: float,
        verb: bytes,
        refused: Callable[[RedisReplyError], None],
        overflowed: Callable[[], None],
    ) -> None:
        self._backlog = backlog
        self._timeout = timeout
        self._verb = verb
        self._head = b"*3\r\n$%d\r\n%b\r\n$" % (len(verb), verb)
        self._refused = refused
        self._overflowed = overflowed
        self._queue: deque[Entry] = deque()
        self._in_flight: deque[Entry] = deque()
        self._progress = 0.0
        self._markers: dict[bytes, None] = {}
        self._refused_markers: dict[bytes, None] = {}
        self._writer = Writer(self._next_write)
        self._idle = trio.Event()
        self.connected: bool = False
        self.waiting: int = 0
        """Messages that were not sent yet."""

    def post(self, channel: bytes, message: bytes, reply: Reply | None = None) -> None:
        """Queue a message for sending.

        Raises:
            BrokerUnavailableError: the queue is full. The other nodes will be told of a gap in this channel.
        """
        # As `command` encodes it, with one copy less.
        parts = self._head, len(channel), channel, len(message) + 1, MESSAGE, message
        data = b"%b%d\r\n%b\r\n$%d\r\n%b%b\r\n" % parts
        if not self._backlog.add(len(data)):
            self.mark(channel)
            raise BrokerUnavailableError(FULL)
        self.enqueue(Entry(Kind.MESSAGE, channel, data, trio.current_time() + self._timeout, reply))

    def call(self, key: bytes, *parts: bytes) -> Reply:
        """Queue a command for sending, in order with the messages; the reply arrives, or fails, within the timeout.

        Args:
            key: what it is about, if there are several servers.

        Raises:
            BrokerUnavailableError: the queue is full.
        """
        data, reply = command(*parts), Reply(self._timeout)
        if not self._backlog.add(len(data)):
            raise BrokerUnavailableError(FULL)
        self.enqueue(Entry(Kind.COMMAND, key, data, trio.current_time() + self._timeout, reply))
        return reply

    def enqueue(self, entry: Entry) -> None:
        """Append an entry that the backlog has counted already."""
        self._queue.append(entry)
        self.waiting += entry.kind is Kind.MESSAGE
        self._writer.wake()

    def _dequeue(self) -> Entry:
        entry = self._queue.popleft()
        self.waiting -= entry.kind is Kind.MESSAGE
        return entry

    def mark(self, channel: bytes, *, bounded: bool = True) -> None:
        """Report a gap in this channel to all subscribed nodes, as soon as that is possible."""
        if bounded and len(self._markers) >= MAX_MARKERS and channel not in self._markers:
            self._overflowed()
        else:
            self._markers[channel] = None
            self._writer.wake()

    # While there is a connection

    async def serve(self, connection: RedisConnection) -> None:
        """Send what waits and take the acknowledgements, until the connection ends, which raises."""
        self._retry_refused_markers()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._writer.run, connection)
                nursery.start_soon(self._notice_a_stall)
                await self._read(connection)
        finally:
            while self._in_flight:
                self._drop(self._in_flight.popleft(), "the connection to Redis broke; the message may have arrived")

    def _next_write(self) -> bytes:
        if not self._in_flight:
            self._progress = trio.current_time()
        pieces: list[bytes] = []
        size = 0
        while size < MAX_WRITE_BYTES and (self._markers or self._queue):
            entry = self._next_marker() if self._markers else self._dequeue()
            self._in_flight.append(entry)
            pieces.append(entry.data)
            size += len(entry.data)
        return b"".join(pieces)

    def _next_marker(self) -> Entry:
        """Markers go before everything that is queued, as the lost messages did."""
        channel, _ = self._markers.popitem()
        return Entry(Kind.MARKER, channel, command(self._verb, channel, GAP_MARKER), 0)

    def _retry_refused_markers(self) -> None:
        self._markers |= self._refused_markers
        self._refused_markers.clear()

    async def _read(self, connection: RedisConnection) -> None:
        while True:
            replies = await connection.receive()
            self._progress = trio.current_time()
            for reply in replies:
                if is_push(reply):
                    continue
                if not self._in_flight:
                    raise RedisLostError("Redis sent a reply to no command")
                self._settle(self._in_flight.popleft(), reply)
            if not self._in_flight and not self._queue:
                self._idle.set()

    async def _notice_a_stall(self) -> None:
        while True:
            due = (self._progress if self._in_flight else trio.current_time()) + self._timeout
            await trio.sleep_until(due)
            if self._in_flight and self._progress + self._timeout <= trio.current_time():
                raise RedisLostError("Redis does not answer")

    def _settle(self, entry: Entry, reply: Any) -> None:
        if isinstance(reply, RedisReplyError):
            self._refuse(entry, reply)
            return
        self._backlog.remove(entry, lost=False)
        if entry.reply is not None:
            entry.reply.succeed(reply)

    def _refuse(self, entry: Entry, error: RedisReplyError) -> None:
        """Nothing that was refused is tried again on this connection, not even a marker."""
        self._backlog.remove(entry, lost=True)
        if entry.kind is not Kind.COMMAND and len(self._refused_markers) < MAX_MARKERS:
            self._refused_markers[entry.channel] = None
        entry.fail(f"Redis refused it: {error}")
        self._refused(error)

    # At any time

    async def expire(self) -> None:
        """Drop what has been queued for longer than the timeout. Runs until cancelled."""
        while True:
            now = trio.current_time()
            while self._queue and self._queue[0].deadline <= now:
                self._drop(self._dequeue(), "Redis is away")
            await trio.sleep_until(self._queue[0].deadline if self._queue else now + self._timeout)

    def _drop(self, entry: Entry, why: str) -> None:
        self._backlog.remove(entry, lost=True)
        if entry.kind is not Kind.COMMAND:
            self.mark(entry.channel)
        entry.fail(why)

    async def flushed(self) -> None:
        """Wait until everything is acknowledged."""
        while self._queue or self._in_flight or self._markers:
            self._idle = trio.Event()
            await self._idle.wait()

    def close(self) -> None:
        """Fail what waits, once `serve` has ended."""
        while self._queue:
            self._drop(self._dequeue(), "the broker was stopped")
        self._markers.clear()

    def hand_over(self, publisher_for: Callable[[bytes], Publisher]) -> None:
        """Move what waits to the publishers its channels have now, in order."""
        self._retry_refused_markers()
        markers, self._markers = self._markers, {}
        for channel in markers:
            publisher_for(channel).mark(channel)
        for _ in range(len(self._queue)):
            entry = self._dequeue()
            publisher_for(entry.channel).enqueue(entry)
