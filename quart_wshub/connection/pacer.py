"""Checkpoints for operations that need not wait, cheap enough for the hot path."""

from __future__ import annotations

import trio

__all__ = ["Pacer"]

YIELD_EVERY = 64
"""A full checkpoint costs as much as all the rest of sending or receiving a small message."""


class Pacer:
    """A series of checkpoints: each can be cancelled, every 64th also yields to other tasks."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps = 0

    async def checkpoint(self) -> None:
        """Call this before the operation, so that a cancelled one has not happened."""
        self._steps += 1
        if self._steps % YIELD_EVERY:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
