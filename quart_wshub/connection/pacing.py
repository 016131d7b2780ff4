"""Checkpoints for operations that need not wait, at a price that the hot path can pay."""

from __future__ import annotations

import trio

__all__ = ["Pacer"]

YIELD_EVERY = 64
"""Giving way to other tasks costs as much as all the rest of sending or receiving a small message."""


class Pacer:
    """Every step can be cancelled; every 64th also gives way to other tasks."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps = 0

    async def before(self) -> None:
        """The checkpoint before something was done: cancelled here, nothing has happened yet."""
        self._steps += 1
        if self._steps % YIELD_EVERY:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
