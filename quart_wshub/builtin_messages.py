"""The data of the messages this library itself defines, as models: what an app's description lists beside its own.

Written for readers and generators. The runtime builds these messages by hand, and the tests hold the two together.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["WSAuthRefresh", "WSEmpty", "WSError", "WSHello", "WSTopic"]


class WSEmpty(BaseModel):
    """No data."""

    # The docstring explains the class to Python, and would only be noise in front of every use.
    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("description", None))


class WSHello(BaseModel):
    """The first message on a socket: what a client needs for a watchdog of its own."""

    connection_id: UUID
    heartbeat_seconds: float = Field(description="Time between two pings of the server, in seconds.")
    heartbeat_timeout_seconds: float = Field(description="A client silent for so long is closed with 4408.")


class WSTopic(BaseModel):
    """A topic to subscribe to, or to leave."""

    topic: str = Field(min_length=1)


class WSAuthRefresh(BaseModel):
    """A new token for the user who is connected."""

    token: str = Field(min_length=1)


class WSError(BaseModel):
    """Why a message was refused. The socket stays open."""

    code: str
    message: str = Field(description="For a developer to read, not for a user.")
    details: list[dict[str, Any]] = Field(description="What exactly is wrong, where that is known.")
