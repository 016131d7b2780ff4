"""An app's message types as data: what clients send, and what the server sends by itself."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

__all__ = ["Model", "Route", "Sent"]

Model = type[BaseModel]
"""Module-level alias: inside these classes `type` is a field."""


@dataclass(frozen=True, slots=True)
class Route:
    """A type of message that clients send.

    Attributes:
        type: the envelope's `type`.
        data_model: what `data` is validated into; `None` if the handler takes the raw `WSEnvelope`.
        reply_model: the reply's data; `None` if it is empty, or a dict that no model describes.
        timeout: seconds the handler may take; `None`: no limit.
        concurrent: whether other messages of the connection are handled at the same time.
        description: the first paragraph of the handler's docstring.
        errors: the codes it may answer besides those of `ErrorCode`.
    """

    type: str
    data_model: Model | None
    reply_model: Model | None
    timeout: float | None = None
    concurrent: bool = False
    description: str = ""
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """A type of message that the server sends by itself, not as a reply.

    Attributes:
        type: the envelope's `type`.
        data_model: its `data`.
        description: what it is for.
    """

    type: str
    data_model: Model
    description: str = ""
