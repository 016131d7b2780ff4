"""The messages that every hub or router knows by itself: their data as models.

What the server sends by itself (`hello`, `gap`, …) the runtime builds by hand, which is faster, and the tests hold the
two together.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, SecretStr

from quart_wshub.description.route import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BUILTIN_ROUTES",
    "EmptyData",
    "ErrorData",
    "ExpiringData",
    "GapData",
    "HelloData",
    "TokenData",
    "TokenRefreshed",
    "TopicData",
]


class EmptyData(BaseModel):
    """No data."""


class HelloData(BaseModel):
    """What a client needs for a watchdog of its own."""

    connection_id: UUID
    heartbeat_seconds: float = Field(description="Time between two pings of the server, in seconds.")
    heartbeat_timeout_seconds: float = Field(description="A client silent for so many seconds is closed with 4408.")


class ErrorData(BaseModel):
    """Why a message was refused. The socket stays open."""

    code: str
    message: str = Field(description="For developers to read, not for users.")
    details: list[dict[str, Any]] = Field(description="What exactly is wrong, where that is known.")


class ExpiringData(BaseModel):
    """When the socket will be closed with 4401."""

    expires_at: AwareDatetime


class GapData(BaseModel):
    """What may have been missed."""

    topics: list[str] | None = Field(
        description="Of these topics; `null`: anything, also what was for this user alone."
    )


class TopicData(BaseModel):
    """The data of `subscribe` and `unsubscribe`, and of their replies."""

    topic: Annotated[str, Field(min_length=1)]


class TokenData(BaseModel):
    """The data of `auth.refresh`."""

    token: Annotated[SecretStr, Field(min_length=1)]


class TokenRefreshed(BaseModel):
    """The data of the reply to `auth.refresh`."""

    expires_at: AwareDatetime | None


BUILTIN_ROUTES: Mapping[str, Route] = MappingProxyType(
    {
        "subscribe": Route("subscribe", TopicData, TopicData, description="Get what is published to a topic."),
        "unsubscribe": Route("unsubscribe", TopicData, TopicData, description="Get it no more."),
        "auth.refresh": Route(
            "auth.refresh", TokenData, TokenRefreshed, description="Stay connected with a new token of the same user."
        ),
    }
)
"""What every router answers by itself."""
