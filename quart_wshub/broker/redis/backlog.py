"""What waits to be sent, or to be acknowledged: its entries, and over all servers its bound and what became of it."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

import trio

from quart_wshub.protocol.errors import BrokerUnavailableError

__all__ = ["Backlog", "Entry", "Kind", "Reply"]

ENTRY_BYTES = 200
"""Memory that an entry takes beside its message."""


class Reply:
    """A reply of Redis that someone waits for, or a failure."""

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
        """Wait for it; the publisher enforces the deadline. Cancelling it does not take the command back.

        Raises:
            BrokerUnavailableError: it failed.
        """
        await self._arrived.wait()
        if self._failure is not None:
            raise BrokerUnavailableError(self._failure)
        return self._value


class Kind(Enum):
    """What an entry is."""

    MESSAGE = auto()
    MARKER = auto()
    """Says that messages were lost. Not counted in the backlog: there is at most one per channel."""
    COMMAND = auto()


class Entry:
    """One command, and the channel or key that it is about."""

    __slots__ = ("channel", "data", "deadline", "kind", "reply")

    def __init__(self, kind: Kind, channel: bytes, data: bytes, deadline: float, reply: Reply | None = None) -> None:
        self.kind = kind
        self.channel = channel
        self.data = data
        self.deadline = deadline
        self.reply = reply

    def fail(self, why: str) -> None:
        """Answer whoever waits for it, once."""
        if self.reply is not None:
            self.reply.fail(why)
            self.reply = None


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
        """Take room for one more; `False` if it is full. One message alone may exceed the bound in bytes."""
        if self._entries_left <= 0 or self._bytes_left <= 0:
            return False
        self._entries_left -= 1
        self._bytes_left -= size + ENTRY_BYTES
        return True

    def remove(self, entry: Entry, *, lost: bool) -> None:
        """Give its room back, and count it if it is a message."""
        if entry.kind is Kind.MESSAGE:
            self.lost += lost
            self.published += not lost
        if entry.kind is not Kind.MARKER:
            self._entries_left += 1
            self._bytes_left += len(entry.data) + ENTRY_BYTES
