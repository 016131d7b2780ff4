"""The messages in both directions, and the rules for names. No I/O."""

import re
import unicodedata
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, StringConstraints, TypeAdapter, ValidationError

_NAME = re.compile(r"\w(?:[\w .'-]*\w)?")
_ROOM = re.compile(r"\w(?:[\w-]*\w)?")

ROOM_PREFIX = "room:"
"""Clients subscribe to `room:<name>` to be in a room."""


def _name(value: str) -> str:
    name = unicodedata.normalize("NFKC", " ".join(value.split()))
    if not _NAME.fullmatch(name):
        msg = "use letters, digits, spaces and . ' - only, with a letter or digit at both ends"
        raise ValueError(msg)
    return name


def _room(value: str) -> str:
    room = unicodedata.normalize("NFKC", value.strip()).lower()
    if not _ROOM.fullmatch(room):
        msg = "use letters, digits and - only, with a letter or digit at both ends"
        raise ValueError(msg)
    return room


Name = Annotated[str, StringConstraints(min_length=1, max_length=24), AfterValidator(_name)]
Room = Annotated[str, StringConstraints(min_length=1, max_length=24), AfterValidator(_room)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Key = Annotated[str, StringConstraints(max_length=36)]

_ROOMS: TypeAdapter[str] = TypeAdapter(Room)


def topic_of(room: str) -> str:
    """The topic of a room."""
    return f"{ROOM_PREFIX}{room}"


def check_topic(topic: str) -> None:
    """Check that this is the topic of a room, with its name in normalised form.

    Raises:
        ValueError: it is not; the text is for users.
    """
    try:
        room = _ROOMS.validate_python(topic.removeprefix(ROOM_PREFIX))
    except ValidationError as error:
        raise ValueError(explain(error).removeprefix("body: ")) from None
    if topic_of(room) != topic:
        msg = f"this room is called {room}"
        raise ValueError(msg)


# What clients send over the socket


class RoomRequest(BaseModel):
    """The data of `room.enter` and `room.leave`, and of their replies."""

    room: Room


class Say(RoomRequest):
    """The data of `chat.send`; the message has the same `key`, so that its sender recognises it."""

    text: Text
    key: Key | None = None


class Nothing(BaseModel):
    """No data."""


# What the server sends


class Said(BaseModel):
    """The reply to `chat.send`."""

    id: UUID
    at: datetime


class Message(Said):
    """`chat.message`, to those in the room."""

    topic: str
    room: str
    user: str
    text: str
    key: str | None


class Member(BaseModel):
    """`member.joined` and `member.left`, to the others in the room."""

    topic: str
    room: str
    user: str


class Announcement(BaseModel):
    """`announcement`, to everyone; and the body of `POST /operator/announce`."""

    text: Text


class RoomFacts(BaseModel):
    """One room. `here` counts tabs, of which a user may have several."""

    name: str
    here: int


class Overview(BaseModel):
    """The reply to `presence.get`: who is online, and the rooms. `complete`: whether every node has answered."""

    users: list[str]
    rooms: list[RoomFacts]
    complete: bool


# The bodies of HTTP requests


class Login(BaseModel):
    """The body of `POST /login`."""

    name: Name


class User(BaseModel):
    """The body of `POST /operator/disconnect` and `POST /operator/revoke`."""

    name: str


def explain(error: ValidationError) -> str:
    """What is wrong, in one line for the sender, without the invalid input."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{_place(detail['loc'])}: {_plain(detail['msg'])}" for detail in details)


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "body"


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")
