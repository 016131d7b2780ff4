"""What clients may say, and the types those things are checked against. No I/O."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, StringConstraints, ValidationError

_NAME = re.compile(r"\w(?:[\w .'-]*\w)?")
_ROOM = re.compile(r"\w(?:[\w-]*\w)?")


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


class Login(BaseModel):
    """The body of `POST /login`."""

    name: Name


class Announcement(BaseModel):
    """The body of `POST /announce`."""

    text: Text


class RoomRequest(BaseModel):
    """The data of `room.join` and `room.leave`."""

    room: Room


class Say(RoomRequest):
    """The data of `chat.send`."""

    text: Text


def explain(error: ValidationError) -> str:
    """What is wrong, in one line for whoever sent it; without what was sent."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{_place(detail['loc'])}: {_plain(detail['msg'])}" for detail in details)


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "body"


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")
