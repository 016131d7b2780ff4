"""Who is online and how many are in each room, on all nodes together."""

import trio
from messages import Overview, RoomFacts, topic_of
from store import Store, StoreUnavailableError

from quart_wshub import BrokerUnavailableError, WebSocketHub

PERMANENT = ("lobby", "random", "help")
"""Rooms that are listed even when nobody is in them; any other is as long as somebody is."""


class Presence:
    """Asks the hub. Whenever something changes all clients want to know, so it asks once for all who wait."""

    def __init__(self, hub: WebSocketHub, store: Store) -> None:
        self._hub = hub
        self._store = store
        self._lock = trio.Lock()
        self._asked = self._answered = 0
        self._overview = Overview(users=[], rooms=[], complete=False)

    async def overview(self) -> Overview:
        """What was true at some moment after this was called; of this node alone where others cannot be asked."""
        self._asked += 1
        ticket = self._asked
        async with self._lock:
            if self._answered < ticket:
                asked = self._asked  # all of these wait for the lock, and came before the question is put
                self._overview = await self._find_out()
                self._answered = asked
        return self._overview

    async def is_online(self, name: str) -> bool:
        """Whether somebody of this name, in whatever case, is here.

        Raises:
            BrokerUnavailableError: nobody knows at the moment.
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
    """Subscribers of a topic on all nodes; on this one where others cannot be asked."""
    try:
        return (await hub.cluster.topic_count(topic)).value
    except BrokerUnavailableError:
        return hub.topic_count(topic)
