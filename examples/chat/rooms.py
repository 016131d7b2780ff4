"""Who is in which room. Pure and synchronous."""

from collections import defaultdict
from uuid import UUID

PERMANENT = ("lobby", "random", "help")
"""Rooms that are listed even when nobody is in them; any other exists as long as somebody is."""


class Rooms:
    """Members by room. One person may be in a room through several connections, and still is one person."""

    def __init__(self) -> None:
        self._members: defaultdict[str, dict[UUID, str]] = defaultdict(dict)

    def enter(self, room: str, connection_id: UUID, name: str) -> bool:
        """Put a connection into a room. Says whether this brought somebody new."""
        is_new = name not in self._members[room].values()
        self._members[room][connection_id] = name
        return is_new

    def leave(self, room: str, connection_id: UUID) -> bool:
        """Take a connection out of a room. Says whether somebody is gone now who was there."""
        members = self._members[room]
        name = members.pop(connection_id, None)
        if not members:
            del self._members[room]
        return name is not None and name not in members.values()

    def of_connection(self, connection_id: UUID) -> list[str]:
        """The rooms a connection is in."""
        return [room for room, members in self._members.items() if connection_id in members]

    def overview(self) -> list[dict[str, object]]:
        """Every room with its number of people: the permanent ones first, then the others by name."""
        others = sorted(set(self._members) - set(PERMANENT))
        return [{"name": room, "people": self._people(room)} for room in (*PERMANENT, *others)]

    def _people(self, room: str) -> int:
        return len(set(self._members[room].values())) if room in self._members else 0
