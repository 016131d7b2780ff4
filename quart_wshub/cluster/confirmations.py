"""Waiting until the broker listens, but not for long: who does not wait to the end is told of a gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from quart_wshub.broker.base import Broker

__all__ = ["Confirmations"]

PATIENCE_SECONDS = 2.0
"""How long a handshake or a subscription is held up by a broker that says it is ready."""

LOOK_SECONDS = 0.25
"""How often it is looked whether the backend is back, while something waits for it."""


class Confirmations:
    """Keeps the channels that somebody relies on, and whose confirmation nobody waited for.

    Args:
        tell_gap: called with channels in which messages may have been missed.
    """

    def __init__(self, broker: Broker, tell_gap: Callable[[frozenset[str]], None]) -> None:
        self._broker = broker
        self._tell_gap = tell_gap
        self._outstanding: set[str] = set()
        self._news = trio.Event()

    async def wait(self, channel: str) -> None:
        """Wait until what is published to a channel arrives. Where that takes long, a gap is told in its place."""
        if self._broker.statistics().ready:
            with trio.move_on_after(PATIENCE_SECONDS):
                await self._broker.subscribed(channel)  # if not, the broker tells of the gap
                return
        self._outstanding.add(channel)
        self._news.set()

    def told(self, channels: Collection[str]) -> None:
        """The broker has told of a gap in these."""
        self._outstanding.difference_update(channels)

    async def run(self) -> None:
        """Tell of what nobody waited for, once it is confirmed."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            while self._outstanding:
                await trio.sleep(LOOK_SECONDS)
                if self._broker.statistics().ready:
                    await self._settle()

    async def _settle(self) -> None:
        channels = frozenset(self._outstanding)
        for channel in channels:
            await self._broker.subscribed(channel)
        if left := self._outstanding & channels:
            self._outstanding -= left
            self._tell_gap(frozenset(left))
