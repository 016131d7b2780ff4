"""The data of the messages that this library sends of itself, as models: for the descriptions of an app.

The runtime builds these messages by hand, which is faster, and the tests hold the two together.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

__all__ = ["EmptyData", "ErrorData", "ExpiringData", "GapData", "HelloData"]


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
