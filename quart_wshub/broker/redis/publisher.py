"""The way out: one bounded queue, sent in as few writes as possible, acknowledged in order.

At most once: what was on its way when a connection broke is not sent again. It is counted, those who wait for it are
told, and a marker goes to its channel as soon as there is a connection again, so that the other nodes hear of it.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.broker.redis.connection import RedisLostError
from quart_wshub.broker.redis.frames import GAP_MARKER, MESSAGE
from quart_wshub.broker.redis.resp import Push, RedisReplyError, command
from quart_wshub.protocol.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_wshub.broker.redis.connection import RedisConnection
    from quart_wshub.broker.redis.counters import Counters

__all__ = ["Budget", "Publisher", "Reply"]

MAX_WRITE_BYTES = 262_144
"""What is on its way when a connection breaks is lost, hence not everything goes out at once."""

MAX_MARKERS = 10_000
"""In more channels than this, lost messages are told of all at once."""

FULL = "as much as may wait for Redis is waiting already"

ENTRY_BYTES = 200
"""What an entry takes beside its message."""


class Reply:
    """What someone waits for: a reply of Redis, or a failure."""

    __slots__ = ("_arrived", "_failure", "_value")

    def __init__(self) -> None:
        self._arrived = trio.Event()
        self._value: Any = None
        self._failure: str | None = None

    def succeed(self, value: Any) -> None:
        self._value = value
        self._arrived.set()

    def fail(self, why: str) -> None:
        self._failure = why
        self._arrived.set()

    async def wait(self) -> Any:
        """Wait for it; whoever answers keeps the deadline.

        Raises:
            BrokerUnavailableError: it failed.
        """
        await self._arrived.wait()
        if self._failure is not None:
            raise BrokerUnavailableError(self._failure)
        return self._value


class _Kind(Enum):
    MESSAGE = auto()
    MARKER = auto()
    """Says that messages were lost. Takes no part in any bound: there is one for each channel."""
    COMMAND = auto()


class _Entry:
    """One command on its way, and the channel (or key) that it is about."""

    __slots__ = ("channel", "data", "deadline", "kind", "reply")

    def __init__(self, kind: _Kind, channel: bytes, data: bytes, deadline: float, reply: Reply | None) -> None:
        self.kind = kind
        self.channel = channel
        self.data = data
        self.deadline = deadline
        self.reply = reply


class Budget:
    """How much may wait, or be on its way unacknowledged, in all."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._messages = max_messages
        self._bytes = max_bytes

    def take(self, size: int) -> bool:
        """Whether there is room for one more; if so, it is taken. One message alone may be larger than the bound."""
        if self._messages <= 0 or self._bytes <= 0:
            return False
        self._messages -= 1
        self._bytes -= size + ENTRY_BYTES
        return True

    def give_back(self, size: int) -> None:
        self._messages += 1
        self._bytes += size + ENTRY_BYTES


