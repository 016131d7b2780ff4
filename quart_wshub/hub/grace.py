"""What still runs for connections that are over: shielded from cancellation, and with a deadline for all that."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Farewells"]


class Farewells:
    """The farewells of one hub's connections. They have their time, unless the hub is going down."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self._last_end = math.inf

    def __len__(self) -> int:
        """How many run."""
        return len(self._scopes)

    @contextmanager
    def scope(self, seconds: float) -> Iterator[trio.CancelScope]:
        """The scope to run one in, inside this block: it has so many seconds."""
        scope = trio.CancelScope(shield=True, deadline=min(trio.current_time() + seconds, self._last_end))
        self._scopes.add(scope)
        try:
            yield scope
        finally:
            self._scopes.discard(scope)

    def end_by(self, deadline: float) -> None:
        """Let none go on beyond this Trio time, whether it runs already or not."""
        self._last_end = min(self._last_end, deadline)
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, deadline)
