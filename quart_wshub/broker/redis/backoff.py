"""How long to wait before the next attempt: fully jittered, so that nodes do not all come back at the same time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Delays that are uniform between zero and a ceiling, which doubles with every failure up to `max_seconds`."""

    def __init__(
        self, first_seconds: float, max_seconds: float, uniform: Callable[[float, float], float] | None = None
    ):
        self._first = first_seconds
        self._max = max_seconds
        self._uniform = uniform or random.uniform
        self.ceiling: float = first_seconds

    def delay(self) -> float:
        """Seconds to wait after one more failure."""
        delay = self._uniform(0, self.ceiling)
        self.ceiling = min(self._max, self.ceiling * 2)
        return delay

    def lasted(self, seconds: float) -> None:
        """A connection lived so long. Only what outlives the ceiling is a success: some end as soon as they begin."""
        if seconds > self.ceiling:
            self.ceiling = self._first
