"""Requests to clients of other nodes: the outcome, as it goes from the client's node to the one that asks."""

from __future__ import annotations

from quart_wshub.cluster.wire import Outcome
from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.errors import (
    RequestFailedError,
    RequestLimitError,
    RequestTimeoutError,
    UnknownConnectionError,
    WebSocketDisconnect,
    WSHubError,
)

__all__ = ["outcome_of", "unpack"]


def outcome_of(result: WSEnvelope | WSHubError) -> Outcome:
    """What to tell of a reply, or of what was raised in its place."""
    match result:
        case WSEnvelope():
            return Outcome(kind="reply", text=result.encode())
        case WebSocketDisconnect(code=code, reason=reason):
            return Outcome(kind="closed", code=code, text=reason)
        case RequestFailedError(code=kind, message=message, details=details):
            return Outcome(kind="failed", error=(kind, message, details))
        case RequestLimitError():
            return Outcome(kind="limit", text=str(result))
        case RequestTimeoutError():
            return Outcome(kind="timeout", text=str(result))
    return Outcome(kind="unknown", text=str(result))


def unpack(outcome: Outcome) -> WSEnvelope:
    """The reply, or what was raised in its place.

    Raises:
        WSHubError: as `WebSocketHub.request` says.
    """
    match outcome.kind:
        case "reply":
            return WSEnvelope.decode(outcome.text)
        case "closed":
            raise WebSocketDisconnect(outcome.code, outcome.text)
        case "failed":
            raise RequestFailedError(*outcome.error)
        case "limit":
            raise RequestLimitError(outcome.text)
        case "timeout":
            raise RequestTimeoutError(outcome.text)
    raise UnknownConnectionError(outcome.text)
