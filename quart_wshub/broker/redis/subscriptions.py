"""What this node wants to hear, what Redis has confirmed of it, and of what a gap is owed. Pure: no I/O.

A gap is told once what it is about is confirmed again, so that whoever reloads then misses nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Subscriptions"]


class Subscriptions:
    """The channels of one node.

    Args:
        tell_gap: called with channels of which messages may have been missed.
    """

    def __init__(self, tell_gap: Callable[[frozenset[str]], None]) -> None:
        self._tell_gap = tell_gap
        self._wanted: set[str] = set()
        self._confirmed: set[str] = set()
        self._owed: set[str] = set()
        self._unsettled: set[str] = set()  # what is owed and not confirmed
        self._waiters: dict[str, trio.Event] = {}
        self._closed = False

    @property
    def wanted(self) -> set[str]:
        """What this node listens to; not to be changed."""
        return self._wanted

    @property
    def complete(self) -> bool:
        """Whether everything that was lost is confirmed again."""
        return not self._owed

    def want(self, channel: str, *, may_miss: bool) -> bool:
        """Whether it is new. With `may_miss`, a gap is told once it is confirmed."""
        if channel in self._wanted:
            return False
        self._wanted.add(channel)
        if may_miss:
            self._owe({channel})
        return True

    def forget(self, channel: str) -> bool:
        """Whether it was wanted."""
        if channel not in self._wanted:
            return False
        self._wanted.discard(channel)
        self._confirmed.discard(channel)
        self._owed.discard(channel)
        self._unsettled.discard(channel)
        self._wake(channel)
        self._settle()
        return True

    def confirm(self, channels: Iterable[str]) -> None:
        """Redis sends these from now on."""
        for channel in channels:
            if channel in self._wanted:
                self._confirmed.add(channel)
                self._unsettled.discard(channel)
                self._wake(channel)
        self._settle()

    def lose(self, channels: Iterable[str]) -> None:
        """Redis may not have sent all of these; they are to be confirmed again."""
        lost = self._wanted.intersection(channels)
        self._confirmed -= lost
        self._owe(lost)

    def missed(self, channels: Iterable[str]) -> None:
        """Something in these was missed, while they are listened to."""
        self._owe(self._wanted.intersection(channels))
        self._settle()

    def _owe(self, channels: set[str]) -> None:
        self._owed |= channels
        self._unsettled |= channels - self._confirmed

    def _settle(self) -> None:
        """Tell what is owed, in one piece."""
        if self._owed and not self._unsettled:
            channels = frozenset(self._owed)
            self._owed.clear()
            self._tell_gap(channels)

    def close(self) -> None:
        """Nothing will be confirmed any more."""
        self._closed = True
        self._confirmed.clear()
        for channel in list(self._waiters):
            self._wake(channel)

    def _wake(self, channel: str) -> None:
        if (waiter := self._waiters.pop(channel, None)) is not None:
            waiter.set()

    async def confirmed(self, channel: str, timeout: float) -> bool:
        """Wait until a channel is confirmed; if that takes too long, a gap is owed."""
        with trio.move_on_after(timeout):
            while channel in self._wanted and channel not in self._confirmed and not self._closed:
                await self._waiters.setdefault(channel, trio.Event()).wait()
            await trio.lowlevel.checkpoint()
        if channel in self._confirmed:
            return True
        if channel in self._wanted:
            self._owe({channel})
        return False
