"""The chat itself: what the server does with what clients say over the WebSocket.

A client sends `room.join` and `room.leave`, answered by `room.joined` and `room.left`, and `chat.send`. It gets
`presence` (everyone online, every room), of its rooms `member.joined`, `member.left` and `chat.message`,
`announcement`, and `error` where it sent nonsense.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import trio
from messages import RoomRequest, Say, explain
from pydantic import ValidationError
from rooms import Rooms

from quart_wshub import (
    CloseCode,
    PeerError,
    WebSocket,
    WebSocketConnection,
    WebSocketHub,
    WSEnvelope,
)

Action = Callable[[WebSocketConnection, dict[str, Any]], Awaitable[None]]


class RefusedError(Exception):
    """The client asked for something it cannot have; the text is for its user."""


class Chat:
    """The rooms of one hub. `serve` is the blueprint's handler."""

    def __init__(self, hub: WebSocketHub) -> None:
        self._hub = hub
        self._rooms = Rooms()
        self._actions: dict[str, Action] = {
            "room.join": self._join,
            "room.leave": self._leave,
            "chat.send": self._say,
        }

    def is_online(self, name: str) -> bool:
        """Whether somebody of this name, in whatever case, is here."""
        return name.casefold() in {str(user).casefold() for user in self._hub.online_users()}

    async def announce(self, text: str) -> int:
        """Tell everyone. Returns how many connections that reached."""
        return await self._hub.broadcast(_event("announcement", text=text))

    async def serve(self, ws: WebSocket, connection: WebSocketConnection, _hub: WebSocketHub) -> None:
        """Serve one connection until it is gone, and then tell the others."""
        try:
            await self._publish_presence()
            while True:
                await self._take_one(ws, connection)
        except Exception:
            # Where it is not the socket that ended but this code that failed, the connection is still in the
            # hub, and would be told to the others as online.
            await self._hub.disconnect(connection_id=connection.connection_id, code=CloseCode.INTERNAL_ERROR)
            raise
        finally:
            # The handler of a connection that the server closes is cancelled; the others are to know all the
            # same. It is quick: a broadcast waits for no peer.
            with trio.CancelScope(shield=True):
                await self._depart(connection)

    async def _take_one(self, ws: WebSocket, connection: WebSocketConnection) -> None:
        request_id = None
        try:
            envelope = await ws.receive_envelope()
            request_id = envelope.request_id
            await self._act(connection, envelope)
        except (PeerError, RefusedError) as error:
            refusal = _event("error", message=str(error)).model_copy(update={"request_id": request_id})
            await ws.send_envelope(refusal)

    async def _act(self, connection: WebSocketConnection, envelope: WSEnvelope) -> None:
        action = self._actions.get(envelope.type)
        if action is None:
            msg = "unknown type of message"
            raise RefusedError(msg)
        try:
            await action(connection, envelope.data)
        except ValidationError as error:
            raise RefusedError(explain(error)) from None

    async def _join(self, connection: WebSocketConnection, data: dict[str, Any]) -> None:
        room = RoomRequest.model_validate(data).room
        if await self._hub.subscribe(connection.connection_id, _topic(room)):
            is_new = self._rooms.enter(room, connection.connection_id, str(connection.user_id))
            await connection.ws.send_envelope(_event("room.joined", room=room))
            if is_new:
                await self._tell_room(room, "member.joined", connection)
            await self._publish_presence()

    async def _leave(self, connection: WebSocketConnection, data: dict[str, Any]) -> None:
        room = RoomRequest.model_validate(data).room
        if await self._hub.unsubscribe(connection.connection_id, _topic(room)):
            is_gone = self._rooms.leave(room, connection.connection_id)
            await connection.ws.send_envelope(_event("room.left", room=room))
            if is_gone:
                await self._tell_room(room, "member.left", connection)
            await self._publish_presence()

    async def _say(self, connection: WebSocketConnection, data: dict[str, Any]) -> None:
        say = Say.model_validate(data)
        if _topic(say.room) not in connection.topics:
            msg = f"join {say.room} before you talk there"
            raise RefusedError(msg)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        message = _event("chat.message", room=say.room, user=connection.user_id, text=say.text, at=now)
        await self._hub.broadcast(message, topic=_topic(say.room))

    async def _depart(self, connection: WebSocketConnection) -> None:
        for room in self._rooms.of_connection(connection.connection_id):
            if self._rooms.leave(room, connection.connection_id):
                await self._tell_room(room, "member.left", connection)
        await self._publish_presence()

    async def _tell_room(self, room: str, kind: str, connection: WebSocketConnection) -> None:
        event = _event(kind, room=room, user=connection.user_id)
        await self._hub.broadcast(event, topic=_topic(room), exclude=connection.connection_id)

    async def _publish_presence(self) -> None:
        users = sorted(map(str, self._hub.online_users()), key=str.casefold)
        await self._hub.broadcast(_event("presence", users=users, rooms=self._rooms.overview()))


def _topic(room: str) -> str:
    return f"room:{room}"


def _event(kind: str, **data: object) -> WSEnvelope:
    return WSEnvelope(type=kind, data=data)