class Publisher:
    """The pipeline to one Redis. `post` and `call` at any time; `serve` while there is a connection.

    Args:
        timeout: seconds after which a caller gets an answer, what still waits is dropped, and a Redis that owes
            acknowledgements is taken for dead.
        refused: told of every error that Redis answers with.
        overflowed: told when more channels lost messages than are kept track of.
    """

    def __init__(
        self,
        budget: Budget,
        counters: Counters,
        *,
        timeout: float,
        verb: bytes,
        refused: Callable[[RedisReplyError], None],
        overflowed: Callable[[], None],
    ) -> None:
        self._budget = budget
        self._timeout = timeout
        self._verb = verb
        self._head = b"*3\r\n$%d\r\n%b\r\n$" % (len(verb), verb)
        self._refused = refused
        self._overflowed = overflowed
        self._queue: deque[_Entry] = deque()
        self._flight: deque[_Entry] = deque()
        self._progress = 0.0
        self._markers: dict[bytes, None] = {}
        self._refused_markers: dict[bytes, None] = {}
        self._wake = trio.Event()
        self._empty = trio.Event()
        self._counters = counters
        self.connected: bool = False

    @property
    def waiting(self) -> int:
        """Messages that were not sent yet."""
        return sum(entry.kind is _Kind.MESSAGE for entry in self._queue)

    def post(self, channel: bytes, message: bytes, reply: Reply | None = None) -> None:
        """Take a message for sending.

        Raises:
            BrokerUnavailableError: too much waits. The other nodes will be told of a gap in this channel.
        """
        # As `command` does it, with one copy less.
        data = b"%b%d\r\n%b\r\n$%d\r\n%b%b\r\n" % (
            self._head,
            len(channel),
            channel,
            len(message) + 1,
            MESSAGE,
            message,
        )
        if not self._budget.take(len(data)):
            self.mark(channel)
            raise BrokerUnavailableError(FULL)
        self._queue.append(_Entry(_Kind.MESSAGE, channel, data, trio.current_time() + self._timeout, reply))
        self._wake.set()

    def call(self, key: bytes, *parts: bytes) -> Reply:
        """Take a command for sending, in order with the messages; the reply comes, or fails, in time.

        Args:
            key: what it is about, where there are several servers.

        Raises:
            BrokerUnavailableError: too much waits.
        """
        data, reply = command(*parts), Reply()
        if not self._budget.take(len(data)):
            raise BrokerUnavailableError(FULL)
        self._queue.append(_Entry(_Kind.COMMAND, key, data, trio.current_time() + self._timeout, reply))
        self._wake.set()
        return reply

    def mark(self, channel: bytes) -> None:
        """Tell all who listen to this channel that they may have missed something, as soon as that is possible."""
        if len(self._markers) < MAX_MARKERS or channel in self._markers:
            self._markers[channel] = None
            self._wake.set()
        else:
            self._overflowed()

    def mark_above_the_bound(self, channel: bytes) -> None:
        """The same, for the one channel that stands for all others."""
        self._markers[channel] = None
        self._wake.set()

    # While there is a connection

    async def serve(self, connection: RedisConnection) -> None:
        """Send what waits and take the acknowledgements, until the connection ends, which raises."""
        self._retry_markers()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, connection)
                nursery.start_soon(self._notice_a_stall)
                await self._read(connection)
        finally:
            self._drop_all(self._flight, "the connection to Redis broke; the message may have arrived")

    async def _write(self, connection: RedisConnection) -> None:
        while True:
            if data := self._next_write():
                await connection.send(data)
            else:
                self._wake = trio.Event()
                await self._wake.wait()

    def _next_write(self) -> bytes:
        queue, flight = self._queue, self._flight
        if self._markers:
            self._queue_markers()
        if not flight:
            self._progress = trio.current_time()
        pieces = []
        size = 0
        while queue and size < MAX_WRITE_BYTES:
            entry = queue.popleft()
            flight.append(entry)
            pieces.append(entry.data)
            size += len(entry.data)
        return b"".join(pieces)

    def _queue_markers(self) -> None:
        """Put the markers before everything else, which comes after what they stand for."""
        for channel in self._markers:
            data = command(self._verb, channel, GAP_MARKER)
            self._queue.appendleft(_Entry(_Kind.MARKER, channel, data, 0, None))
        self._markers.clear()

    def _retry_markers(self) -> None:
        self._markers |= self._refused_markers
        self._refused_markers.clear()

    async def _read(self, connection: RedisConnection) -> None:
        while True:
            replies = await connection.receive()
            self._progress = trio.current_time()
            for reply in replies:
                if isinstance(reply, Push):
                    continue
                if not self._flight:
                    raise RedisLostError("Redis sent a reply to nothing")
                self._settle(self._flight.popleft(), reply)
            if not self._flight and not self._queue:
                self._empty.set()

    async def _notice_a_stall(self) -> None:
        while True:
            due = (self._progress if self._flight else trio.current_time()) + self._timeout
            await trio.sleep_until(due)
            if self._flight and self._progress + self._timeout <= trio.current_time():
                raise RedisLostError("Redis does not answer")

    def _settle(self, entry: _Entry, reply: Any) -> None:
        if isinstance(reply, RedisReplyError):
            self._refuse(entry, reply)
            return
        self._release(entry)
        self._counters.published += entry.kind is _Kind.MESSAGE
        if entry.reply is not None:
            entry.reply.succeed(reply)

    def _refuse(self, entry: _Entry, why: RedisReplyError) -> None:
        """What was refused once is not tried again on this connection, markers included."""
        self._release(entry)
        self._counters.lost += entry.kind is _Kind.MESSAGE
        if entry.kind is not _Kind.COMMAND and len(self._refused_markers) < MAX_MARKERS:
            self._refused_markers[entry.channel] = None
        if entry.reply is not None:
            entry.reply.fail(f"Redis refused it: {why}")
        self._refused(why)

    # At any time

    async def expire(self) -> None:
        """Keep the deadlines of what waits, and of those who wait for it. Never returns."""
        while True:
            now = trio.current_time()
            self._expire_flight(now)
            while self._queue and self._queue[0].deadline <= now:
                self._drop(self._queue.popleft(), "Redis is away")
            await trio.sleep_until(self._next_deadline(now))

    def _expire_flight(self, now: float) -> None:
        """Who waited long enough is told so. What is on its way stays so: its acknowledgement may still come."""
        for entry in self._flight:
            if entry.deadline > now:
                break
            if entry.reply is not None:
                entry.reply.fail("Redis did not confirm it in time; it may have arrived")
                entry.reply = None

    def _next_deadline(self, now: float) -> float:
        """When to look again. What comes meanwhile is due after `now` plus the timeout."""
        waited_for = next((entry.deadline for entry in self._flight if entry.reply is not None), now + self._timeout)
        waiting = self._queue[0].deadline if self._queue else now + self._timeout
        return min(waited_for, waiting)

    def _drop(self, entry: _Entry, why: str) -> None:
        self._release(entry)
        self._counters.lost += entry.kind is _Kind.MESSAGE
        if entry.kind is not _Kind.COMMAND:
            self.mark(entry.channel)
        if entry.reply is not None:
            entry.reply.fail(why)

    def _drop_all(self, entries: deque[_Entry], why: str) -> None:
        while entries:
            self._drop(entries.popleft(), why)

    def _release(self, entry: _Entry) -> None:
        if entry.kind is not _Kind.MARKER:
            self._budget.give_back(len(entry.data))

    async def flushed(self) -> None:
        """Wait until all that was taken is acknowledged."""
        while self._queue or self._flight or self._markers:
            self._empty = trio.Event()
            await self._empty.wait()

    def close(self) -> None:
        """Fail what waits, for good."""
        self._drop_all(self._flight, "the broker was stopped")
        self._drop_all(self._queue, "the broker was stopped")
        self._markers.clear()

    def hand_over(self, right_one: Callable[[bytes], Publisher]) -> None:
        """Give what waits to the publisher that is right for its channel by now, in order."""
        self._retry_markers()
        for channel in list(self._markers):
            if (publisher := right_one(channel)) is not self:
                del self._markers[channel]
                publisher.mark(channel)
        entries, self._queue = self._queue, deque()
        for entry in entries:
            publisher = right_one(entry.channel)
            publisher._queue.append(entry)
            publisher._wake.set()
        self._wake.set()
