"""WebSocket close codes as data: what each means, and what a client should do about it.

One table, read by the server, by its documentation and by the JavaScript client, so that they cannot disagree.
This module knows nothing of I/O or of the rest of the package.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["MAX_REASON_BYTES", "CloseCode", "validate_close"]

MAX_REASON_BYTES = 123
"""A control frame carries at most 125 bytes, two of which are the code (RFC 6455, section 5.5)."""


class CloseCode(IntEnum):
    """A close code this library sends, with its default `reason` and whether a client should `reconnect`.

    Being an `IntEnum`, a member is the plain number on the wire: ``CloseCode.NORMAL == 1000``.
    """

    reason: str
    """The default close reason; short enough for a control frame."""

    reconnect: bool
    """Whether a client should open a new connection by itself (with backoff) after this code."""

    def __new__(cls, code: int, reason: str, reconnect: bool) -> CloseCode:
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        member.reconnect = reconnect
        return member

    NORMAL = (1000, "", False)
    PROTOCOL_ERROR = (1002, "protocol error", False)
    UNSUPPORTED_DATA = (1003, "unsupported message kind", False)
    INVALID_PAYLOAD = (1007, "invalid payload", False)
    POLICY_VIOLATION = (1008, "policy violation", True)
    MESSAGE_TOO_BIG = (1009, "message too big", False)
    INTERNAL_ERROR = (1011, "internal error", True)
    SERVICE_RESTART = (1012, "the server is restarting", True)
    TRY_AGAIN_LATER = (1013, "send queue overflow", True)
    UNAUTHORIZED = (4401, "token missing, invalid or expired", False)
    FORBIDDEN = (4403, "forbidden", False)
    HEARTBEAT_TIMEOUT = (4408, "heartbeat timeout", True)
    TOO_MANY_CONNECTIONS = (4429, "too many connections of this user", False)


NO_STATUS_RECEIVED = 1005
"""What RFC 6455, section 7.1.5 calls a close frame without a code. Never on the wire."""

ABNORMAL_CLOSURE = 1006
"""The connection ended without a close frame. Never on the wire."""

_SENDABLE = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
"""Below 3000, what RFC 6455 section 7.4.1 and the IANA registry allow in a close frame."""


def validate_close(code: int, reason: str) -> None:
    """Check that `code` and `reason` may go out in a close frame.

    Raises:
        ValueError: the code is reserved or out of range, or the reason is longer than 123 bytes of UTF-8.
    """
    if code not in _SENDABLE and not 3000 <= code <= 4999:
        raise ValueError(f"close code {code!r} cannot be sent: use 1000-1003, 1007-1014 or 3000-4999")
    size = len(reason.encode())
    if size > MAX_REASON_BYTES:
        raise ValueError(f"close reason of {size} bytes is too long: a control frame holds at most {MAX_REASON_BYTES}")
