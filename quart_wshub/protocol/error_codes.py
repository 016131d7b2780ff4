"""The codes of the error envelope as data: one table for the dispatcher, its documentation and clients."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ErrorCode"]


class ErrorCode(StrEnum):
    """What an `error` envelope says went wrong. Apps may add codes of their own, see `MessageError`.

    Being a `StrEnum`, a member is the plain string on the wire: ``ErrorCode.FORBIDDEN == "forbidden"``.
    """

    counts_as_bad: bool
    """Whether the dispatcher's own answers with this code use up `WS_MAX_BAD_MESSAGES`."""

    def __new__(cls, code: str, counts_as_bad: bool = False) -> ErrorCode:
        member = str.__new__(cls, code)
        member._value_ = code
        member.counts_as_bad = counts_as_bad
        return member

    INVALID_JSON = ("invalid_json", True)
    """The text is not JSON."""

    INVALID_ENVELOPE = ("invalid_envelope", True)
    """It is JSON, but not an envelope."""

    UNKNOWN_TYPE = ("unknown_type", True)
    """No handler takes this `type`."""

    INVALID_DATA = ("invalid_data", True)
    """`data` is not what this `type` needs."""

    FORBIDDEN = "forbidden"
    """This user may not do this."""

    LIMIT_EXCEEDED = "limit_exceeded"
    """Too many topics, too long a topic, or too many messages being handled at a time."""

    RATE_LIMITED = ("rate_limited", True)
    """Too many messages per second; the details say when to try again."""

    TIMEOUT = "timeout"
    """The handler took longer than it may. What it had done by then is done."""

    INTERNAL = "internal"
    """The server failed; its log knows why."""
