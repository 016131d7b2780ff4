"""The chat itself: how the server handles what clients send over the WebSocket.

A client is in a room while it is subscribed to its topic. It subscribes, sends `room.enter`, which tells the others,
then `chat.send`, and `room.leave` at the end. `presence.changed` says that somebody came or went in some room;
`presence.get` gets the details.
"""

import logging
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID, uuid4

from messages import (
    ROOM_PREFIX,
    Announcement,
    Member,
    Message,
    Nothing,
    Overview,
    RoomRequest,
    Said,
    Say,
    check_topic,
    topic_of,
)
from presence import Presence, count
from pydantic import BaseModel
from store import Store, StoreUnavailableError

from quart_wshub import (
    BrokerUnavailableError,
    ErrorCode,
    MessageError,
    MessageRouter,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    WSEnvelope,
)

log = logging.getLogger("chat")


class Chat:
    """The rooms. `messages` goes to the blueprint."""

    def __init__(self, hub: WebSocketHub, store: Store, presence: Presence) -> None:
        self._hub = hub
        self._store = store
        self._presence = presence
        self._rooms: defaultdict[UUID, set[str]] = defaultdict(set)  # of the connections of this process
        self.messages = self._make_router()

    def _make_router(self) -> MessageRouter:
        messages = MessageRouter()
        messages.authorize(ROOM_PREFIX)(self.may_subscribe)
        messages.on("room.enter")(self.enter)
        messages.on("room.leave")(self.leave)
        messages.on("chat.send")(self.say)
        messages.on("presence.get", concurrent=True)(self.tell_presence)
        messages.on_connect(self.connected)
        messages.on_disconnect(self.disconnected)
        messages.on_error(BrokerUnavailableError)(self.broker_unavailable)
        messages.sends("chat.message", Message)
        messages.sends("member.joined", Member)
        messages.sends("member.left", Member)
        messages.sends("presence.changed", Nothing)
        messages.sends("announcement", Announcement)
        return messages

    async def announce(self, text: str) -> None:
        """Send an announcement to everyone, in every room."""
        await self._hub.broadcast(_event("announcement", Announcement(text=text)))

    # Requests of clients

    def may_subscribe(self, connection: WebSocketConnection, topic: str) -> bool:
        """Every room with a valid name is open to everybody."""
        try:
            check_topic(topic)
        except ValueError as error:
            raise MessageError(ErrorCode.INVALID_DATA, str(error)) from None
        return True

    async def enter(self, message: RoomRequest, connection: WebSocketConnection) -> RoomRequest:
        """Tell a room that a user has entered, unless another tab of theirs is in it already."""
        room = message.room
        self._require(connection, room)
        if room not in self._rooms[connection.connection_id]:
            self._rooms[connection.connection_id].add(room)
            member = _member_topic(room, connection)
            await self._hub.subscribe(connection.connection_id, member)
            await self._note(room)
            if await count(self._hub, member) == 1:
                await self._tell_room("member.joined", room, connection)
            await self._tell_that_presence_changed()
        return message

    async def leave(self, message: RoomRequest, connection: WebSocketConnection) -> RoomRequest:
        """Leave a room."""
        room = message.room
        await self._hub.unsubscribe(connection.connection_id, topic_of(room))
        await self._hub.unsubscribe(connection.connection_id, _member_topic(room, connection))
        if room in self._rooms[connection.connection_id]:
            self._rooms[connection.connection_id].remove(room)
            await self._tell_that_presence_changed()
            await self._tell_that_somebody_left(room, connection)
        return message

    async def say(self, message: Say, connection: WebSocketConnection) -> Said:
        """Publish a message to everyone in a room, the sender included."""
        self._require(connection, message.room)
        said = Said(id=uuid4(), at=datetime.now(UTC))
        publication = Message(
            **said.model_dump(), **message.model_dump(), topic=topic_of(message.room), user=str(connection.user_id)
        )
        await self._hub.broadcast(_event("chat.message", publication), topic=publication.topic)
        return said

    async def tell_presence(self, message: Nothing) -> Overview:
        """Reply who is online, and with the rooms."""
        return await self._presence.overview()

    # Events

    async def connected(self, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        """Somebody came online."""
        await self._tell_that_presence_changed()

    async def disconnected(
        self, connection: WebSocketConnection, hub: WebSocketHub, close: WebSocketDisconnect
    ) -> None:
        """Somebody went offline, however the connection ended."""
        rooms = self._rooms.pop(connection.connection_id, set())
        if hub.draining:
            return  # all clients reconnect in a moment, here or to another node
        await self._tell_that_presence_changed()  # first, because the next may wait for other nodes
        for room in rooms:
            await self._tell_that_somebody_left(room, connection)

    def broker_unavailable(self, error: BrokerUnavailableError, connection: WebSocketConnection) -> MessageError:
        """A publication has reached the clients of this node, and may not reach others."""
        return MessageError("unavailable", "not everybody can be reached at the moment")

    # Telling others

    def _require(self, connection: WebSocketConnection, room: str) -> None:
        if topic_of(room) not in connection.topics:
            raise MessageError(ErrorCode.FORBIDDEN, f"subscribe to {topic_of(room)} first")

    async def _note(self, room: str) -> None:
        try:
            await self._store.note_room(room)
        except StoreUnavailableError as error:
            log.warning("a room may be missing from the list: %s", error)

    async def _tell_that_somebody_left(self, room: str, connection: WebSocketConnection) -> None:
        if await count(self._hub, _member_topic(room, connection)) == 0:
            await self._tell_room("member.left", room, connection)

    async def _tell_room(self, kind: str, room: str, connection: WebSocketConnection) -> None:
        member = Member(topic=topic_of(room), room=room, user=str(connection.user_id))
        with suppress(BrokerUnavailableError):  # some clients miss this line
            await self._hub.broadcast(_event(kind, member), topic=topic_of(room), exclude=connection.connection_id)

    async def _tell_that_presence_changed(self) -> None:
        with suppress(BrokerUnavailableError):  # clients ask again from time to time, and after a gap
            await self._hub.broadcast(_event("presence.changed", Nothing()))


def _member_topic(room: str, connection: WebSocketConnection) -> str:
    """Every tab that a user has in a room is subscribed to this, so that they can be counted on all nodes.

    Nothing is published to it, and no client may subscribe: its prefix has no policy.
    """
    return f"member:{room}:{connection.user_id}"


def _event(kind: str, data: BaseModel) -> WSEnvelope:
    return WSEnvelope(type=kind, data=data.model_dump(mode="json"))
