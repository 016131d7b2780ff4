"""What the chat remembers: rooms that people opened, and logins that were revoked.

Neither is about connections, which the hub knows. One process keeps them in memory, several share a Redis.
"""

import time
from typing import Protocol

MAX_ROOMS = 50
"""How many rooms are listed: those entered last."""


class StoreUnavailableError(Exception):
    """The store cannot be reached at the moment."""


class Store(Protocol):
    """Every method raises `StoreUnavailableError` if the store cannot be reached."""

    async def revoke(self, name: str) -> None:
        """Revoke all logins that this user has now."""

    async def revoked_at(self, name: str) -> float:
        """When that was last done, in seconds since 1970; 0 if never."""

    async def note_room(self, room: str) -> None:
        """Note that somebody entered a room."""

    async def rooms(self) -> list[str]:
        """The rooms that were noted, even if nobody is in them any more."""


class MemoryStore:
    """For one process, in memory.

    Args:
        login_seconds: how long a login lasts, and so how long a revocation is kept.
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
