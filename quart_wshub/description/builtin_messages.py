"""The data of the built-in messages as models.

What the server sends by itself (`hello`, `gap`, …) is built by hand elsewhere, which is faster; a test compares both.
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
    """What a client needs to notice by itself that the connection is lost."""

    connection_id: UUID
    heartbeat_seconds: float = Field(description="Time between two pings of the server, in seconds.")
    heartbeat_timeout_seconds: float = Field(description="A client silent for this many seconds is closed with 4408.")


class ErrorData(BaseModel):
    """Why a message was refused. The socket stays open."""

    code: str
    message: str = Field(description="For developers to read, not for users.")
    details: list[dict[str, Any]] = Field(description="What exactly is wrong, if known.")


class ExpiringData(BaseModel):
    """When the socket will be closed with 4401."""

    expires_at: AwareDatetime


class GapData(BaseModel):
    """Which messages may be missing."""

    topics: list[str] | None = Field(description="Their topics; `null`: any message, even one to this user alone.")


class TopicData(BaseModel):
    """The data of `subscribe` and `unsubscribe`, and of their replies."""

    topic: Annotated[str, Field(min_length=1)]


class TokenData(BaseModel):
    """The data of `auth.refresh`."""

    token: Annotated[SecretStr, Field(min_length=1)]


class TokenRefreshed(BaseModel):
    """The data of the reply to `auth.refresh`."""

    expires_at: AwareDatetime | None


_ROUTES = (
    Route("subscribe", TopicData, TopicData, description="Receive what is published to a topic."),
    Route("unsubscribe", TopicData, TopicData, description="Stop receiving what is published to a topic."),
    Route("auth.refresh", TokenData, TokenRefreshed, description="Stay connected with a new token of the same user."),
)

BUILTIN_ROUTES: Mapping[str, Route] = MappingProxyType({route.type: route for route in _ROUTES})
"""What every router handles by itself."""
