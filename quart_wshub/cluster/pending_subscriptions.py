"""Waiting for the broker to confirm a subscription, but not for long: a late confirmation is reported as a gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from quart_wshub.broker.base import Broker

__all__ = ["PendingSubscriptions"]

MAX_WAIT_SECONDS = 2.0
"""How long a handshake or a subscription waits for a broker that says it is ready."""

POLL_SECONDS = 0.25
"""How often to check whether the backend is back, while subscriptions are pending."""


class PendingSubscriptions:
    """The channels whose subscribers did not wait for the broker's confirmation.

    Args:
        report_gap: called with channels in which messages may have been missed.
    """

    def __init__(self, broker: Broker, report_gap: Callable[[frozenset[str]], None]) -> None:
        self._broker = broker
        self._report_gap = report_gap
        self._pending: set[str] = set()
        self._added = trio.Event()

    async def wait(self, channel: str) -> None:
        """Wait until messages published to a channel arrive. If that takes too long, a gap is reported later."""
        if self._broker.statistics().ready:
            with trio.move_on_after(MAX_WAIT_SECONDS):
                await self._broker.subscribed(channel)  # if not, the broker reports the gap
                return
        self._pending.add(channel)
        self._added.set()

    def discard(self, channels: Collection[str]) -> None:
        """The broker itself has reported a gap in these."""
        self._pending.difference_update(channels)

    async def run(self) -> None:
        """Report a gap in each pending channel once it is confirmed."""
        while True:
            await self._added.wait()
            self._added = trio.Event()
            while self._pending:
                await trio.sleep(POLL_SECONDS)
                if self._broker.statistics().ready:
                    await self._confirm_pending()

    async def _confirm_pending(self) -> None:
        channels = frozenset(self._pending)
        for channel in channels:
            await self._broker.subscribed(channel)
        if confirmed := self._pending & channels:
            self._pending -= confirmed
            self._report_gap(frozenset(confirmed))
