"""Which users were revoked while a handshake was under way: such a handshake's token may have been resolved before.

Pure and synchronous. A revocation is remembered only for the handshakes that had begun before it, and forgotten with
the last of them; where none is under way nothing is kept.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

__all__ = ["Admission", "Revocations"]


class Admission:
    """One handshake, from before its token is resolved until its connection is registered."""

    __slots__ = ("_revocations", "began")

    def __init__(self, revocations: Revocations, began: int) -> None:
        self._revocations = revocations
        self.began: int = began

    def is_revoked(self, user_id: Hashable) -> bool:
        """Whether this user was revoked since the handshake began."""
        return self._revocations.last_of(user_id) > self.began


class Revocations:
    """The revocations that a handshake under way has to know of.

    Both dicts are in the order of time, so the oldest of each is the first, and forgetting costs nothing to find.
    """

    def __init__(self) -> None:
        self._count = 0
        self._last: dict[Hashable, int] = {}
        self._under_way: dict[Admission, None] = {}

    def __len__(self) -> int:
        """Users remembered as revoked."""
        return len(self._last)

    @contextmanager
    def admission(self) -> Iterator[Admission]:
        """One handshake: begin before the token is resolved, end once the connection is registered."""
        admission = Admission(self, self._count)
        self._under_way[admission] = None
        try:
            yield admission
        finally:
            del self._under_way[admission]
            self._forget()

    def revoke(self, user_id: Hashable) -> None:
        """Note that what was resolved for this user up to now counts no more."""
        if self._under_way:
            self._count += 1
            self._last.pop(user_id, None)
            self._last[user_id] = self._count

    def last_of(self, user_id: Hashable) -> int:
        """The number of the user's last revocation; 0 where nobody has to know of one."""
        return self._last.get(user_id, 0)

    def _forget(self) -> None:
        oldest = next(iter(self._under_way), None)
        while self._last:
            user_id, number = next(iter(self._last.items()))
            if oldest is not None and number > oldest.began:
                break
            del self._last[user_id]
