"""An app to describe: a chat, whose models use most of what pydantic offers."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field

from quart_wshub import MessageRouter, WebSocketConnection, WebSocketHub, WSEnvelope
from tests.describe import other  # noqa: TC001 - the router reads annotations

messages = MessageRouter()


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Text(BaseModel):
    """Words."""

    kind: Literal["text"] = "text"
    text: str = Field(min_length=1, description="At most */ a few words.")


class Picture(BaseModel):
    kind: Literal["picture"]
    url: str
    size: tuple[int, int]


class Thread(BaseModel):
    """A recursive model."""

    answers: list[Thread] = []


class Tags(RootModel[dict[str, set[str]]]):
    """Sets by name."""


class ChatSend(BaseModel):
    """Say something in a room."""

    model_config = ConfigDict(extra="forbid")

    room: str
    body: Annotated[Text | Picture, Field(discriminator="kind")]
    reply_to: UUID | None = None
    colour: Colour = Field(Colour.RED, description="Of the text.")
    tags: Tags = Tags({})
    in_reply: int | None = Field(None, alias="in-reply", deprecated=True)


class ChatSent(BaseModel):
    id: UUID
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    price: Decimal = Decimal("0.10")
    thread: Thread = Thread()

    @computed_field
    def length(self) -> int:
        """Of the text."""
        return 1


class ChatMessage(BaseModel):
    """Something was said."""

    model_config = ConfigDict(extra="allow")

    room: str
    text: str
    by_colour: dict[Colour, int] = {}
    labels: set[str] = {"one", "two", "three", "four"}


class Item(BaseModel):
    """There are two of this name."""

    here: int


@messages.on("chat.send", errors=["too_rude", "room_full"])
async def chat_send(message: ChatSend, connection: WebSocketConnection, hub: WebSocketHub) -> ChatSent:
    """Say something in a room.

    What stands below the first line is for those who read the code.
    """
    raise NotImplementedError


@messages.on("chat/typing", errors=["room_full", "forbidden"])
async def typing(message: Thread) -> None:
    raise NotImplementedError


@messages.on("raw")
async def raw(message: WSEnvelope) -> dict[str, Any]:
    raise NotImplementedError


@messages.on("item.put")
async def put(message: Item) -> other.Item:
    raise NotImplementedError


messages.sends("chat.message", ChatMessage, description="Something was said in a room you are subscribed to.")
messages.sends("raw", Tags)


def make_messages() -> MessageRouter:
    """A function that makes a router."""
    return messages
