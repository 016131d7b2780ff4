"""What the chat has to remember by itself: rooms that people opened, and logins that were revoked.

The hub knows who is connected, on all nodes; these two are not about connections. One process keeps them in memory,
several share a Redis.
"""

import time
from typing import Protocol

MAX_ROOMS = 50
"""So many rooms are listed: those that somebody entered last."""


class StoreUnavailableError(Exception):
    """It cannot be asked at the moment."""


class Store(Protocol):
    """Every method raises `StoreUnavailableError` where the store cannot be reached."""

    async def revoke(self, name: str) -> None:
        """Note that what this user has logged in with up to now counts no more."""

    async def revoked_at(self, name: str) -> float:
        """When that was, in seconds since 1970; 0 where it never was."""

    async def note_room(self, room: str) -> None:
        """Note that somebody entered a room."""

    async def rooms(self) -> list[str]:
        """The rooms that were noted, whether or not anybody is in them still."""


class MemoryStore:
    """For one process, as long as it lives.

    Args:
        login_seconds: after which a revocation need not be remembered: every login is younger.
    """

    def __init__(self, login_seconds: float) -> None:
        self._login_seconds = login_seconds
        self._revoked: dict[str, float] = {}
        self._rooms: dict[str, None] = {}

    async def revoke(self, name: str) -> None:
        now = time.time()
        self._revoked = {name: at for name, at in self._revoked.items() if at > now - self._login_seconds}
        self._revoked[name] = now

    async def revoked_at(self, name: str) -> float:
        return self._revoked.get(name, 0)

    async def note_room(self, room: str) -> None:
        self._rooms.pop(room, None)
        self._rooms[room] = None
        if len(self._rooms) > MAX_ROOMS:
            del self._rooms[next(iter(self._rooms))]

    async def rooms(self) -> list[str]:
        return list(self._rooms)
