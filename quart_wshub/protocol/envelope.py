"""The envelope every structured message travels in, and the types this library keeps for itself.

Encoding and decoding only; no I/O.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, ValidationError

from quart_wshub.protocol.errors import InvalidEnvelopeError
from quart_wshub.protocol.inbound import loads

__all__ = [
    "BACKGROUND_TYPES",
    "REPLY_SUFFIX",
    "RESERVED_TYPES",
    "WSEnvelope",
    "is_answer",
    "is_envelope_error",
    "is_reserved",
]

BACKGROUND_TYPES = frozenset({"auth.expiring", "gap", "hello", "ping", "pong"})
"""What comes by itself, whatever the handler does."""

RESERVED_TYPES = BACKGROUND_TYPES | {
    "auth.refresh",
    "error",
    "subscribe",
    "unsubscribe",
}
"""Envelope types with a meaning of their own on the wire; a `MessageRouter` takes none of them from the app."""

REPLY_SUFFIX = ".reply"
"""What the type of a reply adds to that of the request."""


class WSEnvelope(BaseModel):
    """One message: its `type`, its `data`, and the `request_id` that ties a reply to its request.

    Unknown keys are ignored, so that an older server takes a newer client's messages.
    """

    type: str = Field(min_length=1)
    data: dict[str, Any] = Field(default_factory=dict)
    request_id: str | None = None

    def encode(self) -> str:
        """The JSON text of this envelope, always with all three keys."""
        return self.model_dump_json()

    @classmethod
    def decode(cls, text: str) -> WSEnvelope:
        """Parse JSON text.

        Raises:
            InvalidJSONError: `text` is not JSON.
            InvalidEnvelopeError: it is JSON but not an envelope; the message names the offending keys, never values.
        """
        value = loads(text)
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            details = error.errors(include_input=False, include_context=False, include_url=False)
            where = ", ".join(".".join(map(str, detail["loc"])) or "(root)" for detail in details)
            raise InvalidEnvelopeError(f"message is not an envelope: {where}") from None


def is_envelope_error(error: BaseException) -> bool:
    """Whether `error` is the `ValidationError` of `WSEnvelope` itself, as against one of the app's own models."""
    return isinstance(error, ValidationError) and error.title == WSEnvelope.__name__


def is_answer(envelope_type: str) -> bool:
    """Whether messages of this type answer a request."""
    return envelope_type == "error" or envelope_type.endswith(REPLY_SUFFIX)


def is_reserved(envelope_type: str) -> bool:
    """Whether this type has a meaning of its own on the wire: one of `RESERVED_TYPES`, or a reply."""
    return envelope_type in RESERVED_TYPES or envelope_type.endswith(REPLY_SUFFIX)
