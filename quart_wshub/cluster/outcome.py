"""`Outcome`: how a request to a client of another node ended, as it travels back to the node that made it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.errors import (
    RequestFailedError,
    RequestLimitError,
    RequestTimeoutError,
    UnknownConnectionError,
    WebSocketDisconnect,
    WSHubError,
)

__all__ = ["Outcome"]


class Outcome(BaseModel, frozen=True):
    """How a request to a client ended.

    Attributes:
        text: the reply's envelope, the close reason, or the text of the error.
        code: the close code.
        error: code, message and details of the client's error.
    """

    kind: Literal["reply", "unknown", "closed", "timeout", "limit", "failed"]
    text: str = ""
    code: int = 0
    error: tuple[str, str, Any] = ("", "", None)

    @classmethod
    def of(cls, result: WSEnvelope | WSHubError) -> Outcome:
        """The outcome for a reply, or for the error raised instead."""
        match result:
            case WSEnvelope():
                return cls(kind="reply", text=result.encode())
            case WebSocketDisconnect(code=code, reason=reason):
                return cls(kind="closed", code=code, text=reason)
            case RequestFailedError(code=kind, message=message, details=details):
                return cls(kind="failed", error=(kind, message, details))
            case RequestLimitError():
                return cls(kind="limit", text=str(result))
            case RequestTimeoutError():
                return cls(kind="timeout", text=str(result))
        return cls(kind="unknown", text=str(result))

    def unwrap(self) -> WSEnvelope:
        """Return the reply.

        Raises:
            WSHubError: the request ended without one; as `WebSocketHub.request` says.
        """
        match self.kind:
            case "reply":
                return WSEnvelope.decode(self.text)
            case "closed":
                raise WebSocketDisconnect(self.code, self.text)
            case "failed":
                raise RequestFailedError(*self.error)
            case "limit":
                raise RequestLimitError(self.text)
            case "timeout":
                raise RequestTimeoutError(self.text)
        raise UnknownConnectionError(self.text)
