"""This node's subscriptions, which of them Redis has confirmed, and the gap that is still to be reported. No I/O.

A gap is reported once all of its channels are confirmed again, so that a client that reloads then misses nothing more.
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
        report_gap: called with channels in which messages may have been missed.

    Attributes:
        channels: all of them; not to be changed from outside.
    """

    def __init__(self, report_gap: Callable[[frozenset[str]], None]) -> None:
        self._report_gap = report_gap
        self.channels: set[str] = set()
        self._confirmed: set[str] = set()
        self._gap: set[str] = set()
        self._gap_unconfirmed: set[str] = set()
        self._waiters: dict[str, trio.Event] = {}
        self._closed = False

    @property
    def complete(self) -> bool:
        """Whether everything that was lost is confirmed again, and no gap is to be reported."""
        return not self._gap

    def add(self, channel: str, *, may_miss: bool) -> bool:
        """Returns whether it is new. With `may_miss`, a gap is reported once it is confirmed."""
        if channel in self.channels:
            return False
        self.channels.add(channel)
        if may_miss:
            self._extend_gap({channel})
        return True

    def remove(self, channel: str) -> bool:
        """Returns whether it was there."""
        if channel not in self.channels:
            return False
        for channels in (self.channels, self._confirmed, self._gap, self._gap_unconfirmed):
            channels.discard(channel)
        self._wake(channel)
        self._report_if_confirmed()
        return True

    def confirm(self, channel: str) -> None:
        """Redis sends this channel's messages from now on."""
        if channel in self.channels:
            self._confirmed.add(channel)
            self._gap_unconfirmed.discard(channel)
            self._wake(channel)
            self._report_if_confirmed()

    def lose(self, channels: Iterable[str]) -> None:
        """Redis does not send these any more, until they are confirmed again."""
        lost = self.channels.intersection(channels)
        self._confirmed -= lost
        self._extend_gap(lost)

    def miss(self, channels: Iterable[str]) -> None:
        """Messages in these never reached Redis."""
        self._extend_gap(self.channels.intersection(channels))
        self._report_if_confirmed()

    def _extend_gap(self, channels: set[str]) -> None:
        self._gap |= channels
        self._gap_unconfirmed |= channels - self._confirmed

    def _report_if_confirmed(self) -> None:
        if self._gap and not self._gap_unconfirmed:
            channels = frozenset(self._gap)
            self._gap.clear()
            self._report_gap(channels)

    def close(self) -> None:
        """Nothing will be confirmed any more."""
        self._closed = True
        self._confirmed.clear()
        for waiter in self._waiters.values():
            waiter.set()

    def _wake(self, channel: str) -> None:
        self._waiters.pop(channel, trio.Event()).set()

    async def confirmed(self, channel: str, timeout: float) -> bool:
        """Wait until a channel is confirmed; if that takes longer than `timeout` seconds, a gap follows."""
        with trio.move_on_after(timeout):
            while channel in self.channels and channel not in self._confirmed and not self._closed:
                await self._waiters.setdefault(channel, trio.Event()).wait()
            await trio.lowlevel.checkpoint()
        if channel in self._confirmed:
            return True
        if channel in self.channels:
            self._extend_gap({channel})
        return False
