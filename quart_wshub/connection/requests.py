"""Requests of the server to one client, and the replies they wait for.

Only the server makes entries, and each ends with the call that made it. While there are any, the receive task offers
every message to `Requests.take` before the handler's inbox, so a reply arrives also while the handler is busy or waits
for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.protocol.envelope import WSEnvelope, is_answer
from quart_wshub.protocol.errors import (
    RequestFailedError,
    RequestLimitError,
    RequestTimeoutError,
    UsageError,
    WebSocketDisconnect,
    WSHubError,
)
from quart_wshub.protocol.inbound import find_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MARK", "MAX_PENDING", "Requests", "check_timeout", "no_reply"]

MAX_PENDING = 64
"""Requests that may wait for one client at a time, and timed-out requests that are remembered."""

MARK = "wshub-"
"""The prefix of these requests' ids: a message without it is no reply, which is seen without parsing it."""


class _Request:
    """One request and its outcome."""

    __slots__ = ("answered", "outcome", "reply_type")

    def __init__(self, request_type: str) -> None:
        self.reply_type: str = f"{request_type}.reply"
        self.answered: trio.Event = trio.Event()
        self.outcome: WSEnvelope | WSHubError | None = None

    def end(self, outcome: WSEnvelope | WSHubError) -> None:
        """The first outcome counts."""
        if self.outcome is None:
            self.outcome = outcome
            self.answered.set()


class Requests:
    """The requests one client has yet to answer."""

    __slots__ = ("_timed_out", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[str, _Request] = {}
        self._timed_out: dict[str, None] = {}

    def __len__(self) -> int:
        """Requests that wait, and timed-out ones whose reply may still come."""
        return len(self._waiting) + len(self._timed_out)

    def begin(self, request_id: str, request_type: str) -> _Request:
        """Add a request.

        Raises:
            RequestLimitError: `MAX_PENDING` wait already.
        """
        if len(self._waiting) >= MAX_PENDING:
            msg = f"{MAX_PENDING} requests are waiting for this client already"
            raise RequestLimitError(msg)
        request = self._waiting[request_id] = _Request(request_type)
        return request

    def end(self, request_id: str) -> None:
        """Remove a request. If it has no reply, a late one is dropped rather than given to the handler."""
        if self._waiting.pop(request_id).outcome is None:
            self._timed_out[request_id] = None
            if len(self._timed_out) > MAX_PENDING:
                del self._timed_out[next(iter(self._timed_out))]

    def take(self, text: str) -> bool:
        """Returns whether this message was a reply to one of the requests; if so, it was consumed."""
        kind, data, request_id = find_envelope(text, MARK) or ("", {}, None)
        if request_id is None:
            return False
        request = self._waiting.get(request_id)
        if request is not None and kind in {request.reply_type, "error"}:
            envelope = WSEnvelope(type=kind, data=data, request_id=request_id)
            request.end(_failure(data) if kind == "error" else envelope)
            return True
        if request_id in self._timed_out and is_answer(kind):
            del self._timed_out[request_id]
            return True
        return False

    def close(self, code: int, reason: str) -> None:
        """Fail every waiting request with `WebSocketDisconnect`."""
        for request in self._waiting.values():
            request.end(WebSocketDisconnect(code, reason))


def _failure(data: Mapping[str, Any]) -> RequestFailedError:
    code, message = (value if isinstance(value := data.get(key), str) else "" for key in ("code", "message"))
    return RequestFailedError(code, message, data.get("details"))


def check_timeout(timeout: float) -> None:
    """Raise `UsageError` for a timeout that is negative or not a number."""
    if not timeout >= 0:
        msg = f"timeout={timeout!r} must be a number of seconds, at least 0"
        raise UsageError(msg)


def no_reply(request_type: str, timeout: float) -> RequestTimeoutError:
    """The error of a request without a reply in time."""
    return RequestTimeoutError(f"no reply to {request_type!r} within {timeout:g} s")
