"""What waits to be sent or acknowledged: the entries, and a count of them over all servers, which is bounded."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import trio

from quart_wshub.protocol.errors import BrokerUnavailableError

__all__ = ["Backlog", "Entry", "Kind", "Reply"]

ENTRY_BYTES = 200
"""Memory that an entry takes in addition to its message."""


class Reply:
    """A reply of Redis that someone waits for, or a failure."""

    __slots__ = ("_arrived", "_deadline", "_failure", "_value")

    def __init__(self, timeout: float) -> None:
        self._arrived = trio.Event()
        self._deadline = trio.current_time() + timeout
        self._value: Any = None
        self._failure: str | None = "Redis did not confirm it in time; it may have arrived"

    def succeed(self, value: Any) -> None:
        self._value, self._failure = value, None
        self._arrived.set()

    def fail(self, why: str) -> None:
        self._failure = why
        self._arrived.set()

    async def wait(self) -> Any:
        """Wait for it. Cancelling this does not take the command back.

        Raises:
            BrokerUnavailableError: it failed, or did not arrive within the timeout.
        """
        with trio.move_on_at(self._deadline):
            await self._arrived.wait()
        if self._failure is not None:
            raise BrokerUnavailableError(self._failure)
        return self._value


class Kind(Enum):
    MESSAGE = auto()
    MARKER = auto()
    """Reports that messages were lost. Not counted in the backlog: there is at most one per channel."""
    COMMAND = auto()


@dataclass(slots=True, eq=False)
class Entry:
    """One command, and the channel or key that it is about."""

    kind: Kind
    channel: bytes
    data: bytes
    deadline: float
    reply: Reply | None = None

    def fail(self, why: str) -> None:
        if self.reply is not None:
            self.reply.fail(why)


class Backlog:
    """All entries that wait or are unacknowledged, bounded in number and memory.

    Attributes:
        published: messages that Redis has acknowledged.
        lost: messages that were accepted, and may not have arrived anywhere.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._entries_left = max_entries
        self._bytes_left = max_bytes
        self.published: int = 0
        self.lost: int = 0

    def add(self, size: int) -> bool:
        """Count one more; `False` if it is full. The last message may exceed the bound in bytes."""
        if self._entries_left <= 0 or self._bytes_left <= 0:
            return False
        self._entries_left -= 1
        self._bytes_left -= size + ENTRY_BYTES
        return True

    def remove(self, entry: Entry, *, lost: bool) -> None:
        """Count one less, and what became of it if it is a message."""
        if entry.kind is Kind.MESSAGE:
            self.lost += lost
            self.published += not lost
        if entry.kind is not Kind.MARKER:
            self._entries_left += 1
            self._bytes_left += len(entry.data) + ENTRY_BYTES
