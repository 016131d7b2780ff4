"""Every exception of this package, in one tree.

`UsageError` says that the calling code is wrong; `PeerError` that the peer sent something it should not have.
The difference decides the close code when one leaves a handler: the peer's fault is told to the peer (1003, 1007,
1008, 1009), ours is a 1011 with a traceback in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quart_wshub.protocol.close_codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "BrokerUnavailableError",
    "ConfigurationError",
    "InvalidEnvelopeError",
    "InvalidJSONError",
    "InvalidTextError",
    "InvalidTopicError",
    "MessageError",
    "MessageTooBigError",
    "PeerError",
    "ProtocolViolationError",
    "RequestFailedError",
    "RequestLimitError",
    "RequestTimeoutError",
    "TopicLimitError",
    "UnknownConnectionError",
    "UnsupportedDataError",
    "UsageError",
    "WSHubError",
    "WebSocketDisconnect",
]


class WSHubError(Exception):
    """The root of the tree."""


class WebSocketDisconnect(WSHubError):  # noqa: N818 - the name every ASGI framework uses for this
    """The socket is closed: nothing more can be received or sent. A handler need not catch it.

    Attributes:
        code: the close code; the peer's where the server tells it, 1005 for a close frame without one, 1006 where
            the connection ended without a close frame.
        reason: the close reason, often empty.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"closed with {int(self.code)} ({self.reason})" if self.reason else f"closed with {int(self.code)}"


class UsageError(WSHubError):
    """This package was called in a way it cannot work."""


class ConfigurationError(UsageError):
    """The app is put together wrongly; raised at start, and says what to do instead."""


class BrokerUnavailableError(WSHubError):
    """The other nodes cannot be reached at the moment. What was for sockets of this node has been delivered.

    Attributes:
        delivered: what the call would have returned: sockets of this node that accepted it, or are being closed.
    """

    delivered: int = 0


class UnknownConnectionError(WSHubError, LookupError):
    """There is no connection with this id, or none any more. A handler need not catch it, as `WebSocketDisconnect`."""


class RequestTimeoutError(WSHubError, TimeoutError):
    """A client did not answer a request in time."""


class RequestLimitError(WSHubError):
    """A client has more requests to answer than may wait for it at a time."""


class RequestFailedError(WSHubError):
    """A client answered a request with an `error` envelope.

    All three come from the client as they are, so they may say anything.

    Attributes:
        code: what kind of error; empty where the client did not tell.
        message: for people; likewise.
        details: whatever else the client said of it; `None` where nothing.
    """

    def __init__(self, code: str, message: str = "", details: Any = None) -> None:
        super().__init__(code, message, details)
        self.code = code
        self.message = message
        self.details: Any = details

    def __str__(self) -> str:
        return f"the client answered with an error: {self.code[:100]!r}: {self.message[:500]!r}"


class MessageError(WSHubError):
    """The answer to a message is an error. Raised in a `MessageRouter`'s handlers and policies.

    Args:
        code: an `ErrorCode`, or a code of the app's own.
        message: for whoever reads the client's log; it goes to the client as it is.
        details: JSON objects with more, for programs.
    """

    def __init__(self, code: str, message: str, *, details: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(code, message)
        self.code: str = code
        self.message: str = message
        self.details: tuple[Mapping[str, Any], ...] = tuple(details)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class PeerError(WSHubError):
    """The peer sent something it should not have. Leaving a handler, it closes the socket with `close_code`."""

    close_code: CloseCode = CloseCode.POLICY_VIOLATION


class UnsupportedDataError(PeerError):
    """A binary message came where only text is taken."""

    close_code = CloseCode.UNSUPPORTED_DATA


class InvalidJSONError(PeerError, ValueError):
    """A text message is not JSON."""

    close_code = CloseCode.INVALID_PAYLOAD


class InvalidEnvelopeError(PeerError, ValueError):
    """A message is JSON, but not an envelope."""

    close_code = CloseCode.INVALID_PAYLOAD


class InvalidTextError(PeerError):
    """A text message, or the reason in a close frame, is not UTF-8."""

    close_code = CloseCode.INVALID_PAYLOAD


class ProtocolViolationError(PeerError):
    """The peer broke RFC 6455: an unmasked frame, a reserved bit, a bad opcode, and so on."""

    close_code = CloseCode.PROTOCOL_ERROR


class MessageTooBigError(PeerError):
    """A message is larger than `WS_MAX_MESSAGE_BYTES`."""

    close_code = CloseCode.MESSAGE_TOO_BIG


class InvalidTopicError(PeerError, ValueError):
    """A topic is not a non-empty string. Topic names mostly come from peers, hence no `UsageError`."""


class TopicLimitError(PeerError):
    """One connection asked for more than `WS_MAX_TOPICS_PER_CONNECTION` topics."""
