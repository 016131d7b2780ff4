"""Who is online and how many are in each room, on all nodes together."""

import trio
from messages import Overview, RoomFacts, topic_of
from store import Store, StoreUnavailableError

from quart_wshub import BrokerUnavailableError, WebSocketHub

PERMANENT = ("lobby", "random", "help")
"""Rooms that are always listed; others only while somebody is in them."""


class Presence:
    """Asks the hub. After a change all clients ask at once, so one query serves all that wait."""

    def __init__(self, hub: WebSocketHub, store: Store) -> None:
        self._hub = hub
        self._store = store
        self._lock = trio.Lock()
        self._asked = self._answered = 0
        self._overview = Overview(users=[], rooms=[], complete=False)

    async def overview(self) -> Overview:
        """The state at some moment after this call; only of this node if others cannot be reached."""
        self._asked += 1
        ticket = self._asked
        async with self._lock:
            if self._answered < ticket:
                asked = self._asked  # all of these wait for the lock, and called before the query starts
                self._overview = await self._find_out()
                self._answered = asked
        return self._overview

    async def is_online(self, name: str) -> bool:
        """Whether somebody with this name, in any case, is online.

        Raises:
            BrokerUnavailableError: other nodes cannot be asked at the moment.
        """
        users = (await self._hub.cluster.online_users()).value
        return name.casefold() in {str(user).casefold() for user in users}

    async def _find_out(self) -> Overview:
        users, complete = self._hub.online_users(), True
        try:
            answer = await self._hub.cluster.online_users()
            users, complete = answer.value, answer.complete
        except BrokerUnavailableError:
            complete = False
        names = await self._names_of_rooms()
        counts: dict[str, int] = {}
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(self._count, name, counts)
        rooms = [RoomFacts(name=name, here=counts[name]) for name in names if counts[name] or name in PERMANENT]
        return Overview(users=sorted(map(str, users), key=str.casefold), rooms=rooms, complete=complete)

    async def _names_of_rooms(self) -> list[str]:
        try:
            noted = await self._store.rooms()
        except StoreUnavailableError:
            noted = []
        return [*PERMANENT, *sorted(set(noted) - set(PERMANENT))]

    async def _count(self, room: str, counts: dict[str, int]) -> None:
        counts[room] = await count(self._hub, topic_of(room))


async def count(hub: WebSocketHub, topic: str) -> int:
    """Subscribers of a topic on all nodes; only on this one if others cannot be reached."""
    try:
        return (await hub.cluster.topic_count(topic)).value
    except BrokerUnavailableError:
        return hub.topic_count(topic)
