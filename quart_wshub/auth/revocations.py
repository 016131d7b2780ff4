"""Which users were revoked during a handshake, whose token may have been resolved before that.

Pure and synchronous. A revocation is remembered only until the last handshake that began before it has ended; while no
handshake is in progress, nothing is remembered.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

__all__ = ["Admission", "Revocations"]


class Admission:
    """One handshake, from before its token is resolved until its connection is registered."""

    __slots__ = ("_last_revocations", "began")

    def __init__(self, last_revocations: Mapping[Hashable, int], began: int) -> None:
        self._last_revocations = last_revocations
        self.began: int = began

    def is_revoked(self, user_id: Hashable) -> bool:
        """Whether this user was revoked since the handshake began."""
        return self._last_revocations.get(user_id, 0) > self.began


class Revocations:
    """The revocations since the oldest handshake in progress began.

    Both dicts are in the order of time: the oldest entry of each is the first.
    """

    def __init__(self) -> None:
        self._count = 0
        self._last: dict[Hashable, int] = {}
        self._in_progress: dict[Admission, None] = {}

    def __len__(self) -> int:
        """Users remembered as revoked."""
        return len(self._last)

    @contextmanager
    def admission(self) -> Iterator[Admission]:
        """One handshake: enter before the token is resolved, exit once the connection is registered."""
        admission = Admission(self._last, self._count)
        self._in_progress[admission] = None
        try:
            yield admission
        finally:
            del self._in_progress[admission]
            self._forget()

    def revoke(self, user_id: Hashable) -> None:
        """Invalidate what was resolved for this user up to now."""
        if self._in_progress:
            self._count += 1
            self._last.pop(user_id, None)
            self._last[user_id] = self._count

    def _forget(self) -> None:
        oldest = next(iter(self._in_progress), None)
        while self._last:
            user_id, number = next(iter(self._last.items()))
            if oldest is not None and number > oldest.began:
                break
            del self._last[user_id]
